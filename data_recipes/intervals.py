"""Intervals for what is measured: Wilson for shares, the percentile bootstrap over prompts for everything else.

The prompt is the unit that is drawn again, since several samples or seeds of one prompt are no independent evidence.
Only numpy; every bootstrap takes a seed and gives the same interval for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
CHUNK_CELLS = 4_000_000  # draws x units held at once: 32 MB of float64


@dataclass(frozen=True)
class Interval:
    """An estimate, its bounds, the confidence level and the number of independent units behind it."""

    value: float
    low: float
    high: float
    n: int
    level: float = LEVEL

    def as_dict(self) -> dict:
        """The JSON form."""
        return asdict(self)

    def text(self, *, percent: bool = False, digits: int = 2) -> str:
        """For people: `61.2 % [55.0, 67.1]` or `0.43 [0.31, 0.55]`."""
        if percent:
            return f"{100 * self.value:.1f} % {bounds_text(100 * self.low, 100 * self.high, self.n, '.1f')}"
        return f"{self.value:.{digits}f} {bounds_text(self.low, self.high, self.n, f'.{digits}f')}"


def is_point(low: float, high: float) -> bool:
    """Whether bounds are one number, up to the rounding of a mean."""
    return math.isclose(low, high, rel_tol=1e-9, abs_tol=1e-12)


def bounds_text(low: float, high: float, n: int | None, form: str, alike: str = "alike") -> str:
    """`[55.0, 67.1]`; of a single unit `(of one)`, and where all units say the same `(all 40 alike)`: no draw of them differs
    from another then, and bounds that are one point would look like certainty."""
    if not is_point(low, high):
        return f"[{low:{form}}, {high:{form}}]"
    return "(of one)" if n == 1 else f"(all {alike})" if n is None else f"(all {n:,} {alike})"


def wilson(successes: float, n: int, *, level: float = LEVEL) -> Interval:
    """Score interval of a share.

    centre = (p + z^2/2n) / (1 + z^2/n);  half = z / (1 + z^2/n) * sqrt(p(1-p)/n + z^2/4n^2)

    Wilson, Probable inference, JASA 22 (1927), as recommended for small n by Brown, Cai and DasGupta (2001). Unlike the
    normal interval it keeps inside [0, 1] and does not shrink to a point at 0 or n successes.

    Args:
        successes: may be fractional, where a tie counts half.
        n: number of independent trials, at least 1.

    Raises:
        ValueError: no trial, or more successes than trials.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"successes in [0, n] and n >= 1 are needed, not {successes} of {n}")
    z, share = _z(level), successes / n
    shrink = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # at 0 and n successes an end is the share itself, which rounding misses by 1e-19
    return Interval(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)), n, level)


def share_difference(ours: Interval, theirs: Interval) -> Interval:
    """Interval of the difference of two independent shares from their Wilson intervals.

    low = d - sqrt((p1 - l1)^2 + (u2 - p2)^2);  high = d + sqrt((u1 - p1)^2 + (p2 - l2)^2);  d = p1 - p2

    Newcombe, Interval estimation for the difference between independent proportions (1998), method 10. For the same units
    measured twice it is too wide, never too narrow, where the two go together.
    """
    value = ours.value - theirs.value
    low = value - math.hypot(ours.value - ours.low, theirs.high - theirs.value)
    high = value + math.hypot(ours.high - ours.value, theirs.value - theirs.low)
    return Interval(value, low, high, min(ours.n, theirs.n), ours.level)


def bootstrap_mean(values_P, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """Percentile bootstrap of a mean over prompts (Efron and Tibshirani 1993, section 13.3).

    Args:
        values_P: one number a prompt, shape (P,).
    """
    values_P = _vector(values_P)
    return bootstrap(
        values_P.mean, lambda draw_RP: values_P[draw_RP].mean(axis=1), len(values_P), seed, resamples, level
    )


def paired_difference(ours_P, theirs_P, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """Percentile bootstrap of mean(ours - theirs), both measured on the same prompts, shape (P,) each.

    Where two that say yes or no (1 or 0) agree on every prompt no draw shows a difference; the bounds are then Wilson's of none
    seen, so that equal on four prompts is no certainty. Where they differ on every prompt they are those of two shares.

    Raises:
        ValueError: the two differ in length.
    """
    ours_P, theirs_P = _vector(ours_P), _vector(theirs_P)
    if ours_P.shape != theirs_P.shape:
        raise ValueError(f"pairs are needed, not {len(ours_P)} and {len(theirs_P)} values")
    if np.ptp(ours_P - theirs_P) == 0 and np.isin([ours_P, theirs_P], (0.0, 1.0)).all():
        if ours_P[0] != theirs_P[0]:
            return share_difference(*(wilson(float(one.sum()), len(one), level=level) for one in (ours_P, theirs_P)))
        most = wilson(0, len(ours_P), level=level).high
        return Interval(0.0, -most, most, len(ours_P), level)
    return bootstrap_mean(ours_P - theirs_P, seed=seed, resamples=resamples, level=level)


def bootstrap_ratio(sums_P, counts_P, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL) -> Interval:
    """Percentile bootstrap of sum(sums) / sum(counts) over rows: a loss per token, say. Both of shape (P,).

    Raises:
        ValueError: the two differ in length.
    """
    sums_P, counts_P = _vector(sums_P), _vector(counts_P)
    if sums_P.shape != counts_P.shape:
        raise ValueError(f"pairs are needed, not {len(sums_P)} and {len(counts_P)} values")

    def of(draw_RP):
        return sums_P[draw_RP].sum(axis=1) / counts_P[draw_RP].sum(axis=1)

    return bootstrap(lambda: sums_P.sum() / counts_P.sum(), of, len(sums_P), seed, resamples, level)


def bootstrap(
    value: Callable[[], float],
    of_draws: Callable[[np.ndarray], np.ndarray],
    units: int,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """Percentile bootstrap of any statistic.

    Args:
        value: the statistic of the data themselves.
        of_draws: takes indices of shape (R, P) and gives R statistics; called on chunks, to bound the memory.
        units: P, what is drawn with replacement.
    """
    drawn = drawn_statistics(of_draws, units, seed, resamples)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value()), float(low), float(high), units, level)


def drawn_statistics(
    of_draws: Callable[[np.ndarray], np.ndarray], units: int, seed: int = 0, resamples: int = RESAMPLES
) -> np.ndarray:
    """The statistic of `resamples` draws of all units with replacement, shape (resamples,); `of_draws` as in `bootstrap`."""
    rng, each = np.random.default_rng(seed), max(1, CHUNK_CELLS // units)
    sizes = [min(each, resamples - start) for start in range(0, resamples, each)]
    return np.concatenate([of_draws(rng.integers(units, size=(size, units))) for size in sizes])


def mean_or_share(values_P, *, seed: int = 0, level: float = LEVEL) -> Interval:
    """Wilson where every value is 0 or 1, so that 0 of 40 has an honest upper bound; the bootstrap elsewhere."""
    values_P = _vector(values_P)
    if np.isin(values_P, (0.0, 1.0)).all():
        return wilson(float(values_P.sum()), len(values_P), level=level)
    return bootstrap_mean(values_P, seed=seed, level=level)


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)


def _vector(values) -> np.ndarray:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
        raise ValueError(f"a non-empty vector of finite numbers is needed, not shape {vector.shape}")
    return vector
