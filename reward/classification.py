"""Is a classifier right? Figures from counts, ranks and numbers; only numpy, no interval, no model.

Axes: N rows, C classes, L labels that hold or not. Where a share has nothing below its line (no row was called a class) it is 0,
and means over classes are over those that occur in the truth or in the guesses, as scikit-learn has both.
"""

from __future__ import annotations

import numpy as np


def confusion(truth_N, guess_N, classes: int) -> np.ndarray:
    """Rows by true class (down) and guessed class (across), shape (C, C)."""
    truth_N, guess_N = np.asarray(truth_N, dtype=np.int64), np.asarray(guess_N, dtype=np.int64)
    assert truth_N.shape == guess_N.shape and truth_N.ndim == 1, (truth_N.shape, guess_N.shape)
    return np.bincount(truth_N * classes + guess_N, minlength=classes * classes).reshape(classes, classes)


def from_confusion(counts_CC) -> dict[str, np.ndarray]:
    """The figures of one class a row, each of the leading shape of `counts_CC` (..., C, C).

    precision_c = n_cc / sum_t n_tc;  recall_c = n_cc / sum_g n_cg;  F1_c = 2 n_cc / (sum_t n_tc + sum_g n_cg)
    """
    counts_CC = np.asarray(counts_CC, dtype=np.float64)
    assert counts_CC.shape[-1] == counts_CC.shape[-2], counts_CC.shape
    right_C = np.diagonal(counts_CC, axis1=-2, axis2=-1)
    true_C, guessed_C = counts_CC.sum(-1), counts_CC.sum(-2)
    return {
        "accuracy": _share(right_C.sum(-1), counts_CC.sum((-2, -1))),
        **by_class(right_C, true_C, guessed_C),
        "matthews": matthews(counts_CC),
    }


def by_class(right_C, true_C, guessed_C) -> dict[str, np.ndarray]:
    """F1, precision and recall as means over classes, and F1 weighted by how often each is true.

    Args:
        right_C: how often each class was called rightly. true_C: how often it is true. guessed_C: how often it was called.
    """
    precision_C, recall_C = _share(right_C, guessed_C), _share(right_C, true_C)
    f1_C, occurs_C = _share(2 * right_C, true_C + guessed_C), (true_C + guessed_C) > 0
    classes = occurs_C.sum(-1)
    return {
        "macro_f1": _share((f1_C * occurs_C).sum(-1), classes),
        "weighted_f1": _share((f1_C * true_C).sum(-1), true_C.sum(-1)),
        "precision": _share((precision_C * occurs_C).sum(-1), classes),
        "recall": _share((recall_C * occurs_C).sum(-1), classes),
    }


def matthews(counts_CC) -> np.ndarray:
    """Matthews' correlation for any number of classes; 0 where truth or guesses are all of one class.

    (c s - sum_k p_k t_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2)), c right, s all, p_k called k, t_k truly k.
    Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient (2004), equation 8.
    """
    counts_CC = np.asarray(counts_CC, dtype=np.float64)
    true_C, guessed_C = counts_CC.sum(-1), counts_CC.sum(-2)
    right, total = np.trace(counts_CC, axis1=-2, axis2=-1), true_C.sum(-1)
    spread = (total**2 - (guessed_C**2).sum(-1)) * (total**2 - (true_C**2).sum(-1))
    return _share(right * total - (true_C * guessed_C).sum(-1), np.sqrt(spread))


def auroc(scores_N, positive_N) -> float:
    """Probability that a positive row scores above a negative one, ties counted half; NaN without rows of both kinds.

    (sum of the positives' ranks - n_p (n_p + 1) / 2) / (n_p n_n), ties with their mean rank: the Mann-Whitney U (Hanley and
    McNeil, The meaning and use of the area under a receiver operating characteristic curve, 1982).
    """
    scores_N, positive_N = np.asarray(scores_N, dtype=np.float64), np.asarray(positive_N, dtype=bool)
    assert scores_N.shape == positive_N.shape and scores_N.ndim == 1, (scores_N.shape, positive_N.shape)
    positives = int(positive_N.sum())
    if not 0 < positives < len(positive_N):
        return float("nan")
    total = ranks(scores_N)[positive_N].sum() - positives * (positives + 1) / 2
    return float(total / (positives * (len(positive_N) - positives)))


