"""Mean and spread over seeds, and how sure a difference is. Pure functions; scipy only for Student's t."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev

from data_recipes.intervals import LEVEL

ENOUGH = 3  # seeds from which on an interval is worth printing: with two, Student's t is 12.7


@dataclass(frozen=True)
class Spread:
    """n values of one setting. sd: the sample's standard deviation, None for one value.

    low, high: interval of the mean, None below `ENOUGH` values and where all are equal.
    """

    n: int
    mean: float
    sd: float | None
    smallest: float
    largest: float
    low: float | None
    high: float | None

    def as_dict(self) -> dict:
        """The JSON form."""
        return asdict(self)


def spread(values_N: Sequence[float], *, level: float = LEVEL) -> Spread:
    """Mean, standard deviation (n - 1), range and Student's interval mean +- t sd / sqrt(n) of values over seeds.

    The interval is over the randomness of training alone; the held-out rows are the same in every run.

    Args:
        values_N: one finite number a seed, shape (N,), N at least 1.

    Raises:
        ValueError: no value, or one that is not finite.
    """
    n = len(values_N)
    if not n or not all(map(math.isfinite, values_N)):
        raise ValueError(f"a non-empty list of finite numbers is needed, not {list(values_N)}")
    mean, sd = fmean(values_N), stdev(values_N) if n > 1 else None
    half = _t(level, n - 1) * sd / math.sqrt(n) if n >= ENOUGH and sd else None  # equal values tell nothing of their spread
    bounds = (None, None) if half is None else (mean - half, mean + half)
    return Spread(n, mean, sd, min(values_N), max(values_N), *bounds)


def difference(ours: Mapping[int, float], theirs: Mapping[int, float], *, level: float = LEVEL) -> Spread | None:
    """Spread of ours less theirs over the seeds that both have; a seed's two runs share rows, split and order.

    Args:
        ours, theirs: value by seed.
    """
    shared = sorted(ours.keys() & theirs.keys())
    return spread([ours[seed] - theirs[seed] for seed in shared], level=level) if shared else None


def _t(level: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, freedom))
