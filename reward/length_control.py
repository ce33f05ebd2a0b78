"""The win rate that would be seen if both sides were equally long.

Judges and reward models like length, and so a policy can win by rambling. As in length-controlled AlpacaEval (Dubois et
al., arXiv 2404.04475, equation 2 without the term per instruction) the wins are regressed on the difference of lengths,
and the fitted rate is read off at difference zero:

    P(win) = sigmoid(a + b * tanh((len_ours - len_theirs) / std)),   length-controlled rate = sigmoid(a)

Both coefficients carry a ridge penalty of RIDGE / 2 * (a^2 + b^2), since the maximum does not exist where one side wins
always or the lengths separate the wins; on 500 prompts it moves the rate by less than 0.1 points.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reward.calibration import sigmoid
from data_recipes.intervals import LEVEL, Interval, bootstrap, wilson

RIDGE = 0.1
STEPS = 30
RESAMPLES = 500


def length_controlled(
    wins_P, differences_P, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """The rate at equal length, with a percentile bootstrap over prompts that fits each draw anew.

    Args:
        wins_P: 1 won, 0 lost, 0.5 a tie, or a mean over samples, shape (P,).
        differences_P: length of ours minus length of theirs, in any unit, shape (P,).
    """
    wins_P, inputs_P = np.asarray(wins_P, dtype=np.float64), squash(differences_P)
    assert wins_P.ndim == 1 and wins_P.shape == inputs_P.shape and len(wins_P), (wins_P.shape, inputs_P.shape)

    def value() -> float:
        return sigmoid(fit(wins_P[None], inputs_P[None])[0, 0])

    def of_draws(draw_RP):
        return sigmoid(fit(wins_P[draw_RP], inputs_P[draw_RP])[:, 0])

    found = bootstrap(value, of_draws, len(wins_P), seed, resamples, level)
    return _not_certain(found, wins_P)


def _not_certain(found: Interval, wins_P: np.ndarray) -> Interval:
    """Where every prompt was won (or lost) each draw says the same: the bounds are then those of the plain share."""
    if not np.isin(wins_P, (0.0, 1.0)).all() or np.ptp(wins_P) > 0:
        return found
    share = wilson(float(wins_P.sum()), len(wins_P), level=found.level)
    return replace(found, low=min(found.low, share.low), high=max(found.high, share.high))


def squash(differences_P) -> np.ndarray:
    """tanh(difference / std): a few very long answers do not decide the slope.

    All zero where the difference never varies, since no slope can be told then.
    """
    differences_P = np.asarray(differences_P, dtype=np.float64)
    std = differences_P.std()
    return np.tanh(differences_P / std) if std > 0 else np.zeros_like(differences_P)


def extrapolated(differences_P, *, least: float = 0.05) -> bool:
    """Whether difference zero lies at the edge of what was seen: one side is the longer on nearly all prompts.

    The rate at equal length is then a guess of the model's, not a measurement.
    """
    differences_P = np.asarray(differences_P, dtype=np.float64)
    return bool(min((differences_P >= 0).mean(), (differences_P <= 0).mean()) < least)


def fit(wins_RP: np.ndarray, inputs_RP: np.ndarray) -> np.ndarray:
    """Newton's method for R ridge logistic regressions at once; returns (intercept, slope) of shape (R, 2).

    gradient = sum_p (p_p - y_p) (1, x_p) + RIDGE (a, b);  Hessian = sum_p p_p (1 - p_p) (1, x_p)(1, x_p)^T + RIDGE I
    """
    a_R, b_R = np.zeros(len(wins_RP)), np.zeros(len(wins_RP))
    for _ in range(STEPS):
        p_RP = sigmoid(a_R[:, None] + b_R[:, None] * inputs_RP)
        error_RP, weight_RP = p_RP - wins_RP, p_RP * (1 - p_RP)
        g0_R, g1_R = error_RP.sum(1) + RIDGE * a_R, (error_RP * inputs_RP).sum(1) + RIDGE * b_R
        h00_R, h01_R = weight_RP.sum(1) + RIDGE, (weight_RP * inputs_RP).sum(1)
        h11_R = (weight_RP * inputs_RP**2).sum(1) + RIDGE
        determinant_R = h00_R * h11_R - h01_R**2
        step0_R, step1_R = (h11_R * g0_R - h01_R * g1_R) / determinant_R, (h00_R * g1_R - h01_R * g0_R) / determinant_R
        a_R, b_R = a_R - _bounded(step0_R), b_R - _bounded(step1_R)
        if max(np.abs(step0_R).max(), np.abs(step1_R).max()) < 1e-10:
            break
    return np.stack([a_R, b_R], axis=1)


def _bounded(step_R: np.ndarray) -> np.ndarray:
    return np.clip(step_R, -2.0, 2.0)  # a full Newton step may overshoot where nearly all rows are won