def mean_auroc(scores_NC, truth_NC) -> float:
    """Mean over classes of each one against the rest; classes without rows of both kinds are left out, NaN if all are."""
    scores_NC, truth_NC = np.asarray(scores_NC), np.asarray(truth_NC, dtype=bool)
    assert scores_NC.shape == truth_NC.shape and scores_NC.ndim == 2, (scores_NC.shape, truth_NC.shape)
    areas = [auroc(scores_NC[:, c], truth_NC[:, c]) for c in range(truth_NC.shape[1])]
    held = [area for area in areas if not np.isnan(area)]
    return float(np.mean(held)) if held else float("nan")


def several_counts(truth_NL, guess_NL) -> np.ndarray:
    """What each row adds to each label's counts: (rightly called, true, called), shape (N, L, 3)."""
    truth_NL, guess_NL = np.asarray(truth_NL, dtype=bool), np.asarray(guess_NL, dtype=bool)
    assert truth_NL.shape == guess_NL.shape and truth_NL.ndim == 2, (truth_NL.shape, guess_NL.shape)
    return np.stack([truth_NL & guess_NL, truth_NL, guess_NL], axis=-1).astype(np.float64)


def from_several(counts_L3, rows) -> dict[str, np.ndarray]:
    """The figures of several labels a row, each of the leading shape of `counts_L3` (..., L, 3).

    micro_f1 counts all labels as one. matthews is the mean over labels of the 2 x 2 one.

    Args:
        counts_L3: sums over rows of `several_counts`. rows: how many rows those are, of the leading shape or one number.
    """
    counts_L3 = np.asarray(counts_L3, dtype=np.float64)
    right_L, true_L, guessed_L = np.moveaxis(counts_L3, -1, 0)
    rest_L = np.asarray(rows, dtype=np.float64)[..., None] - true_L - guessed_L + right_L
    pairs_L22 = np.stack([np.stack([rest_L, guessed_L - right_L], -1), np.stack([true_L - right_L, right_L], -1)], -2)
    return {
        "micro_f1": _share(2 * right_L.sum(-1), (true_L + guessed_L).sum(-1)),
        **by_class(right_L, true_L, guessed_L),
        "matthews": matthews(pairs_L22).mean(-1),
    }


def pearson(x_N, y_N) -> float:
    """Correlation; NaN where one of the two does not vary."""
    x_N, y_N = _numbers(x_N, y_N)
    x_N, y_N = x_N - x_N.mean(), y_N - y_N.mean()
    spread = np.sqrt((x_N**2).sum() * (y_N**2).sum())
    return float((x_N * y_N).sum() / spread) if spread > 0 else float("nan")


def spearman(x_N, y_N) -> float:
    """Pearson's correlation of the ranks, ties with their mean rank."""
    x_N, y_N = _numbers(x_N, y_N)
    return pearson(ranks(x_N), ranks(y_N))


def regression_figures(truth_N, guess_N) -> dict[str, float]:
    """rmse, mae, r2 = 1 - sum (y - f)^2 / sum (y - mean y)^2, and both correlations."""
    truth_N, guess_N = _numbers(truth_N, guess_N)
    error_N, spread = truth_N - guess_N, ((truth_N - truth_N.mean()) ** 2).sum()
    return {
        "pearson": pearson(truth_N, guess_N),
        "spearman": spearman(truth_N, guess_N),
        "mae": float(np.abs(error_N).mean()),
        "rmse": float(np.sqrt((error_N**2).mean())),
        "r2": float(1 - (error_N**2).sum() / spread) if spread > 0 else float("nan"),
    }


def ranks(values_N) -> np.ndarray:
    """Ranks from 1, ties with the mean of theirs, shape (N,)."""
    values_N = np.asarray(values_N, dtype=np.float64)
    _, place_N, count = np.unique(values_N, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[place_N]


def _numbers(x_N, y_N) -> tuple[np.ndarray, np.ndarray]:
    x_N, y_N = np.asarray(x_N, dtype=np.float64), np.asarray(y_N, dtype=np.float64)
    assert x_N.shape == y_N.shape and x_N.ndim == 1, (x_N.shape, y_N.shape)
    return x_N, y_N


def _share(above, below) -> np.ndarray:
    """above / below, 0 where nothing is below."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast_shapes(above.shape, below.shape)), where=below > 0)
