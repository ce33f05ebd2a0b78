"""Do people agree more than chance would have them? Only numpy; every interval is a bootstrap over items.

Votes of one item are no independent evidence, so the item is what is drawn again (never the vote). Where a measure is not
defined (nobody ever varied, nobody shared an item) that is said in words; it is never printed as 1 or as nothing.

Verdicts are compared on three values: first better, neither, second better (both good and both bad are `neither`); strengths
on nine, -4 to 4, in the item's own order, so that the side of the screen plays no part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from data_recipes.collect.model import Vote
from data_recipes.intervals import LEVEL, RESAMPLES, drawn_statistics, mean_or_share

VERDICT_VALUES = (-1.0, 0.0, 1.0)
STRENGTHS = tuple(float(value) for value in range(-4, 5))
NO_PAIR = "no item has two votes"
ALL_SAME = "all votes on shared items say the same, so that chance cannot be told"


# --------------------------------------------------------------------------------------------------------- the formulas


def nominal(values_K: Sequence[float]) -> np.ndarray:
    """Squared distances that only tell equal from different: 0 on the diagonal, else 1; shape (K, K)."""
    return 1.0 - np.eye(len(values_K))


def squared(values_K: Sequence[float]) -> np.ndarray:
    """(value_c - value_k)^2, the metric of an interval scale; shape (K, K)."""
    values_K = np.asarray(values_K, dtype=np.float64)
    return (values_K[:, None] - values_K[None, :]) ** 2


def counts(values_UA: np.ndarray, values_K: Sequence[float]) -> np.ndarray:
    """How often each value was given to each item, shape (U, K), from ratings of shape (U, A) with NaN where there is none.

    Raises:
        ValueError: a rating is none of `values_K`.
    """
    counts_UK = (np.asarray(values_UA, dtype=np.float64)[:, :, None] == np.asarray(values_K)[None, None, :]).sum(axis=1)
    if counts_UK.sum() != np.isfinite(values_UA).sum():
        raise ValueError("a rating is none of the values that were named")
    return counts_UK.astype(np.float64)


def coincidences(counts_UK: np.ndarray) -> np.ndarray:
    """Each item's matrix of coincidences, shape (U, K, K); items with fewer than two ratings have none.

    o_uck = n_uc (n_uk - [c = k]) / (m_u - 1)      Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C
    """
    rated_U = counts_UK.sum(axis=1)
    pairs_UKK = counts_UK[:, :, None] * counts_UK[:, None, :] - counts_UK[:, :, None] * np.eye(counts_UK.shape[1])
    return np.where(rated_U > 1, 1.0 / np.maximum(rated_U - 1, 1.0), 0.0)[:, None, None] * pairs_UKK


def alpha(pairs_RKK: np.ndarray, distance_KK: np.ndarray) -> np.ndarray:
    """Krippendorff's alpha of R summed matrices of coincidences, shape (R,); NaN where nobody ever varied.

    alpha = 1 - D_o / D_e = 1 - (n - 1) sum_ck o_ck d_ck / sum_ck n_c n_k d_ck      Krippendorff (2011), sections D and E
    """
    margin_RK = pairs_RKK.sum(axis=2)
    seen_R = (pairs_RKK * distance_KK).sum(axis=(1, 2))
    expected_R = np.einsum("rc,ck,rk->r", margin_RK, distance_KK, margin_RK)
    return _one_minus(seen_R * (margin_RK.sum(axis=1) - 1), expected_R)


def cohen(table_RKK: np.ndarray, distance_KK: np.ndarray) -> np.ndarray:
    """Cohen's kappa of R tables (first rater's value by second rater's), shape (R,); NaN where chance alone agrees always.

    kappa = (p_o - p_e) / (1 - p_e) = 1 - sum_ck d_ck o_ck / sum_ck d_ck o_c. o_.k / n      Cohen, Educ. Psychol. Meas. 20
    (1960); with `squared` distances the weighted kappa of Cohen, Psychol. Bull. 70 (1968), equation 6.
    """
    expected_R = np.einsum("rc,ck,rk->r", table_RKK.sum(axis=2), distance_KK, table_RKK.sum(axis=1))
    return _one_minus((table_RKK * distance_KK).sum(axis=(1, 2)) * table_RKK.sum(axis=(1, 2)), expected_R)


def fleiss(counts_RK: np.ndarray, agreeing_R: np.ndarray, items_R: np.ndarray) -> np.ndarray:
    """Fleiss' kappa, shape (R,); NaN where one value was given throughout.

    kappa = (P - P_e) / (1 - P_e),  P = mean of P_u = (sum_k n_uk^2 - n) / (n (n - 1)),  P_e = sum_k p_k^2
    Fleiss, Psychol. Bull. 76 (1971), equations 3 to 7.

    Args:
        counts_RK: how often each value was given in all. agreeing_R: sum of P_u. items_R: number of items.
    """
    share_RK = counts_RK / counts_RK.sum(axis=1, keepdims=True)
    return _one_minus(1 - agreeing_R / items_R, 1 - (share_RK**2).sum(axis=1))


def _one_minus(seen_R: np.ndarray, expected_R: np.ndarray) -> np.ndarray:
    defined_R = expected_R > 1e-12  # rounding leaves 1e-17 where the truth is 0
    return np.where(defined_R, 1 - seen_R / np.where(defined_R, expected_R, 1.0), np.nan)


def pair_agreement(counts_UK: np.ndarray) -> np.ndarray:
    """P_u, the share of an item's pairs of ratings that agree, shape (U,); NaN with fewer than two ratings."""
    rated_U = counts_UK.sum(axis=1)
    pairs_U = np.where(rated_U > 1, rated_U * (rated_U - 1), np.nan)
    return (counts_UK * (counts_UK - 1)).sum(axis=1) / pairs_U


