"""From a file or a hub data set to validated records, with a ledger in which every row is accounted for.

    rows = read("pairs.jsonl", "comparisons")
    rows.ledger.check(0.0, write_to=run / "private")
    for record in rows.records: ...

A bad row never stops the reading: it goes to the ledger with its place and reason, and the caller's `ledger.check`
decides. Raised at once is only what concerns a whole file: it is not there, its structure is broken, or its format is
not clear.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from data_recipes import formats
from data_recipes.formats import Fields, Format
from data_recipes.ledger import Ledger, write_rejected
from data_recipes.origins import Origin, resolve
from data_recipes.raw_rows import iter_rows
from data_recipes.records import BadRow, Comparison, Message, Record, Text

__all__ = ["Ledger", "Rows", "iter_rows", "read", "write_rejected"]

SAMPLE = 100  # readable rows that are looked at to tell the format


@dataclass
class Rows:
    """Records in the order of their sources, and the account of all rows that were read."""

    records: list[Record]
    ledger: Ledger

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


@dataclass
class _Seen:
    """What is noted about all rows of one reading."""

    rows: set[int] = field(default_factory=set)
    duplicates: int = 0
    contradictions: int = 0
    columns: set[str] = field(default_factory=set)
    message_fields: set[str] = field(default_factory=set)

    def add(self, record: Record) -> None:
        key = _key(record)
        self.duplicates += key in self.rows
        self.rows.add(key)
        if isinstance(record, Comparison):
            self.contradictions += _key_of_pair(record.prompt, record.rejected, record.chosen) in self.rows
        self.columns.update(record.extra)

    def notes(self) -> Iterator[str]:
        if self.duplicates:
            yield f"{self.duplicates} rows repeat an earlier row; they are kept"
        if self.contradictions:
            yield f"{self.contradictions} pairs say the opposite of an earlier pair; they are kept"
        if self.columns:
            yield f"columns kept beside the rows and not trained on: {', '.join(sorted(map(str, self.columns)))}"
        if self.message_fields:
            yield f"fields of messages without a meaning here, left out: {', '.join(sorted(self.message_fields))}"


def read(source: str | Path | Iterable[str | Path], kind: str, *, format: str = "auto",
         max_rejected: float = 0.0) -> Rows:
    """Reads all rows of one or more sources as records of one kind.

    Args:
        source: a path (JSON lines, JSON, CSV, TSV, Parquet; gzip of the text ones), a hub data set
            `owner/name[:split]`, or a list of these.
        kind: "demonstrations", "comparisons" or "prompts".
        format: a name from `formats.names(kind)`, or "auto": each source's format is told from its first rows.
        max_rejected: the share of bad rows that `ledger.check()` lets pass where it is given none.

    Raises:
        Refused: a source that is not there or broken as a whole; a format that is unknown, unclear or of another kind.
    """
    if kind not in formats.KINDS:
        raise ValueError(f"kind must be one of {', '.join(formats.KINDS)}, not {kind!r}")
    if format != "auto":
        formats.by_name(format, kind)
    rows, seen = Rows([], Ledger(max_rejected)), _Seen()
    for origin in resolve(source):
        _read_origin(origin, kind, format, rows, seen)
    rows.ledger.notes += seen.notes()
    return rows


def _read_origin(origin: Origin, kind: str, format: str, rows: Rows, seen: _Seen) -> None:
    stream = origin.rows()
    first = list(_first_rows(stream))
    form, why = _choose(first, kind, format, origin.name)
    before = rows.ledger.read
    for where, raw in chain(first, stream):
        record = _convert(raw, where, form, kind, rows.ledger, seen)
        if record is not None:
            rows.records.append(record)
            rows.ledger.kept += 1
            seen.add(record)
    rows.ledger.sources.append({
        "path": origin.name, "sha256": origin.sha256(), "format": form.name if form else "unknown", "why": why,
        "rows": rows.ledger.read - before,
    })
    rows.ledger.notes += origin.notes


def _first_rows(stream: Iterator) -> Iterator[tuple[str, dict | BadRow]]:
    """Rows up to the hundredth that can be read, so that bad ones at the start decide nothing."""
    readable = 0
    while readable < SAMPLE and (item := next(stream, None)) is not None:
        readable += isinstance(item[1], dict)
        yield item


def _choose(first: list, kind: str, format: str, name: str) -> tuple[Format | None, str]:
    if format != "auto":
        return formats.by_name(format, kind), "as data.format says"
    sample = [row for _, row in first if isinstance(row, dict)]
    if not sample:
        return None, "no row can be read" if first else "there are no rows"
    found, why = formats.detect(sample, kind, name)
    return formats.by_name(found, kind), why


def _convert(raw, where: str, form: Format | None, kind: str, ledger: Ledger, seen: _Seen) -> Record | None:
    if isinstance(raw, BadRow):
        ledger.reject(where, raw.reason, raw.detail, raw.row)
        return None
    try:
        return formats.convert(form, kind, Fields(raw, where, seen.message_fields))
    except BadRow as error:
        ledger.reject(where, error.reason, error.detail, raw)
        return None


def _key(record: Record) -> int:
    """A hash that is equal for rows with equal content; only for notes, since it differs between processes."""
    if isinstance(record, Text):
        return hash(record.text)
    if isinstance(record, Comparison):
        return _key_of_pair(record.prompt, record.chosen, record.rejected)
    return hash(_content(record.messages))


def _key_of_pair(prompt, chosen, rejected) -> int:
    return hash((_content(prompt), _content(chosen), _content(rejected)))


def _content(messages: tuple[Message, ...]) -> tuple:
    return tuple((turn.role, turn.content, repr(turn.tool_calls)) for turn in messages)
