"""Which run do people prefer, and how sure is that? Bradley-Terry with Davidson's ties; only numpy.

With strengths b and tie parameter eta, for runs i and j and z = b_i - b_j (+ beta x, the length-controlled twin):

    P(i wins) : P(tie) : P(j wins)  =  exp(z / 2) : exp(eta) : exp(-z / 2)

Davidson, On Extending the Bradley-Terry Model to Accommodate Ties, JASA 65 (1970), equation 2.4, nu = exp(eta); without
ties it is Bradley and Terry, Biometrika 39 (1952): P(i wins) = sigmoid(z). x is (len_i - len_j) / (len_i + len_j), in units of
its standard deviation, and the twin's ratings are those at x = 0. The rating is 1000 + 400 / ln 10 * (b - anchor), so that
400 points are odds of ten to one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_recipes.collect.model import Vote
from data_recipes.errors import Failed, Refused
from data_recipes.intervals import LEVEL

POINTS = 400 / math.log(10)
RIDGE = 0.01  # on b: lets a fit exist where one run won always; moves a rating of 100 votes by about a point
LENGTH_RIDGE = 0.5  # on beta: a few short answers that won are no law; of hundreds of votes it takes less than a hundredth
STEPS, TOLERANCE = 100, 1e-10
RESAMPLES = 1000
CHUNK_CELLS = 4_000_000  # draws x votes held at once
VOTE_ARRAYS = ("first_V", "second_V", "outcome_V", "length_V", "prompt_V", "person_V")


@dataclass(frozen=True)
class Battles:
    """Votes between runs as arrays of shape (V,): places of both runs, outcome (1 the first won, 0 tie, -1), length term,
    and the numbers of prompt and person, by which votes are drawn again."""

    names: tuple[str, ...]
    first_V: np.ndarray
    second_V: np.ndarray
    outcome_V: np.ndarray
    length_V: np.ndarray
    prompt_V: np.ndarray
    person_V: np.ndarray

    def of(self, keep_V: np.ndarray) -> Battles:
        """Some of the votes."""
        return replace(self, **{name: getattr(self, name)[keep_V] for name in VOTE_ARRAYS})


@dataclass(frozen=True)
class Fit:
    """Strengths of shape (R, M) with mean 0, tie parameters (R,) (-inf without ties), length coefficients (R,)."""

    b_RM: np.ndarray
    eta_R: np.ndarray
    beta_R: np.ndarray


def fit(battles: Battles, weights_RV: np.ndarray, *, by_length: bool = False, ridge: float = 0.0,
        start: Fit | None = None) -> Fit:
    """Newton's method for R weighted fits at once; the log-likelihood is concave in (b, beta, eta).

    With s = 1/2, 0, -1/2 for the outcomes:  dL/dz = s - E[s],  dL/deta = [tie] - P(tie),
    -H_zz = Var s,  -H_ee = P(tie) (1 - P(tie)),  -H_ze = -P(tie) E[s].  With a ridge,
    ridge / 2 * |b|^2 (and LENGTH_RIDGE / 2 * beta^2) is taken off L.

    Args:
        weights_RV: how often each vote counts in each fit.
        by_length: fit beta too.
        ridge: 0 is the plain maximum, which exists only where `finite` says so.
        start: a fit of the same votes to begin with; it saves half of the steps.
    """
    if not ridge and not finite(battles):
        raise Failed("without a ridge these votes have no finite ratings", expected="ways of wins or ties between all runs")
    if not by_length:
        battles, weights_RV = _counted(battles, weights_RV)
    runs, ties = len(battles.names), bool((battles.outcome_V == 0).any())
    design_VP = _design(battles, by_length, ties)
    penalty_PP = ridge * np.eye(design_VP.shape[1])
    if by_length and ridge:
        penalty_PP[runs, runs] = LENGTH_RIDGE
    if ties:
        penalty_PP[-1, -1] = 1e-9  # a draw may hold no tie: its eta then stays where it is flat
    gauge_PP = np.zeros_like(penalty_PP)
    gauge_PP[:runs, :runs] = 1.0  # fixes the mean of b, along which nothing changes
    theta_RP = np.zeros((len(weights_RV), design_VP.shape[1]))
    if start is not None:
        theta_RP += np.concatenate([start.b_RM, start.beta_R[:, None][:, :by_length], start.eta_R[:, None][:, :ties]], axis=1)
    for _ in range(STEPS):
        gradient_RP, curvature_RPP = _slopes(battles, design_VP, weights_RV, theta_RP, ties)
        gradient_RP = gradient_RP - theta_RP @ (penalty_PP + gauge_PP)
        step_RP = np.linalg.solve(curvature_RPP + penalty_PP + gauge_PP, gradient_RP[:, :, None])[:, :, 0]
        theta_RP = theta_RP + np.clip(step_RP, -1.0, 1.0)  # a full step may overshoot far from the maximum
        if np.abs(step_RP).max() < TOLERANCE:
            break
    else:
        raise Failed(f"the ratings do not settle within {STEPS} steps", where=f"{len(battles.first_V)} votes")
    b_RM = theta_RP[:, :runs] - theta_RP[:, :runs].mean(axis=1, keepdims=True)
    none_R = np.zeros(len(theta_RP))
    return Fit(b_RM, theta_RP[:, -1] if ties else none_R - np.inf, theta_RP[:, runs] if by_length else none_R)


def _counted(battles: Battles, weights_RV: np.ndarray) -> tuple[Battles, np.ndarray]:
    """Votes alike in both runs and the outcome as one, with their weights summed: without lengths nothing else counts."""
    alike_V3 = np.column_stack([battles.first_V, battles.second_V, battles.outcome_V])
    _, first_seen_C, cell_V = np.unique(alike_V3, axis=0, return_index=True, return_inverse=True)
    member_VC = cell_V.reshape(-1, 1) == np.arange(len(first_seen_C))
    return battles.of(first_seen_C), weights_RV @ member_VC.astype(np.float64)


def _design(battles: Battles, by_length: bool, ties: bool) -> np.ndarray:
    """z = design @ (b, beta); the last column, where there are ties, is eta's and stays 0."""
    votes, runs = len(battles.first_V), len(battles.names)
    design_VP = np.zeros((votes, runs + by_length + ties))
    design_VP[np.arange(votes), battles.first_V] += 1
    design_VP[np.arange(votes), battles.second_V] -= 1
    if by_length:
        design_VP[:, runs] = battles.length_V
    return design_VP