# -------------------------------------------------------------------------------------------------- estimates over items


def over_items(statistic: Callable[[np.ndarray], np.ndarray], sums_US: np.ndarray, *, why: str, seed: int = 0) -> dict:
    """An estimate with its percentile bootstrap over items, or {"undefined": why}.

    Args:
        statistic: R sums over items, shape (R, S), to R numbers, NaN where it is undefined.
        sums_US: what an item adds to each of the sums.
        why: the reason, in words, for which it would be undefined.

    A draw in which it is undefined counts for nothing; `undefined_draws` is their share. `flat` says that every draw gave
    the same, so that the bounds are no statement about other items.
    """
    units = len(sums_US)
    value = float(statistic(sums_US.sum(axis=0)[None])[0]) if units else np.nan
    if not np.isfinite(value):
        return {"undefined": why, "n": units}
    if units == 1:
        return {"value": value, "low": None, "high": None, "n": 1, "level": LEVEL, "undefined_draws": 0.0, "flat": True}

    def of_draws(draw_RU: np.ndarray) -> np.ndarray:
        rows = len(draw_RU)
        places = draw_RU + units * np.arange(rows)[:, None]
        return statistic(np.bincount(places.ravel(), minlength=rows * units).reshape(rows, units) @ sums_US)

    drawn = drawn_statistics(of_draws, units, seed, RESAMPLES)
    kept = drawn[np.isfinite(drawn)]
    low, high = np.quantile(kept, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": value, "low": float(low), "high": float(high), "n": units, "level": LEVEL,
            "undefined_draws": float(1 - len(kept) / len(drawn)), "flat": bool(np.ptp(kept) < 1e-9)}


def alpha_of(values_UA: np.ndarray, values_K: Sequence[float], metric: Callable, *, seed: int = 0) -> dict:
    """Krippendorff's alpha with its interval, from ratings of shape (U, A) with NaN where there is none."""
    counts_UK = counts(values_UA, values_K)
    counts_UK = counts_UK[counts_UK.sum(axis=1) > 1]
    size, distance_KK = len(values_K), metric(values_K)
    sums_US = coincidences(counts_UK).reshape(len(counts_UK), size * size)
    return over_items(lambda sums_RS: alpha(sums_RS.reshape(-1, size, size), distance_KK), sums_US, seed=seed,
                      why=ALL_SAME if len(counts_UK) else NO_PAIR)


def cohen_of(ours_U: np.ndarray, theirs_U: np.ndarray, values_K: Sequence[float], metric: Callable, *, seed: int = 0) -> dict:
    """Cohen's kappa of two raters with its interval; ratings of the items that both rated, shape (U,) each."""
    size, distance_KK, levels_K = len(values_K), metric(values_K), np.asarray(values_K)
    table_UKK = (ours_U[:, None, None] == levels_K[None, :, None]) & (theirs_U[:, None, None] == levels_K[None, None, :])
    sums_US = table_UKK.reshape(len(ours_U), size * size).astype(np.float64)
    return over_items(lambda sums_RS: cohen(sums_RS.reshape(-1, size, size), distance_KK), sums_US, seed=seed,
                      why="no item was rated by both" if not len(ours_U) else "both gave one and the same verdict throughout")


