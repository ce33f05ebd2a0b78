"""Several rewards into one, and rewards on one scale. Only numpy.

Ensembles against over-optimisation: Coste et al. 2023 (arXiv 2310.02743), sections 3.2 and 4.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

WAYS = ("sum", "mean", "minimum", "lower")


def combine(scores_SB, how: str, *, weights: list[float] | None = None, deviations: float = 1.0) -> np.ndarray:
    """One score for each of B answers from S sources, shape (B,).

        sum      sum_s w_s r_s            (weights 1 where not given)
        mean     sum_s w_s r_s / sum_s w_s
        minimum  min_s r_s                (worst case)
        lower    mean_s r_s - k * std_s r_s,  k = `deviations`, std of the population of sources

    Raises:
        ValueError: an unknown way, weights of another number, or weights with `minimum` or `lower`.
    """
    scores_SB = np.asarray(scores_SB, dtype=np.float64)
    assert scores_SB.ndim == 2, scores_SB.shape
    if weights is not None and (len(weights) != len(scores_SB) or how in ("minimum", "lower")):
        raise ValueError(f"{len(weights)} weights for {len(scores_SB)} rewards combined by '{how}'")
    weights_S1 = np.ones((len(scores_SB), 1)) if weights is None else np.asarray(weights, dtype=np.float64)[:, None]
    if how == "sum":
        return (weights_S1 * scores_SB).sum(0)
    if how == "mean":
        return (weights_S1 * scores_SB).sum(0) / weights_S1.sum()
    if how == "minimum":
        return scores_SB.min(0)
    if how == "lower":
        return scores_SB.mean(0) - deviations * scores_SB.std(0)
    raise ValueError(f"no way '{how}' to combine rewards; one of {', '.join(WAYS)}")


@dataclass
class RunningScale:
    """Mean and deviation of all scores seen, in one pass.

    Chan, Golub and LeVeque 1979, equation 2.1: mean and sum of squared deviations of two sets joined.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def update(self, scores_B) -> None:
        """Takes in a batch, shape (B,)."""
        scores_B = np.asarray(scores_B, dtype=np.float64)
        n, mean = len(scores_B), float(scores_B.mean())
        total, apart = self.count + n, mean - self.mean
        self.squares += float(((scores_B - mean) ** 2).sum()) + apart**2 * self.count * n / total
        self.mean += apart * n / total
        self.count = total

    @property
    def std(self) -> float:
        """The population's; 1 as long as nothing has varied, so that nothing is divided by 0."""
        return (self.squares / self.count) ** 0.5 if self.squares > 0 else 1.0

    def normalise(self, scores_B) -> np.ndarray:
        """(score - mean) / std."""
        return (np.asarray(scores_B, dtype=np.float64) - self.mean) / self.std

    def state(self) -> dict:
        """JSON-able; `RunningScale(**state)` makes it again."""
        return asdict(self)
