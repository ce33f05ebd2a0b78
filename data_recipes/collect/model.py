"""The words that all parts of the collection share: people, tasks, entries and votes. Frozen, without behaviour.

Two orders are kept apart. *Screen*: left and right, as one person saw an item. *Canonical*: first and second, as the item
file has them. An `Entry` speaks of the screen, a `Vote` of the canonical order; the store turns one into the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from data_recipes.errors import Failed, Refused

ROLES = ("annotator", "lead", "judge")
ENTRY_KINDS = ("vote", "undo", "skip", "flag", "edit", "comment")
CHOICES = ("left", "right", "tie", "both_bad", "both_good")
VERDICTS = ("first", "second", "tie", "both_good", "both_bad")
STRATEGIES = ("random", "stratified", "disagreement", "gap", "mix")
FLIPPED = {"left": "right", "right": "left", "first": "second", "second": "first"}


class Conflict(Refused):
    """The same client id with another body, or a second answer to an item that was answered. Nothing was changed."""


class StorageFull(Failed):
    """The disk takes no more. What was asked last is not kept; all that was acknowledged before is."""


class Damaged(Refused):
    """The file is no whole collection any more."""


@dataclass(frozen=True, slots=True)
class Annotator:
    """A person, a lead (who also sees progress and settles), or a judge (a model; its votes count beside the people's).

    name: a pseudonym. active: whether the person may still take tasks and answer. asked: whether tasks are for this person
    (a lead may only look and settle).
    """

    id: int
    name: str
    role: str = "annotator"
    active: bool = True
    asked: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """What one person is asked. Nothing in it tells sources, lengths, or whether it is gold or a repeat.

    lease: the claim's name, to be given back with the entry. messages: the conversation up to the answers. left, right:
    the two answers as shown. training: part of the training round, after which feedback comes with the reply.
    """

    lease: str
    item: int
    messages: tuple[dict, ...]
    left: str
    right: str
    training: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """What one person sends. `client_id` is made by the client, once for each act, and makes repetition harmless.

    vote ends the task: body {"choice": one of CHOICES, "strength": 1..4 or None (for left and right), "acceptable":
    {"left": bool, "right": bool} or None, "tags": [...]}. skip {"reason"} and flag {"reason"} end the task without a vote of
    this person. edit {"side": left|right, "text"} and comment {"text"} belong to the item, before or after the vote.
    undo {"event": client_id} takes back any own entry; after a vote, skip or flag the task is open again.
    visible_ms: how long the page was visible, idle time left out. guideline: the version that was shown.
    """

    client_id: str
    kind: str
    item: int
    body: dict
    lease: str | None = None
    visible_ms: int = 0
    guideline: int = 1


@dataclass(frozen=True, slots=True)
class Vote:
    """One current vote (not undone), in canonical order.

    kind: normal, repeat (of: the item that comes back), gold or training (gold: the verdict expected). prompt_id: equal for
    equal prompts. sources: who wrote first and second, or None. first, second: the answers' texts. signed: 0 where neither
    is better, else 1..4, positive where the second is better. acceptable: of first and second; None where not asked.
    swapped: the second was on the left. visible_ms: seconds of the visible page in thousandths. words: of all that was
    shown. at: when, in seconds since 1970. edited: ("first" or "second", the better text). settles: by a lead, to settle a
    disagreement. strategy, probability: how the item was chosen for this person, and how probable that was. counted: False
    for a vote that came after its time, when others had taken all places of the item.
    """

    annotator: str
    role: str
    item: int
    list: str
    kind: str
    of: int | None
    gold: str | None
    prompt_id: str
    sources: tuple[str, str] | None
    first: str
    second: str
    signed: int
    verdict: str
    acceptable: tuple[bool | None, bool | None]
    swapped: bool
    visible_ms: int
    words: int
    guideline: int
    at: float
    client_id: str
    tags: tuple[str, ...] = ()
    comment: str | None = None
    edited: tuple[str, str] | None = None
    settles: bool = False
    strategy: str = "random"
    probability: float = 1.0
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Progress:
    """done and total tasks of one person (training, gold and repeats among them). seconds_left: an estimate from the
    person's own pace, None before there is one. current: the lease that is open, or None."""

    done: int
    total: int
    seconds_left: float | None = None
    current: str | None = None


@dataclass(frozen=True, slots=True)
class Guidelines:
    """version: counted from 1. text: Markdown."""

    version: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One response with all that is known of its making. made: run hash, decoding settings, seed, ... (JSON-able)."""

    text: str
    source: str | None = None
    made: dict = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Item:
    """One comparison before it is stored.

    messages: the conversation up to the answers. kind, expected, why: gold and training items carry the verdict expected
    and what feedback says. stratum: a group for stratified choice. disagreement: spread of an ensemble's r(first) -
    r(second); gap: the size of its mean. extra: the row's other columns. where: "file:line".
    """

    messages: tuple[dict, ...]
    first: Answer
    second: Answer
    kind: str = "normal"
    expected: str | None = None
    why: str | None = None
    stratum: str = ""
    disagreement: float | None = None
    gap: float | None = None
    extra: dict = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True, slots=True)
class ListPlan:
    """How one list of items is asked.

    overlap: people an item. repeats: share of items that come back to the same person, swapped. choose: one of STRATEGIES.
    random_share: share of choices that are random whatever `choose` says. people: names it is meant for; empty: everybody.
    """

    name: str = "main"
    items: tuple[Item, ...] = ()
    overlap: int = 1
    repeats: float = 0.05
    choose: str = "random"
    random_share: float = 0.2
    people: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A new collection: its people, guidelines, questions and first list.

    people: names of those who are asked. leads: names of those who see progress and settle; one who is in both does both.
    acceptable: also ask whether each answer is acceptable; without it a vote is one key. tags: the team's reason tags.
    lease_seconds: how long a task stays with the person who took it.
    """

    lists: tuple[ListPlan, ...]
    people: tuple[str, ...]
    leads: tuple[str, ...] = ()
    guidelines: str = ""
    acceptable: bool = False
    tags: tuple[str, ...] = ()
    lease_seconds: float = 1800.0