def fleiss_of(values_UA: np.ndarray, values_K: Sequence[float], *, seed: int = 0) -> dict:
    """Fleiss' kappa with its interval over the items with the most common number of ratings, which it needs to be fixed."""
    counts_UK = counts(values_UA, values_K)
    sizes = Counter(int(rated) for rated in counts_UK.sum(axis=1) if rated > 1)
    if not sizes:
        return {"undefined": NO_PAIR, "n": 0}
    raters = max(sizes, key=lambda size: (sizes[size], size))
    counts_UK = counts_UK[counts_UK.sum(axis=1) == raters]
    sums_US = np.column_stack([counts_UK, pair_agreement(counts_UK), np.ones(len(counts_UK))])
    found = over_items(lambda sums_RS: fleiss(sums_RS[:, :-2], sums_RS[:, -2], sums_RS[:, -1]), sums_US, seed=seed,
                       why=ALL_SAME)
    return {**found, "raters": raters, "left_out": sum(sizes.values()) - sizes[raters]}


def raw_of(values_UA: np.ndarray, *, ties: bool, seed: int = 0) -> dict:
    """The share of pairs of votes that agree, averaged over items; without ties only votes for a side are paired.

    The two set-ups of MT-Bench, arXiv 2306.05685, section 4.2. Wilson's interval where each item is 0 or 1 (two votes).
    """
    values_UA = np.where(values_UA == 0, np.nan, values_UA) if not ties else values_UA
    agree_U = pair_agreement(counts(values_UA, VERDICT_VALUES))
    agree_U = agree_U[np.isfinite(agree_U)]
    if not len(agree_U):
        return {"undefined": NO_PAIR if ties else "no item has two votes for a side", "n": 0}
    return mean_or_share(agree_U, seed=seed).as_dict()


# -------------------------------------------------------------------------------------------------------- from the votes


def of_people(votes: Sequence[Vote]) -> list[Vote]:
    """The votes that tell agreement: people's own, on normal items. Gold items are easy by design, repeats are the same
    person again, and who settles a disagreement has seen the others' votes."""
    return [vote for vote in votes if vote.kind == "normal" and vote.role != "judge" and not vote.settles]


def sign(vote: Vote) -> float:
    """-1 first better, 0 neither, 1 second better."""
    return float(np.sign(vote.signed))


def matrix(votes: Sequence[Vote], value: Callable[[Vote], float] = sign) -> tuple[np.ndarray, list[int], list[str]]:
    """Ratings of shape (items, people) with NaN where there is none, and the items and people they belong to."""
    items, people = sorted({vote.item for vote in votes}), sorted({vote.annotator for vote in votes})
    row, column = ({name: number for number, name in enumerate(names)} for names in (items, people))
    values_UA = np.full((len(items), len(people)), np.nan)
    for vote in votes:
        values_UA[row[vote.item], column[vote.annotator]] = value(vote)
    return values_UA, items, people


def agreement(votes: Sequence[Vote], *, seed: int = 0) -> dict[str, Any]:
    """All measures of agreement between people, and Cohen's kappa of each two who share items."""
    cast = of_people(votes)
    verdicts_UA, items, people = matrix(cast)
    strengths_UA, _, _ = matrix(cast, lambda vote: float(vote.signed))
    return {
        "items": len(items),
        "shared_items": int((np.isfinite(verdicts_UA).sum(axis=1) > 1).sum()),
        "people": len(people),
        "alpha_nominal": alpha_of(verdicts_UA, VERDICT_VALUES, nominal, seed=seed),
        "alpha_interval": alpha_of(strengths_UA, STRENGTHS, squared, seed=seed),
        "fleiss": fleiss_of(verdicts_UA, VERDICT_VALUES, seed=seed),
        "raw_with_ties": raw_of(verdicts_UA, ties=True, seed=seed),
        "raw_without_ties": raw_of(verdicts_UA, ties=False, seed=seed),
        "cohen": [_pair(people, one, other, verdicts_UA, strengths_UA, seed)
                  for one, other in combinations(range(len(people)), 2)],
    }


def _pair(people: list[str], one: int, other: int, verdicts_UA: np.ndarray, strengths_UA: np.ndarray, seed: int) -> dict:
    both_U = np.isfinite(verdicts_UA[:, one]) & np.isfinite(verdicts_UA[:, other])

    def kappa(values_UA: np.ndarray, values_K: Sequence[float], metric: Callable) -> dict:
        return cohen_of(values_UA[both_U, one], values_UA[both_U, other], values_K, metric, seed=seed)

    return {"people": [people[one], people[other]], "items": int(both_U.sum()),
            "kappa": kappa(verdicts_UA, VERDICT_VALUES, nominal), "weighted": kappa(strengths_UA, STRENGTHS, squared)}
