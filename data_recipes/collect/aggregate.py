"""From several people's votes on one item to one outcome. Pure functions over `Vote`s in canonical order.

Aggregation is a choice of the export, never of the store: the same votes can be exported again by another rule.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from data_recipes.collect.model import Vote

RULES = ("each", "majority", "mean", "unanimous", "weighted")
SIDES = ("first", "second")


@dataclass(frozen=True)
class Outcome:
    """What one vote, or the votes on one item together, say.

    better: 0 for the first, 1 for the second, None where neither. strength: 1..4, how much better. acceptable: of first
    and second; None where not told. agreement: share of the votes (by weight, if weighted) on the better side. votes:
    those behind it. why: why there is no better one (empty where there is).
    """

    item: int
    better: int | None
    strength: float
    acceptable: tuple[bool | None, bool | None]
    agreement: float
    votes: tuple[Vote, ...]
    why: str = ""


def outcomes(votes: Sequence[Vote], rule: str, *, threshold: float = 1.0) -> list[Outcome]:
    """One outcome an item (each: one a vote), in the order of items. A lead's vote that settles replaces the others'.

    Args:
        votes: of normal items.
        rule: one of RULES. majority: more than half of the votes on one side. mean: the mean of signed strengths is at
            least `threshold` from 0. unanimous: all on one side. weighted: more than half of the weight on one side.
    """
    if rule == "each":
        return [_outcome((vote,), 1.0, vote.signed) for vote in votes]
    by_item: dict[int, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_item[vote.item].append(vote)
    weights = weigh(votes) if rule == "weighted" else {}
    found = []
    for item in sorted(by_item):
        settled = tuple(vote for vote in by_item[item] if vote.settles)
        found.append(_together(settled or tuple(by_item[item]), rule, threshold, {} if settled else weights))
    return found


def _together(votes: tuple[Vote, ...], rule: str, threshold: float, weights: Mapping[str, float]) -> Outcome:
    if rule == "mean":
        mean = fmean(vote.signed for vote in votes)
        return _outcome(votes, _share(votes, _sign(mean), {}), mean if abs(mean) >= threshold else 0.0)
    sides = {sign: _share(votes, sign, weights) for sign in (-1, 1)}
    sign = max(sides, key=lambda side: sides[side])
    wins = sides[sign] == 1 if rule == "unanimous" else sides[sign] > 0.5
    signed = fmean(vote.signed for vote in votes if _sign(vote.signed) == sign) if wins else 0.0
    return _outcome(votes, max(sides.values()), signed)


def _share(votes: Sequence[Vote], sign: int, weights: Mapping[str, float]) -> float:
    """The share of the votes, or of their weight, with this sign."""
    all_of = [weights.get(vote.annotator, 1.0) for vote in votes]
    own = [weight for vote, weight in zip(votes, all_of, strict=True) if _sign(vote.signed) == sign]
    return sum(own) / sum(all_of) if sum(all_of) else 0.0


def _outcome(votes: tuple[Vote, ...], agreement: float, signed: float) -> Outcome:
    acceptable = tuple(accepted([acceptance(vote)[side] for vote in votes]) for side in (0, 1))
    better = None if signed == 0 else int(signed > 0)
    return Outcome(votes[0].item, better, abs(signed), acceptable, agreement, votes, "" if signed else _why(votes))


def _why(votes: Sequence[Vote]) -> str:
    verdicts = {vote.verdict for vote in votes}
    if len(verdicts) == 1:
        return {"tie": "tie", "both_good": "both good", "both_bad": "both bad"}.get(next(iter(verdicts)), "no agreement")
    return "no agreement" if verdicts & set(SIDES) else "tie"


def acceptance(vote: Vote) -> tuple[bool | None, bool | None]:
    """Whether one vote finds first and second acceptable: as it says, or as `both good` and `both bad` mean."""
    meant = {"both_good": True, "both_bad": False}.get(vote.verdict)
    return tuple(meant if told is None else told for told in vote.acceptable)


def accepted(told: Sequence[bool | None], *, unanimous: bool = False) -> bool | None:
    """What more than half (or all) of those say who say anything; None where nobody does or there is no such part."""
    said = [value for value in told if value is not None]
    if not said or unanimous and len(set(said)) > 1:
        return None
    share = sum(said) / len(said)
    return None if share == 0.5 else share > 0.5


def weigh(votes: Sequence[Vote]) -> dict[str, float]:
    """Each person's weight: log(p / (1 - p)), with p the share of items on which the person sides with the others' majority.

    Votes that settle are no part of it. p is smoothed as (agreed + 2) / (n + 3): somebody of whom nothing is known is taken
    to be right two times in three. A weight is never below 0: whoever agrees less than by chance is not heard. With
    independent errors of known rate these weights make the weighted majority the most probable answer (Nitzan and Paroush,
    International Economic Review 23 (1982)).
    """
    by_item: dict[int, list[Vote]] = defaultdict(list)
    own = [vote for vote in votes if not vote.settles]
    for vote in own:
        by_item[vote.item].append(vote)
    agreed: dict[str, list[bool]] = {vote.annotator: [] for vote in own}
    for cast in by_item.values():
        for vote in cast:
            rest = sum(_sign(other.signed) for other in cast if other is not vote)
            if rest:
                agreed[vote.annotator].append(_sign(vote.signed) == _sign(rest))
    weights = {}
    for name, hits in agreed.items():
        share = (sum(hits) + 2) / (len(hits) + 3)
        weights[name] = max(0.0, math.log(share / (1 - share)))
    return weights


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
