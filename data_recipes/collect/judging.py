"""A judge as one more annotator: it takes every open item, votes where both orders agree, and skips with its reason elsewhere.

Its votes never take people's places; `stats` sets them beside the people's, and exports leave them out unless asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from data_recipes.collect.model import Annotator, Entry, Task
from data_recipes.collect.store import Store
from data_recipes.errors import Failed, Refused

CHOICE = {"first": "left", "second": "right", "tie": "tie"}
NO_ANSWER = "no-answer"


class PairJudge(Protocol):
    """Verdicts on (conversation, first answer, second answer), each with `winner` (first, second, tie or None) and `why`."""

    def __call__(self, cases: Sequence[tuple[list[dict], str, str]]) -> Sequence[Any]: ...


def judge_of(store: Store, name: str) -> Annotator:
    """The judge of this name, made where it is not there. Raises Refused where a person is called so."""
    known = {person.name: person for person in store.annotators()}
    if name not in known:
        return store.add_annotator(name, "judge")
    if known[name].role != "judge":
        raise Refused(f"'{name}' is a person", where="--name", expected="another name for the judge")
    return known[name]


def judge_items(store: Store, who: Annotator, judge: PairJudge, *, most: int | None = None,
                progress: Callable[[int], None] | None = None) -> dict[str, int]:
    """Judges what is open to this judge, at most `most` items; returns counts of votes and of skips by reason.

    A kill loses nothing: a task that was taken is given again under the same lease.

    Raises:
        Failed: no answer came; the item stays open, and the same command goes on there.
    """
    counts: Counter[str] = Counter()
    guideline = store.guidelines().version
    while (most is None or counts.total() < most) and (task := store.claim(who.id)) is not None:
        (verdict,) = judge([(list(task.messages), task.left, task.right)])
        if verdict.why == NO_ANSWER:
            store.release(who.id, task.lease)
            raise Failed("the judge gave no answer", where=f"item {task.item}",
                         do=f"{counts.total()} items were judged before it; the same command goes on there")
        store.record(who.id, _entry(task, verdict, guideline))
        counts[CHOICE.get(verdict.winner, f"skipped: {verdict.why}")] += 1
        if progress:
            progress(counts.total())
    return dict(sorted(counts.items()))


def _entry(task: Task, verdict: Any, guideline: int) -> Entry:
    if verdict.winner is None:
        return Entry(task.lease, "skip", task.item, {"reason": verdict.why}, task.lease, 0, guideline)
    body = {"choice": CHOICE[verdict.winner], "strength": None, "acceptable": None, "tags": []}
    return Entry(task.lease, "vote", task.item, body, task.lease, 0, guideline)
