"""Is a classifier right? Figures from counts, ranks and numbers; only numpy, no interval, no model.

Axes: N rows, C classes, L labels that hold or not. `weights` of shape (..., N) say how often each row counts: draws of a
bootstrap, or nothing for once each; what is returned has their leading shape. Where a share has nothing below its line (no row
was called a class) it is 0, and means over classes are over those that occur in the truth or in the guesses, as scikit-learn
has both.
"""

from __future__ import annotations

import numpy as np


def confusion(truth_N, guess_N, classes: int) -> np.ndarray:
    """Rows by true class (down) and guessed class (across), shape (C, C)."""
    truth_N, guess_N = np.asarray(truth_N, dtype=np.int64), np.asarray(guess_N, dtype=np.int64)
    assert truth_N.shape == guess_N.shape and truth_N.ndim == 1, (truth_N.shape, guess_N.shape)
    return np.bincount(truth_N * classes + guess_N, minlength=classes * classes).reshape(classes, classes)


def class_counts(truth_N, guess_N, classes: int) -> np.ndarray:
    """What each row adds to each class's counts: (rightly called, true, called), shape (N, C, 3)."""
    truth_NC, guess_NC = (np.eye(classes, dtype=bool)[np.asarray(place_N, dtype=np.int64)] for place_N in (truth_N, guess_N))
    return label_counts(truth_NC, guess_NC)


def label_counts(truth_NL, guess_NL) -> np.ndarray:
    """As `class_counts`, where any number of labels may hold: shape (N, L, 3)."""
    truth_NL, guess_NL = np.asarray(truth_NL, dtype=bool), np.asarray(guess_NL, dtype=bool)
    assert truth_NL.shape == guess_NL.shape and truth_NL.ndim == 2, (truth_NL.shape, guess_NL.shape)
    return np.stack([truth_NL & guess_NL, truth_NL, guess_NL], axis=-1).astype(np.float64)


def single_figures(counts_C3) -> dict[str, np.ndarray]:
    """The figures of one class a row, from sums of `class_counts`, shape (..., C, 3)."""
    counts_C3 = np.asarray(counts_C3, dtype=np.float64)
    assert counts_C3.shape[-1] == 3, counts_C3.shape
    return {
        "accuracy": _share(counts_C3[..., 0].sum(-1), counts_C3[..., 1].sum(-1)),
        **class_means(counts_C3),
        "matthews": matthews(counts_C3),
    }


def class_means(counts_C3) -> dict[str, np.ndarray]:
    """F1, precision and recall as means over classes, and F1 weighted by how often each is true.

    precision_c = right_c / called_c;  recall_c = right_c / true_c;  F1_c = 2 right_c / (true_c + called_c)
    """
    right_C, true_C, called_C = np.moveaxis(np.asarray(counts_C3, dtype=np.float64), -1, 0)
    f1_C, occurs_C = _share(2 * right_C, true_C + called_C), (true_C + called_C) > 0
    classes = occurs_C.sum(-1)
    return {
        "macro_f1": _share((f1_C * occurs_C).sum(-1), classes),
        "weighted_f1": _share((f1_C * true_C).sum(-1), true_C.sum(-1)),
        "precision": _share((_share(right_C, called_C) * occurs_C).sum(-1), classes),
        "recall": _share((_share(right_C, true_C) * occurs_C).sum(-1), classes),
    }


def matthews(counts_C3) -> np.ndarray:
    """Matthews' correlation for any number of classes; 0 where truth or guesses are all of one class.

    (c s - sum_k p_k t_k) / sqrt((s^2 - sum_k p_k^2) (s^2 - sum_k t_k^2)), c right, s all, p_k called k, t_k truly k.
    Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient (2004), equation 8.
    """
    right_C, true_C, called_C = np.moveaxis(np.asarray(counts_C3, dtype=np.float64), -1, 0)
    total = true_C.sum(-1)
    spread = (total**2 - (called_C**2).sum(-1)) * (total**2 - (true_C**2).sum(-1))
    return _share(right_C.sum(-1) * total - (true_C * called_C).sum(-1), np.sqrt(np.maximum(spread, 0)))


def multi_figures(counts_L3, rows) -> dict[str, np.ndarray]:
    """The figures of several labels a row: micro_f1 counts all labels as one, matthews is the mean of each label's own.

    Args:
        counts_L3: sums of `label_counts`, shape (..., L, 3). rows: how many rows those are.
    """
    counts_L3 = np.asarray(counts_L3, dtype=np.float64)
    right_L, true_L, called_L = np.moveaxis(counts_L3, -1, 0)
    no_L3 = np.stack([rows - true_L - called_L + right_L, rows - true_L, rows - called_L], -1)  # of "it does not hold"
    return {
        "micro_f1": _share(2 * right_L.sum(-1), (true_L + called_L).sum(-1)),
        **class_means(counts_L3),
        "matthews": matthews(np.stack([no_L3, counts_L3], -2)).mean(-1),
    }


