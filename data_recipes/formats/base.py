"""What every format is made of: a raw row while it is converted, and the entry in the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from data_recipes import turns
from data_recipes.records import BadRow, Message, Record, check_finite, wrong_type

KINDS = ("demonstrations", "comparisons", "prompts", "unpaired", "labelled")
RANKED = ("all", "best", "ends")  # what is taken where several answers to one prompt are ranked


class PassedOver(NamedTuple):
    """What a row holds that is no record of the kind asked for, and no fault either: a tie, a lone answer.

    reason: one kebab-case word to count by. detail: what was found.
    """

    reason: str
    detail: str = ""


class Fields:
    """A raw row while it is converted: remembers which columns were used, so that the others are kept as extra.

    Args:
        row: the raw row. where: "file:line". ignored: receives the names of message fields that have no meaning here.
        ranked: one of `RANKED`; "" is the kind's own default.
    """

    __slots__ = ("row", "where", "used", "ignored", "ranked")

    def __init__(self, row: dict, where: str = "", ignored: set[str] | None = None, ranked: str = "") -> None:
        self.row, self.where, self.ignored, self.ranked = row, where, ignored, ranked
        self.used: set[str] = set()

    def value(self, key: str) -> Any:
        """A required column. Raises BadRow: missing-field."""
        if key not in self.row:
            raise BadRow("missing-field", f"no {key}")
        self.used.add(key)
        return self.row[key]

    def items(self, key: str, what: str) -> list[dict]:
        """A required column that is a list of objects, one at least. Raises BadRow: wrong-type or empty-text."""
        found = self.value(key)
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise wrong_type(key, f"a list of {what}", found)
        if not found:
            raise BadRow("empty-text", f"{key} is an empty list")
        return found

    def optional_text(self, key: str) -> str | None:
        """A column that may be missing, null or empty."""
        value = self.row.get(key)
        self.used.add(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise wrong_type(key, "text", value)
        return value if value.strip() else None

    def tools(self) -> list | None:
        """The functions offered to the assistant in this row."""
        self.used.add("tools")
        return turns.tools_of(self.row.get("tools"))

    def margin(self) -> float | None:
        """By how much chosen is better. A CSV file has only text, so a number written as text is taken."""
        value = self.row.get("margin")
        self.used.add("margin")
        if value is None or value == "":
            return None
        return number("margin", value)

    def turns(self, key: str) -> turns.Turns:
        """A required column of messages."""
        return turns.from_messages(key, self.value(key), self.ignored)

    def either(self, key: str, role: str) -> turns.Turns:
        """A required column of text or messages."""
        return turns.from_either(key, self.value(key), role, self.ignored)

    def system(self, chat: turns.Turns) -> turns.Turns:
        """The chat with the column `system` before it. Raises BadRow: bad-order where it has one already."""
        text = self.optional_text("system")
        if text is None:
            return chat
        if chat[0].role == "system":
            raise BadRow("bad-order", "there is a system column and a system message in the chat")
        return (Message("system", text), *chat)

    def rest(self) -> dict:
        """The columns nobody asked for."""
        return {key: value for key, value in self.row.items() if key not in self.used}


Part = tuple[str, "Record | BadRow | PassedOver"]


class Gathered(NamedTuple):
    """Raw rows that make one: where each of them lies, and what they make together."""

    places: tuple[str, ...]
    row: dict | BadRow

    @property
    def where(self) -> str:
        """One place for all: "file:3+4+7"."""
        return "+".join([self.places[0], *(place.rpartition(":")[2] for place in self.places[1:])])


@dataclass(frozen=True)
class Format:
    """One entry of the table.

    name: what `data.format` calls it. has: what its rows have, in words. fits: whether a row looks like it.
    convert: a row to a record, or to why it is none.
    keys: the columns it is told by; where two formats fit and the keys of one include the other's, the row is of the first.
    own: whether a row is taken for this kind where nobody says the kind; by default, where it fits.
    parts: where a row gives several records: the rows, one for each, that `convert` takes.
    gather: where several rows make one: from all rows of a file to the joined ones, which `parts` takes.
    """

    name: str
    has: str
    fits: Callable[[dict], bool]
    convert: Callable[[Fields], Record | PassedOver]
    keys: frozenset[str] = frozenset()
    own: Callable[[dict], bool] | None = None
    parts: Callable[[Fields], Iterable[dict | PassedOver]] | None = None
    gather: Callable[[Iterable[tuple[str, dict | BadRow]]], Iterator[Gathered]] | None = None

    def is_own(self, row: dict) -> bool:
        """Whether a row is taken for this format's kind where nobody says the kind."""
        return (self.own or self.fits)(row)


def keyed(name: str, has: str, keys: str, convert: Callable[[Fields], Record], *, no: str = "", **more: Any) -> Format:
    """A format told by its columns alone. keys, no: columns that must be there, and that must not, by spaces."""
    wanted, unwanted = frozenset(keys.split()), frozenset(no.split())
    return Format(
        name, has, lambda row: wanted <= row.keys() and not unwanted & row.keys(), convert, wanted, **more
    )


def told(name: str, has: str, keys: str, fits: Callable[[dict], bool], convert: Callable[[Fields], Record],
         **more: Any) -> Format:
    """A format told by what stands in its columns."""
    return Format(name, has, fits, convert, frozenset(keys.split()), **more)


def number(name: str, value: Any) -> float:
    """A finite number, also one written as text. Raises BadRow: wrong-type or not-finite."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError as error:
            raise BadRow("wrong-type", f"{name} must be a number, not {value[:20]!r}") from error
    return check_finite(name, value)


def is_open(row: dict) -> bool:
    """Whether a chat's last turn waits for the assistant, in `messages` or `conversations`."""
    found = row.get("messages", row.get("conversations"))
    last = found[-1] if isinstance(found, list) and found else None
    role = (last.get("role") or last.get("from")) if isinstance(last, dict) else None
    return role in ("user", "human", "tool", "observation", "system")
