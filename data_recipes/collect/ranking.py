"""Which run do people prefer, and how sure is that? Ratings by `davidson`, intervals by drawing prompts and people again.

The rating is 1000 + 400 / ln 10 * (b - anchor), so that 400 points are odds of ten to one. The length-controlled twin has a
further term beta x, x = (len_i - len_j) / (len_i + len_j) in units of its root mean square; its ratings are those at x = 0.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from data_recipes.collect.davidson import RIDGE, Battles, each, finite, fit, groups
from data_recipes.collect.model import Vote
from data_recipes.errors import Refused
from data_recipes.intervals import LEVEL

POINTS = 400 / math.log(10)
RESAMPLES = 1000
CHUNK_CELLS = 4_000_000  # draws x votes held at once
LEVEL_POINTS = 1e-3  # ratings closer than that are the same: the fit is no more exact


def battles_of(votes: Sequence[Vote]) -> tuple[Battles, Counter]:
    """The votes that compare two runs, and why others were left out."""
    kept, left_out = [], Counter()
    for vote in votes:
        if reason := _unfit(vote):
            left_out[reason] += 1
        else:
            kept.append(vote)
    names = sorted({name for vote in kept for name in vote.sources})
    place = {name: number for number, name in enumerate(names)}
    lengths = [(len(vote.first), len(vote.second)) for vote in kept]
    length_V = np.array([(one - other) / max(1, one + other) for one, other in lengths], dtype=np.float64)
    # not the standard deviation: it would depend on which run happens to stand first
    scale = math.sqrt((length_V**2).mean()) if len(length_V) else 0.0
    return Battles(
        tuple(names),
        np.array([place[vote.sources[0]] for vote in kept], dtype=np.int64),
        np.array([place[vote.sources[1]] for vote in kept], dtype=np.int64),
        np.array([-np.sign(vote.signed) for vote in kept], dtype=np.float64),
        length_V / scale if scale > 0 else length_V,
        _numbers([vote.prompt_id for vote in kept]),
        _numbers([vote.annotator for vote in kept]),
    ), left_out


def _unfit(vote: Vote) -> str:
    if vote.kind != "normal":
        return f"{vote.kind} items"
    if vote.settles:
        return "votes that settle a disagreement"
    if vote.sources is None:
        return "items that do not say which runs answered"
    return "two answers of the same run" if vote.sources[0] == vote.sources[1] else ""


def _numbers(values: Sequence[str]) -> np.ndarray:
    place = {value: number for number, value in enumerate(sorted(set(values)))}
    return np.array([place[value] for value in values], dtype=np.int64)


def draws(battles: Battles, resamples: int, seed: int) -> np.ndarray:
    """Weights of shape (resamples, V): prompts and people are drawn again at the same time, a vote counts by the product.

    The pigeonhole bootstrap of Owen, Annals of Applied Statistics 1 (2007): votes of one prompt, and of one person, hang
    together, and drawing single votes would promise too much. One person alone is not drawn.
    """
    rng = np.random.default_rng(seed)

    def times(groups_V: np.ndarray) -> np.ndarray:
        units = int(groups_V.max()) + 1
        if units == 1:
            return np.ones((resamples, len(groups_V)))
        places = rng.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
        times_RU = np.bincount(places.ravel(), minlength=resamples * units).reshape(resamples, units)
        return times_RU[:, groups_V].astype(np.float64)

    return times(battles.prompt_V) * times(battles.person_V)


def rank(votes: Sequence[Vote], *, anchor: str | None = None, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Any]:
    """Ratings of all runs, each group of linked runs by itself; `runs` holds the groups one after the other, best first.

    anchor: the run that is put at 1000; by default each group's mean is.
    """
    battles, left_out = battles_of(votes)
    _check(battles, left_out, anchor)
    parts = groups(battles)
    ranked = [_rank_group(battles, part, anchor, seed, resamples) for part in parts]
    return {
        "votes": len(battles.first_V),
        "left_out": dict(sorted(left_out.items())),
        "prompts": len(set(battles.prompt_V.tolist())),
        "people": len(set(battles.person_V.tolist())),
        "connected": len(parts) <= 1,
        "finite": finite(battles),
        "anchor": anchor,
        "groups": [{key: value for key, value in part.items() if key != "runs"} for part in ranked],
        "runs": [run for part in ranked for run in part["runs"]],
        "pairs": pairs(battles),
    }


def _check(battles: Battles, left_out: Counter, anchor: str | None) -> None:
    if not battles.names:
        raise Refused(f"no vote compares two runs: {', '.join(f'{n} on {why}' for why, n in left_out.items()) or 'no votes'}",
                      expected='items with "sources", of two runs', do="align generate with several runs writes such items.")
    if anchor is not None and anchor not in battles.names:
        raise Refused(f"there is no run called {anchor!r}", where="--anchor", expected=f"one of: {', '.join(battles.names)}")


def _rank_group(battles: Battles, part: list[int], anchor: str | None, seed: int, resamples: int) -> dict[str, Any]:
    """One group of linked runs: ratings, the length-controlled twin, ranks, and how sure first place is."""
    inside = _within(battles, part)
    fixed = inside.names.index(anchor) if anchor in inside.names else None
    plain, controlled = (_rated(inside, by_length, fixed, seed, resamples) for by_length in (False, True))
    order = np.argsort(-plain["rating_M"], kind="stable")
    leaders = [inside.names[run] for run in order if plain["rating_M"].max() - plain["rating_M"][run] < LEVEL_POINTS]
    ranks_RM = 1 + (plain["drawn_RM"][:, None, :] > plain["drawn_RM"][:, :, None] + LEVEL_POINTS).sum(axis=2)
    first_RM = ranks_RM == 1
    first_M = (first_RM / first_RM.sum(axis=1, keepdims=True)).mean(axis=0)  # those level in a draw share its first place
    return {
        "names": [inside.names[run] for run in order],
        "leaders": leaders,
        "finite": finite(inside),
        "tie": None if np.isinf(plain["eta"]) else plain["eta"],
        "length_effect": controlled["beta"],
        "flips": 0 if len(leaders) > 1 else flips(inside) if len(part) > 1 else None,
        "runs": [_run(inside, int(run), plain, controlled, ranks_RM, float(first_M[run])) for run in order],
    }


def _within(battles: Battles, part: list[int]) -> Battles:
    """The votes between the runs of one group, with runs, prompts and people numbered anew."""
    inside, place = battles.of(np.isin(battles.first_V, part)), {run: number for number, run in enumerate(part)}
    first_V, second_V = (np.array([place[run] for run in runs_V.tolist()]) for runs_V in (inside.first_V, inside.second_V))
    return replace(inside, names=tuple(battles.names[run] for run in part), first_V=first_V, second_V=second_V,
                   prompt_V=_numbers(inside.prompt_V.tolist()), person_V=_numbers(inside.person_V.tolist()))


def _rated(battles: Battles, by_length: bool, fixed: int | None, seed: int, resamples: int) -> dict[str, Any]:
    """Ratings of the votes themselves and of every draw. Draws always have the ridge: many a draw has no plain maximum."""
    ridge = 0.0 if finite(battles) and not by_length else RIDGE
    own = fit(battles, np.ones((1, len(battles.first_V))), by_length=by_length, ridge=ridge)
    weights_RV, size = draws(battles, resamples, seed), max(1, CHUNK_CELLS // len(battles.first_V))
    drawn = [fit(battles, weights_RV[at:at + size], by_length=by_length, ridge=RIDGE, start=own)
             for at in range(0, resamples, size)]
    beta_R = np.concatenate([part.beta_R for part in drawn])
    return {"rating_M": ratings(own.b_RM, fixed)[0], "drawn_RM": ratings(np.concatenate([part.b_RM for part in drawn]), fixed),
            "eta": float(own.eta_R[0]), "beta": _bounds(float(own.beta_R[0]), beta_R)}


def ratings(b_RM: np.ndarray, fixed: int | None) -> np.ndarray:
    """1000 + 400 / ln 10 * (b - anchor); the anchor is one run, or the mean (None)."""
    return 1000 + POINTS * (b_RM - (b_RM.mean(axis=1, keepdims=True) if fixed is None else b_RM[:, [fixed]]))


def _bounds(value: float, drawn_R: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(drawn_R, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": float(value), "low": float(low), "high": float(high), "level": LEVEL}


def _run(battles: Battles, run: int, plain: dict, controlled: dict, ranks_RM: np.ndarray, first: float) -> dict[str, Any]:
    ours_V = np.where(battles.first_V == run, battles.outcome_V, np.where(battles.second_V == run, -battles.outcome_V, np.nan))
    told = ours_V[np.isfinite(ours_V)]
    low, high = np.quantile(ranks_RM[:, run], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    return {
        "name": battles.names[run],
        "rating": _bounds(plain["rating_M"][run], plain["drawn_RM"][:, run]),
        "length_controlled": _bounds(controlled["rating_M"][run], controlled["drawn_RM"][:, run]),
        "ranks": [int(low), int(high)],
        "first": first,
        "votes": len(told), "wins": int((told > 0).sum()), "ties": int((told == 0).sum()), "losses": int((told < 0).sum()),
    }


def pairs(battles: Battles) -> list[dict[str, Any]]:
    """Wins, ties and losses of each two runs that were compared."""
    found: dict[tuple[int, int], Counter] = {}
    for one, other, outcome in each(battles):
        key, sign = ((one, other), 1) if one < other else ((other, one), -1)
        found.setdefault(key, Counter())[sign * outcome] += 1
    return [{"runs": [battles.names[one], battles.names[other]], "wins": seen[1.0], "ties": seen[0.0], "losses": seen[-1.0]}
            for (one, other), seen in sorted(found.items())]


def flips(battles: Battles) -> int | None:
    """How many votes, turned round, would put another run first: a small number means that first place is fragile.

    The votes are turned that set the first run back most in favour of the second: a bound from above on the least number
    (Huang, Shen, Wei and Broderick, arXiv 2508.11847, drop votes in that spirit). None: no number of them does.
    """
    b_M = fit(battles, np.ones((1, len(battles.first_V))), ridge=RIDGE).b_RM[0]
    best, next_best = np.argsort(-b_M, kind="stable")[:2]
    gain_V = _gain(battles, int(best), int(next_best))
    order = np.argsort(-gain_V, kind="stable")[: int((gain_V > 0).sum())]

    def another_first(count: int) -> bool:
        outcome_V = battles.outcome_V.copy()
        outcome_V[order[:count]] *= -1
        turned = replace(battles, outcome_V=outcome_V)
        return int(np.argmax(fit(turned, np.ones((1, len(outcome_V))), ridge=RIDGE).b_RM[0])) != best

    if not len(order) or not another_first(len(order)):
        return None
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if another_first(middle) else (middle, high)
    return high


def _gain(battles: Battles, best: int, next_best: int) -> np.ndarray:
    """What turning each vote brings the second run against the first: 2 for wins of the first over it, 1 for other wins of
    the first and losses of the second, 0 for the rest (ties cannot be turned)."""
    winner_V = np.where(battles.outcome_V > 0, battles.first_V, battles.second_V)
    loser_V = np.where(battles.outcome_V > 0, battles.second_V, battles.first_V)
    return (battles.outcome_V != 0) * ((winner_V == best).astype(int) + (loser_V == next_best).astype(int))
