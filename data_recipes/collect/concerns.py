"""Who needs a talk, and who is fine as far as can be told.

A lead looks often, and a test that is made for one look would in time accuse everybody. So every check here may be looked at
after each vote: a share against a fixed one by `evidence` (Ville's inequality: wrong for at most 1 in 100 people, ever),
guessing against care by Wald's sequential ratio, `guessing` (wrong for at most about 1 in 20 who guess or are careful).
A concern is a reason to talk, with its figures; nobody is left out of any export for it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from data_recipes.collect.agreement import of_people, sign
from data_recipes.collect.model import Vote
from data_recipes.collect.quality import FASTEST, consistent, gold_right, group, habits, real, took_left, took_longer
from data_recipes.intervals import wilson

CAREFUL = 0.85  # how often a careful person is right on a gold item, for the test of guessing
ERRORS = 0.05  # of that test, either way
STRONG = 100.0  # evidence that a false alarm reaches in one of 100 people at most, however often one looks
LEAST_SHIFT = 0.1  # a smaller difference is no reason to talk
FAST_SHARE = 0.1  # of too fast votes: anybody recognises an item now and then
CHECKS = ("side", "length", "guessing", "apart", "fast")


def evidence(hits: int, n: int, p: float) -> float:
    """How much better "some other share" explains hits of n than the share p does.

    E = integral_0^1 q^h (1-q)^(n-h) dq / (p^h (1-p)^(n-h)) = B(h+1, n-h+1) / (p^h (1-p)^(n-h))

    A mixture martingale: under p it ever exceeds 1/a with probability a at most (Ville 1939; Robbins, Ann. Math. Stat. 41,
    1970, equation 12), whenever one looks. p strictly between 0 and 1.
    """
    log_beta = math.lgamma(hits + 1) + math.lgamma(n - hits + 1) - math.lgamma(n + 2)
    return math.exp(min(700.0, log_beta - hits * math.log(p) - (n - hits) * math.log1p(-p)))


def guessing(gold: Sequence[bool], repeats: Sequence[bool]) -> float:
    """How much better a coin explains these answers than care does: above 19 it guesses, below 1/19 it does not.

    ratio = prod_t 0.5 / P(answer_t | care),  P(right on gold) = c = CAREFUL,  P(same on a repeat) = c^2 + (1 - c)^2

    Wald's sequential probability ratio test, Ann. Math. Stat. 16 (1945), bounds (1-b)/a and b/(1-a) with a = b = ERRORS.
    Somebody who votes for more than two outcomes by chance is right less often still, so the coin is the cautious choice.
    """
    ratio = 1.0
    for answers, right in ((gold, CAREFUL), (repeats, CAREFUL**2 + (1 - CAREFUL) ** 2)):
        for answer in answers:
            ratio *= 0.5 / (right if answer else 1 - right)
    return ratio


@dataclass(frozen=True)
class Concern:
    """One reason to talk: which of CHECKS spoke, the sentence for people, and the figure behind it."""

    check: str
    text: str
    evidence: float


@dataclass(frozen=True)
class Opinion:
    """What the checks say of one person: `talk` with reasons, `fine`, or `open` where the votes do not tell yet."""

    verdict: str
    concerns: tuple[Concern, ...]

    def as_dict(self) -> dict:
        """The JSON form."""
        return asdict(self)


# ----------------------------------------------------------------------------------------------------------- the checks


def prefers_side(votes: Sequence[Vote]) -> Concern | None:
    """Speaks where the share of left votes is no half; sides are planned, so a careful person has a half."""
    sides = [side for vote in real(votes) if (side := took_left(vote)) is not None]
    left, n = sum(sides), len(sides)
    found = evidence(left, n, 0.5)
    if found < STRONG or abs(left / n - 0.5) < LEAST_SHIFT:
        return None
    side, hits = ("left", left) if 2 * left > n else ("right", n - left)
    text = f"prefers the {side} side: {_percent(hits, n)} of the votes for a side, where half is expected"
    return Concern("side", text, found)


def prefers_length(votes: Sequence[Vote], others: Sequence[Vote]) -> Concern | None:
    """Speaks where the longer (or the shorter) answer wins more often than with the others, by the bound of their interval.

    The better answer may well be the longer one, so that not a half but the others' share is the measure. Without others
    nothing is said.
    """
    for word, pick in (("longer", bool), ("shorter", lambda longer: not longer)):
        (mine, n), (theirs, m) = _length(votes, pick), _length(others, pick)
        if found := n and m and _above(mine, n, max(wilson(theirs, m).high, 0.5)):
            text = f"prefers the {word} answer: {_percent(mine, n)} of the votes for a side, the others {_percent(theirs, m)}"
            return Concern("length", text, found)
    return None


def _length(votes: Sequence[Vote], pick) -> tuple[int, int]:
    told = [pick(took) for vote in real(votes) if vote.kind == "normal" and (took := took_longer(vote)) is not None]
    return sum(told), len(told)


def _above(hits: int, n: int, p: float) -> float:
    """The evidence that a share is above p, where it is strong and the difference matters; else 0."""
    found = evidence(hits, n, p) if p < 1 else 0.0
    return found if found >= STRONG and hits / n >= p + LEAST_SHIFT else 0.0


def guesses(votes: Sequence[Vote]) -> Concern | None:
    """Speaks where gold items and repeats look like a coin."""
    gold, repeats = trials(votes)
    found = guessing(gold, repeats)
    if found < (1 - ERRORS) / ERRORS:
        return None
    parts = [f"{sum(answers)} of {len(answers)} {what}" for answers, what in (
        (gold, "gold items right"), (repeats, "repeats answered the same")) if answers]
    return Concern("guessing", f"{' and '.join(parts)}: worse than a careful person does", found)


def trials(votes: Sequence[Vote]) -> tuple[list[bool], list[bool]]:
    """One person's gold answers (right or not) and repeats (same or not)."""
    return [gold_right(vote) for vote in real(votes) if vote.kind == "gold"], consistent(real(votes))