def _slopes(battles: Battles, design_VP: np.ndarray, weights_RV: np.ndarray, theta_RP: np.ndarray, ties: bool):
    """Gradient of shape (R, P) and negative Hessian of shape (R, P, P), without any penalty."""
    win_RV, tie_RV, lose_RV = probabilities(theta_RP @ design_VP.T, theta_RP[:, -1:] if ties else np.array([[-np.inf]]))
    mean_RV = (win_RV - lose_RV) / 2
    gradient_RP = (weights_RV * (battles.outcome_V / 2 - mean_RV)) @ design_VP
    zz_RV = weights_RV * ((win_RV + lose_RV) / 4 - mean_RV**2)
    curvature_RPP = np.einsum("rv,vp,vq->rpq", zz_RV, design_VP, design_VP, optimize=True)
    if ties:
        gradient_RP[:, -1] = (weights_RV * ((battles.outcome_V == 0) - tie_RV)).sum(axis=1)
        cross_RP = (weights_RV * -tie_RV * mean_RV) @ design_VP
        curvature_RPP[:, -1, :] = curvature_RPP[:, :, -1] = cross_RP
        curvature_RPP[:, -1, -1] = (weights_RV * tie_RV * (1 - tie_RV)).sum(axis=1)
    return gradient_RP, curvature_RPP


def probabilities(z: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P(win), P(tie), P(loss) of the first run at z = b_i - b_j; any shapes that broadcast, eta = -inf without ties."""
    top = np.maximum(np.abs(z) / 2, eta)
    win, tie, lose = np.exp(z / 2 - top), np.exp(eta - top), np.exp(-z / 2 - top)
    total = win + tie + lose
    return win / total, tie / total, lose / total


# ------------------------------------------------------------------------------------------------------------ the graph


def groups(battles: Battles) -> list[list[int]]:
    """Runs that are linked by votes, in any direction; only within a group can ratings be compared."""
    return _components(len(battles.names), [*zip(battles.first_V, battles.second_V, strict=True),
                                            *zip(battles.second_V, battles.first_V, strict=True)])


def finite(battles: Battles) -> bool:
    """Whether the plain maximum exists: from each run a way of wins (or ties) leads to every other of its group.

    Ford, Solution of a Ranking Problem from Binary Comparisons, Amer. Math. Monthly 64 (1957); for ties Davidson (1970).
    """
    runs, edges = len(battles.names), []
    for one, other, outcome in _each(battles):
        edges += [(one, other)] * (outcome >= 0) + [(other, one)] * (outcome <= 0)
    reached = [_reach(start, edges) for start in range(runs)]
    return all(start in reached[other] for start in range(runs) for other in reached[start])


def _each(battles: Battles) -> Iterator[tuple[int, int, float]]:
    return zip(battles.first_V.tolist(), battles.second_V.tolist(), battles.outcome_V.tolist(), strict=True)


def _reach(start: int, edges: Sequence[tuple[int, int]]) -> set[int]:
    beyond: dict[int, set[int]] = {}
    for one, other in edges:
        beyond.setdefault(one, set()).add(other)
    seen, waiting = {start}, [start]
    while waiting:
        new = beyond.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


def _components(runs: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    left, found = set(range(runs)), []
    while left:
        reached = _reach(min(left), edges)
        found.append(sorted(int(run) for run in reached))
        left -= reached
    return found


# ---------------------------------------------------------------------------------------------------------- the ranking


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
    std = length_V.std() if len(length_V) else 0.0
    return Battles(
        tuple(names),
        np.array([place[vote.sources[0]] for vote in kept], dtype=np.int64),
        np.array([place[vote.sources[1]] for vote in kept], dtype=np.int64),
        np.array([-np.sign(vote.signed) for vote in kept], dtype=np.float64),
        length_V / std if std > 0 else length_V * 0,
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
    ranks_RM = 1 + (plain["drawn_RM"][:, None, :] > plain["drawn_RM"][:, :, None]).sum(axis=2)
    first_M = (ranks_RM == 1).mean(axis=0)
    return {
        "names": [inside.names[run] for run in order],
        "finite": finite(inside),
        "tie": None if np.isinf(plain["eta"]) else plain["eta"],
        "length_effect": controlled["beta"],
        "flips": flips(inside) if len(part) > 1 else None,
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
    for one, other, outcome in _each(battles):
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