def auroc(scores_N, positive_N, weights=None) -> np.ndarray:
    """Probability that a positive row scores above a negative one, ties counted half; NaN without rows of both kinds.

    The Mann-Whitney U over n_p n_n (Hanley and McNeil, The meaning and use of the area under a receiver operating
    characteristic curve, 1982).
    """
    scores_N, positive_N = np.asarray(scores_N, dtype=np.float64), np.asarray(positive_N, dtype=bool)
    assert scores_N.shape == positive_N.shape and scores_N.ndim == 1, (scores_N.shape, positive_N.shape)
    weights = _weights(weights, len(scores_N))
    order_N = np.argsort(scores_N, kind="stable")
    starts_G = np.flatnonzero(np.diff(scores_N[order_N], prepend=-np.inf))
    sorted_weights = weights[..., order_N]
    positive_G, negative_G = (
        np.add.reduceat(sorted_weights * kind_N[order_N], starts_G, axis=-1) for kind_N in (positive_N, ~positive_N)
    )
    won = (positive_G * (np.cumsum(negative_G, -1) - negative_G / 2)).sum(-1)
    pairs = positive_G.sum(-1) * negative_G.sum(-1)
    return np.where(pairs > 0, _share(won, pairs), np.nan)


def mean_auroc(scores_NC, truth_NC, weights=None) -> np.ndarray:
    """Mean over classes of each one against the rest; classes without rows of both kinds are left out, NaN if all are."""
    scores_NC, truth_NC = np.asarray(scores_NC), np.asarray(truth_NC, dtype=bool)
    assert scores_NC.shape == truth_NC.shape and scores_NC.ndim == 2, (scores_NC.shape, truth_NC.shape)
    areas_C = np.stack([auroc(scores_NC[:, c], truth_NC[:, c], weights) for c in range(truth_NC.shape[1])], -1)
    held_C = ~np.isnan(areas_C)
    return np.where(held_C.any(-1), _share(np.where(held_C, areas_C, 0).sum(-1), held_C.sum(-1)), np.nan)


def regression_figures(truth_N, guess_N, weights=None) -> dict[str, np.ndarray]:
    """Both correlations, mae, rmse and r2 = 1 - sum (y - f)^2 / sum (y - mean y)^2, which is NaN where y does not vary."""
    truth_N, guess_N = np.asarray(truth_N, dtype=np.float64), np.asarray(guess_N, dtype=np.float64)
    assert truth_N.shape == guess_N.shape and truth_N.ndim == 1, (truth_N.shape, guess_N.shape)
    weights = _weights(weights, len(truth_N))
    squares, spread = ((truth_N - guess_N) ** 2 * weights).sum(-1), _spread(truth_N, weights)
    total = weights.sum(-1)
    return {
        "pearson": pearson(truth_N, guess_N, weights),
        "spearman": pearson(ranks(truth_N, weights), ranks(guess_N, weights), weights),
        "mae": (np.abs(truth_N - guess_N) * weights).sum(-1) / total,
        "rmse": np.sqrt(squares / total),
        "r2": np.where(spread > 0, 1 - _share(squares, spread), np.nan),
    }


def pearson(x, y, weights=None) -> np.ndarray:
    """Correlation of values of shape (..., N); NaN where one of the two does not vary."""
    weights = _weights(weights, np.shape(x)[-1])
    x, y = (np.asarray(value, dtype=np.float64) for value in (x, y))
    together = (weights * (x - _mean(x, weights)) * (y - _mean(y, weights))).sum(-1)
    spread = np.sqrt(_spread(x, weights) * _spread(y, weights))
    # rounding leaves a spread of 1e-32 to what does not vary
    return np.where(spread > 1e-12 * np.abs(x * y).max(-1, initial=1e-300), _signed_share(together, spread), np.nan)


def ranks(values_N, weights=None) -> np.ndarray:
    """Ranks from 1 among all that count, ties with the mean of theirs, shape (..., N); Spearman's are Pearson's of these."""
    values_N = np.asarray(values_N, dtype=np.float64)
    weights = _weights(weights, len(values_N))
    order_N = np.argsort(values_N, kind="stable")
    starts_G = np.flatnonzero(np.diff(values_N[order_N], prepend=-np.inf))
    counts_G = np.add.reduceat(weights[..., order_N], starts_G, axis=-1)
    middle_G = np.cumsum(counts_G, -1) - (counts_G - 1) / 2
    group_N = np.empty(len(values_N), dtype=np.int64)
    group_N[order_N] = np.repeat(np.arange(len(starts_G)), np.diff(starts_G, append=len(values_N)))
    return middle_G[..., group_N]


def _weights(weights, rows: int) -> np.ndarray:
    weights = np.ones(rows) if weights is None else np.asarray(weights, dtype=np.float64)
    assert weights.shape[-1] == rows, (weights.shape, rows)
    return weights


def _mean(x, weights) -> np.ndarray:
    return ((x * weights).sum(-1) / weights.sum(-1))[..., None]


def _spread(x, weights) -> np.ndarray:
    return (weights * (x - _mean(x, weights)) ** 2).sum(-1)


def _signed_share(above, below) -> np.ndarray:
    return np.clip(_share(above, below), -1.0, 1.0)


def _share(above, below) -> np.ndarray:
    """above / below, 0 where nothing is below."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast_shapes(above.shape, below.shape)), where=below > 0)