def hurries(votes: Sequence[Vote]) -> Concern | None:
    """Speaks where more than a tenth of the votes came faster than anybody reads."""
    counted = habits(votes)["too_fast"]
    fast = round(counted.get("value", 0) * counted["n"])
    if not counted["n"] or not (found := _above(fast, counted["n"], FAST_SHARE)):
        return None
    text = f"{_percent(fast, counted['n'])} of the votes came at more than {FASTEST:.0f} words a minute"
    return Concern("fast", text, found)


def stands_apart(name: str, votes: Sequence[Vote], trusted: set[str]) -> Concern | None:
    """Speaks where somebody goes with the majority of the others much less often than those go with theirs.

    What those say among themselves is counted without this person, who would blur it.
    """
    others = trusted - {name}
    hits, n = with_majority(votes, others).get(name, (0, 0))
    among = with_majority([vote for vote in votes if vote.annotator in others], others)
    theirs, m = (sum(pair[place] for pair in among.values()) for place in (0, 1))
    if not n or not m or not (found := _above(n - hits, n, max(1 - wilson(theirs, m).low, 0.01))):
        return None
    text = f"says what most others say in {_percent(hits, n)} of the items, those in {_percent(theirs, m)}"
    return Concern("apart", text, found)


def with_majority(votes: Sequence[Vote], trusted: set[str]) -> dict[str, tuple[int, int]]:
    """For each person: on how many items the verdict is that of most trusted others, of how many where these have one."""
    by_item: dict[int, dict[str, float]] = defaultdict(dict)
    for vote in votes:
        by_item[vote.item][vote.annotator] = sign(vote)
    found = {vote.annotator: (0, 0) for vote in votes}
    for signs in by_item.values():
        for name, mine in signs.items():
            leaning = sum(value for other, value in signs.items() if other != name and other in trusted)
            if leaning:
                hits, n = found[name]
                found[name] = (hits + (mine * leaning > 0), n + 1)
    return found


def _percent(hits: int, n: int) -> str:
    bounds = wilson(hits, n)
    return f"{100 * bounds.value:.0f} % [{100 * bounds.low:.0f}, {100 * bounds.high:.0f}] ({hits} of {n})"


# ---------------------------------------------------------------------------------------------------------- all together


def opinions(votes: Sequence[Vote]) -> dict[str, Opinion]:
    """What the checks say of each person. Who was told by an earlier check does not count among `the others` of a later one."""
    by_person = group([vote for vote in votes if vote.role != "judge"])
    found: dict[str, list[Concern]] = {name: [] for name in by_person}

    def trusted() -> set[str]:
        return {name for name, concerns in found.items() if not concerns} or set(found)

    def ask(check) -> None:
        spoken = {name: concern for name in by_person if (concern := check(name)) is not None}
        for name, concern in spoken.items():
            found[name].append(concern)

    ask(lambda name: prefers_side(by_person[name]))
    ask(lambda name: guesses(by_person[name]))
    known = trusted()
    ask(lambda name: prefers_length(by_person[name], [vote for other in known - {name} for vote in by_person[other]]))
    cast, known = of_people(votes), trusted()
    ask(lambda name: stands_apart(name, cast, known))
    ask(lambda name: hurries(by_person[name]))
    agreeing = with_majority(cast, trusted())
    return {name: Opinion(_verdict(by_person[name], concerns, agreeing.get(name, (0, 0))), tuple(concerns))
            for name, concerns in found.items()}


def _verdict(votes: Sequence[Vote], concerns: list[Concern], agreeing: tuple[int, int]) -> str:
    if concerns:
        return "talk"
    cares = guessing(*trials(votes)) <= ERRORS / (1 - ERRORS)
    return "fine" if cares or (agreeing[1] and _above(*agreeing, 0.5)) else "open"
