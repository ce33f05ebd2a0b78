"""Files beside the sources, of any format: evaluation sets, and sets that are not to be repeated."""

from __future__ import annotations

from collections.abc import Iterator

from data_recipes.building.record_rows import from_record
from data_recipes.decontaminate import Item
from data_recipes.errors import Refused
from data_recipes.formats import detect_kind
from data_recipes.ledger import Ledger
from data_recipes.origins import resolve
from data_recipes.readers import first_rows, stream
from data_recipes.records import Labelled, Record, Text


def records(path: str) -> Iterator[Record]:
    """The records of a file, of whatever kind they are.

    Raises:
        Refused: a row that cannot be read: what is not seen cannot be kept out.
    """
    (origin,) = resolve(path)
    sample = [row for _, row in first_rows(origin.rows()) if isinstance(row, dict)]
    if not sample:
        raise Refused("there is no row that can be read", where=path, expected="an evaluation set")
    kind, _, _ = detect_kind(sample, path)
    ledger = Ledger()
    yield from stream(path, kind, ledger)
    ledger.check()


def items(path: str) -> Iterator[Item]:
    """Every text of a file, each once for its row and part: a user's message is a prompt's, an assistant's an answer's.

    Answers that a file of prompts has beside them are read too.
    """
    for record in records(path):
        for part, text in dict.fromkeys(_texts(record)):
            yield Item(record.where, part, text)


def as_rows(paths: list[str]) -> Iterator[tuple[str, dict]]:
    """Every row of these files with its place."""
    for record in (record for path in paths for record in records(path)):
        yield record.where, from_record(record)[0]


def _texts(record: Record) -> Iterator[tuple[str, str]]:
    if isinstance(record, (Text, Labelled)):
        yield from (("prompt", text) for text in (record.text, getattr(record, "pair", None)) if text)
        return
    sides = ("messages", "prompt", "chosen", "rejected", "completion")
    messages = [turn for side in sides for turn in getattr(record, side, ())]
    yield from (("prompt" if turn.role == "user" else "answer", turn.content) for turn in messages
                if turn.role in ("user", "assistant") and turn.content)
    if isinstance(completion := record.extra.get("completion"), str) and completion.strip():
        yield "answer", completion
