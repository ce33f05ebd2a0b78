"""Is a model as sure as it is right? What makes it so, and the scale of a reward model's scores. Only numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_recipes.intervals import wilson

BINS = 10
LARGEST_TEMPERATURE = 20.0  # and its inverse the smallest; rows that are all right, or all wrong, have no best one within
GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


def sigmoid(x) -> np.ndarray:
    """1 / (1 + exp(-x)) in float64, written with tanh, which does not overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, dtype=np.float64)))


def pairwise_confidence(margins_B) -> tuple[np.ndarray, np.ndarray]:
    """How sure each preference is, and whether it is right.

    p = sigmoid(r_chosen - r_rejected) is the Bradley-Terry probability of the label; confidence = max(p, 1 - p);
    correct = 1 where the margin is positive, 1/2 where it is zero.

    Args:
        margins_B: r_chosen - r_rejected, shape (B,).

    Returns:
        confidence in [0.5, 1] and correct in {0, 0.5, 1}, shape (B,) each.
    """
    margins_B = np.asarray(margins_B, dtype=np.float64)
    assert margins_B.ndim == 1, margins_B.shape
    return sigmoid(np.abs(margins_B)), 0.5 * (1.0 + np.sign(margins_B))


def expected_calibration_error(confidence_B, correct_B, *, bins: int = BINS, lowest: float = 0.5) -> float:
    """ECE = sum_b n_b / N * |accuracy_b - confidence_b| over bins of equal width on [lowest, 1].

    Naeini et al. (2015); Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599, equation 3.
    """
    gaps_Bb = calibration_gaps(confidence_B, correct_B, bins=bins, lowest=lowest)
    return float(np.abs(gaps_Bb.sum(axis=0)).sum() / len(gaps_Bb))


def calibration_gaps(confidence_B, correct_B, *, bins: int = BINS, lowest: float = 0.5) -> np.ndarray:
    """What each row adds to its bin, correct - confidence, shape (B, bins): the ECE is sum_b |sum of b's gaps| / N."""
    confidence_B, correct_B = (np.asarray(x, dtype=np.float64) for x in (confidence_B, correct_B))
    index_B = _bins_of(confidence_B, bins, lowest)
    return np.eye(bins)[index_B] * (correct_B - confidence_B)[:, None]


def _bins_of(confidence_B, bins: int, lowest: float) -> np.ndarray:
    edges = np.linspace(lowest, 1.0, bins + 1)
    return np.clip(np.searchsorted(edges, confidence_B, side="right") - 1, 0, bins - 1)


def reliability(confidence_B, correct_B, *, bins: int = BINS, lowest: float = 0.5) -> list[dict]:
    """The reliability diagram's bins that hold rows: edges, count, mean confidence, accuracy and its Wilson bounds."""
    confidence_B, correct_B = (np.asarray(x, dtype=np.float64) for x in (confidence_B, correct_B))
    assert confidence_B.shape == correct_B.shape and confidence_B.ndim == 1, (confidence_B.shape, correct_B.shape)
    edges = np.linspace(lowest, 1.0, bins + 1)
    index_B = _bins_of(confidence_B, bins, lowest)
    return [
        _bin(edges[b], edges[b + 1], confidence_B[index_B == b], correct_B[index_B == b])
        for b in range(bins)
        if (index_B == b).any()
    ]


def _bin(start: float, stop: float, confidence_N, correct_N) -> dict:
    share = wilson(float(correct_N.sum()), len(correct_N))
    return {
        "from": float(start),
        "to": float(stop),
        "count": len(correct_N),
        "confidence": float(confidence_N.mean()),
        "accuracy": share.value,
        "low": share.low,
        "high": share.high,
    }


def log_loss(logits_NC, truth_N, temperature: float = 1.0) -> float:
    """Mean of -log softmax(logits / T)[truth] in float64. logits_NC: shape (N, C), truth_N: places of the true classes."""
    scaled_NC = np.asarray(logits_NC, dtype=np.float64) / temperature
    assert scaled_NC.ndim == 2 and len(truth_N) == len(scaled_NC), scaled_NC.shape
    shifted_NC = scaled_NC - scaled_NC.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted_NC).sum(axis=1)) - shifted_NC[np.arange(len(shifted_NC)), truth_N]).mean())


def fit_temperature(logits_NC, truth_N, *, tolerance: float = 1e-6) -> float:
    """The T that makes the log loss of softmax(logits / T) least, by golden section over log T in float64.

    Guo et al., arXiv 1706.04599, section 4.2. The loss is convex in 1 / T, so that it has one valley in log T too. A yes-or-no
    logit z is the pair (0, z).
    """
    low, high = -np.log(LARGEST_TEMPERATURE), np.log(LARGEST_TEMPERATURE)
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = (log_loss(logits_NC, truth_N, float(np.exp(place))) for place in (left, right))
    while high - low > tolerance:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = log_loss(logits_NC, truth_N, float(np.exp(left)))
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = log_loss(logits_NC, truth_N, float(np.exp(right)))
    return float(np.exp((low + high) / 2))


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of a reward model's scores, to bring different models to one scale."""

    mean: float
    std: float

    @classmethod
    def of(cls, scores_B) -> Scale:
        """From held-out scores, chosen and rejected together; std is the population's."""
        scores_B = np.asarray(scores_B, dtype=np.float64)
        assert scores_B.ndim == 1 and len(scores_B), scores_B.shape
        return cls(float(scores_B.mean()), float(scores_B.std()))

    def normalise(self, scores_B) -> np.ndarray:
        """(score - mean) / std; a constant scorer stays at 0 instead of dividing by nothing."""
        return (np.asarray(scores_B, dtype=np.float64) - self.mean) / (self.std or 1.0)
