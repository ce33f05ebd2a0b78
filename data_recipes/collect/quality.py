"""What each person's votes look like: sides, lengths, ties, gold items, repeats, speed and hours. Shares by Wilson."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from data_recipes.collect.agreement import sign
from data_recipes.collect.model import Vote
from data_recipes.intervals import wilson

FASTEST = 600.0  # words a minute: scanning for a word; people skim at 450 and read at 300 (Carver, J. of Reading 36, 1992)


# --------------------------------------------------------------------------------------------------------- what is told


def share(hits: float, n: int, nothing: str) -> dict:
    """A share with Wilson's interval, or {"undefined": nothing}."""
    return wilson(hits, n).as_dict() if n else {"undefined": nothing, "n": 0}


def took_left(vote: Vote) -> bool | None:
    """Whether the left answer was preferred; None for neither."""
    return None if vote.signed == 0 else (vote.signed > 0) == vote.swapped


def took_longer(vote: Vote) -> bool | None:
    """Whether the longer answer, in characters, was preferred; None for neither, and where both are equally long."""
    if vote.signed == 0 or len(vote.first) == len(vote.second):
        return None
    return (vote.signed > 0) == (len(vote.second) > len(vote.first))


def gold_right(vote: Vote) -> bool:
    """Whether a gold item got the verdict expected; where a tie is expected, any verdict that prefers neither is right."""
    return vote.verdict == vote.gold or (vote.gold == "tie" and vote.signed == 0)


def consistent(votes: Sequence[Vote]) -> list[bool]:
    """For each hidden repeat of one person, whether the three-valued verdict is the same as the first time."""
    first = {vote.item: sign(vote) for vote in votes if vote.kind != "repeat"}
    return [sign(vote) == first[vote.of] for vote in votes if vote.kind == "repeat" and vote.of in first]


def words_a_minute(vote: Vote) -> float | None:
    """Words shown by minutes visible; None where no time was measured (imported votes, judges)."""
    return vote.words / (vote.visible_ms / 60_000) if vote.visible_ms > 0 else None


def real(votes: Sequence[Vote]) -> list[Vote]:
    """Without the training round, in which people still learn, and without votes that settle what others said."""
    return [vote for vote in votes if vote.kind != "training" and not vote.settles]


def share_of(answers: Sequence[bool | None], nothing: str) -> dict:
    """The share of yes among those that are yes or no."""
    told = [answer for answer in answers if answer is not None]
    return share(sum(told), len(told), nothing)


def habits(votes: Sequence[Vote]) -> dict[str, Any]:
    """Sides, lengths, ties, gold, repeats, speed and hours of some votes (one person's, or everybody's).

    Hours count the visible page of all votes, the training round and settling among them.
    """
    cast = real(votes)
    speeds = [speed for vote in cast if (speed := words_a_minute(vote)) is not None]
    by_person = group(cast)
    normal = [vote for vote in cast if vote.kind == "normal"]
    return {
        "votes": len(normal),
        "left": share_of([took_left(vote) for vote in cast], "no vote for a side"),
        "longer": share_of([took_longer(vote) for vote in normal], "no vote for one of two answers of unequal length"),
        "ties": share(sum(vote.signed == 0 for vote in normal), len(normal), "no votes"),
        "gold": share_of([gold_right(vote) for vote in cast if vote.kind == "gold"], "no gold items"),
        "consistency": share_of([same for own in by_person.values() for same in consistent(own)], "no repeats"),
        "too_fast": share(sum(speed > FASTEST for speed in speeds), len(speeds), "no times were measured"),
        "words_a_minute": statistics.median(speeds) if speeds else None,
        "hours": sum(vote.visible_ms for vote in votes) / 3_600_000,
    }


def set_aside(events: Iterable[Mapping[str, Any]], list_name: str | None = None) -> dict[str, Counter]:
    """How many items each person skipped and flagged (a judge skips where it abstains), undone ones left out."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for event in events:
        if event["kind"] in ("skip", "flag") and list_name in (None, event["list"]):
            found[event["annotator"]][event["seq"]] = event["kind"]
        elif event["kind"] == "undo":
            found[event["annotator"]].pop(event["undoes"], None)
    return {name: Counter(kinds.values()) for name, kinds in found.items()}


def group(votes: Sequence[Vote]) -> dict[str, list[Vote]]:
    """Votes by person, names in order."""
    found = defaultdict(list)
    for vote in votes:
        found[vote.annotator].append(vote)
    return dict(sorted(found.items()))
