"""What checks take and give: rows as they see them, the context, findings with their places and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from data_recipes import near
from data_recipes.audit import wordlists
from data_recipes.intervals import Interval, wilson
from data_recipes.records import Comparison, Labelled, Message, Prompt, Record, Text, Unpaired

PROBLEM, LOOK, FACT, CLEAN = "problem", "look", "fact", "clean"
LEVELS = (PROBLEM, LOOK, FACT, CLEAN)
TRAIN, HELD_OUT = "train", "held out"


class RowRenderer(Protocol):
    """What turns rows into tokens; `data_recipes.render.Renderer` is one."""

    def demonstration(self, record: Any) -> Any: ...

    def comparison(self, record: Any) -> Any: ...


Embedder = Callable[[Sequence[str]], Any]  # texts to vectors (N, D)
Scorer = Callable[[Sequence[str]], Sequence[float]]  # texts to scores in [0, 1]


@dataclass(frozen=True, eq=False)  # a row is itself: two with the same words stand on two lines
class Row:
    """A record with what checks ask of it.

    part: TRAIN or HELD_OUT. source: what the row comes from, the file unless a column `source` says otherwise.
    """

    record: Record
    part: str = TRAIN
    source: str = ""

    @property
    def where(self) -> str:
        """The row's file and line."""
        return self.record.where

    @cached_property
    def prompt(self) -> str:
        """The words before the last answer, turn by turn; empty for plain text."""
        return "\n\n".join(turn.content for turn in self.prompt_turns if turn.role != "system" and turn.content)

    @cached_property
    def prompt_turns(self) -> tuple[Message, ...]:
        """The turns before the last answer; a labelled text stands as the user's."""
        record = self.record
        if isinstance(record, Text):
            return ()
        if isinstance(record, Labelled):
            return (Message("user", " ".join(filter(None, (record.text, record.pair)))),)
        if isinstance(record, (Comparison, Unpaired)):
            return record.prompt
        return record.messages if isinstance(record, Prompt) else record.messages[:-1]

    @cached_property
    def answers(self) -> dict[str, str]:
        """The answers by name: chosen and rejected of a pair, else `answer` (a chat's last), or none."""
        record = self.record
        if isinstance(record, Comparison):
            return {"chosen": record.chosen[0].content, "rejected": record.rejected[0].content}
        if isinstance(record, Unpaired):
            return {"answer": record.completion[0].content}
        if isinstance(record, Text):
            return {"answer": record.text}
        return {} if isinstance(record, (Labelled, Prompt)) else {"answer": record.messages[-1].content}

    @cached_property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """Every text with the name of its part: `message 1 (user)`, `chosen` and so on."""
        turns = [(f"message {number} ({turn.role})", turn.content) for number, turn in enumerate(self.prompt_turns, 1)]
        return tuple((name, text) for name, text in (*turns, *self.answers.items()) if text)

    @cached_property
    def prompt_key(self) -> str:
        """Equal for prompts that differ in case, spaces and punctuation alone."""
        return near.normal(self.prompt)

    @cached_property
    def label(self) -> Any:
        """The class, score or verdict of a row that has one, else None."""
        return getattr(self.record, "label", None)

    @property
    def extra(self) -> dict:
        """The row's other columns."""
        return self.record.extra


@dataclass(frozen=True)
class Refused:
    """A row that could not be read: its place, the reason to count by, what is wrong, and the row as far as it was read."""

    where: str
    reason: str
    detail: str
    row: Any = None


@dataclass(frozen=True)
class Context:
    """What is known beside the rows. All of it may be missing; a check that needs it then says so.

    refused: rows that could not be read. against: evaluation items by the name of their set, see `decontaminate.Item`.
    allowed: phrases that a reviewer let pass. renderer, max_length: how rows become tokens, and where they are cut.
    longest_context: tokens that the model takes at most.
    target: texts of the target domain. groups: words by group. group_column: a column that names a row's group.
    words: the user's own lists, by their names in `wordlists.NAMES`. guide: the team's own style, a `data_recipes.style.Guide`.
    """

    refused: tuple[Refused, ...] = ()
    against: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    allowed: tuple[str, ...] = ()
    renderer: RowRenderer | None = None
    max_length: int | None = None
    longest_context: int | None = None
    target: tuple[str, ...] = ()
    embed: Embedder | None = None
    toxicity: Scorer | None = None
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    group_column: str = ""
    words: Mapping[str, frozenset[str]] = field(default_factory=dict)
    guide: Any = None
    threshold: float = near.THRESHOLD
    seed: int = 0

    def listed(self, name: str) -> frozenset[str]:
        """The words of a list: the user's own, else the one that comes along."""
        return self.words.get(name) or wordlists.ours(name)

    @property
    def limit(self) -> int | None:
        """The tokens at which a row is cut: the smaller of the maximum that was set and the model's own."""
        return min((one for one in (self.max_length, self.longest_context) if one), default=None)


@dataclass(frozen=True)
class Place:
    """One row of a finding: file and line, what is wrong there, and a masked piece of its text."""

    where: str
    note: str = ""
    excerpt: str = ""


@dataclass(frozen=True)
class Figure:
    """A measured rate or mean with its interval. neutral: the value that means nothing is there, drawn as a line."""

    label: str
    interval: Interval
    neutral: float | None = None
    percent: bool = True
    marked: bool = False


@dataclass(frozen=True)
class Bars:
    """Counts by name, in the order they are shown."""

    title: str
    bars: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Finding:
    """What one check says.

    name: what thresholds call it. count of total: how many of the things looked at (`unit`) are meant.
    measure: what a threshold is compared with; by default the share count/total with its Wilson interval.
    """

    name: str
    title: str
    level: str
    text: str
    count: int = 0
    total: int = 0
    unit: str = "rows"
    places: tuple[Place, ...] = ()
    figures: tuple[Figure, ...] = ()
    bars: tuple[Bars, ...] = ()
    measure: Interval | None = None
    section: str = ""
    why: str = ""
    mend: str = ""

    @property
    def value(self) -> Interval | None:
        """What a threshold is compared with; None where nothing was measured."""
        if self.measure is not None:
            return self.measure
        return wilson(self.count, self.total) if self.total else None


@dataclass(frozen=True)
class NotDone:
    """A check that had nothing to work on, and what it would need."""

    name: str
    title: str
    reason: str


def counted(name: str, title: str, text: str, places: Sequence[Place], total: int, *, level: str = PROBLEM,
            unit: str = "rows", **more: Any) -> Finding:
    """A finding that counts the rows of its places; without any it is clean."""
    count = len({place.where for place in places})
    return Finding(name, title, level if count else CLEAN, text, count, total, unit, tuple(places), **more)
