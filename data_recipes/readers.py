"""From a file or a hub data set to validated records, with a ledger in which every row is accounted for.

    rows = read("pairs.jsonl", "comparisons")
    rows.ledger.check(0.0, write_to=run / "private")
    for record in rows.records: ...

A bad row never stops the reading: it goes to the ledger with its place and reason, and the caller's `ledger.check`
decides. Raised at once is only what concerns a whole file: it is not there, its structure is broken, or its format is
not clear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from data_recipes import formats
from data_recipes.formats import Fields, Format, Gathered, Part, PassedOver
from data_recipes.ledger import Ledger, write_rejected
from data_recipes.origins import Origin, resolve
from data_recipes.raw_rows import iter_rows
from data_recipes.records import BadRow, Comparison, Demonstration, Labelled, Message, Record, Tagged, Text, Unpaired

__all__ = ["Ledger", "Reading", "Rows", "first_rows", "iter_rows", "read", "stream", "write_rejected"]

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
    bad_answers: int = 0
    columns: set[str] = field(default_factory=set)
    message_fields: set[str] = field(default_factory=set)

    def add(self, record: Record) -> None:
        key = _key(record)
        self.duplicates += key in self.rows
        self.rows.add(key)
        if isinstance(record, Comparison):
            self.contradictions += _key_of_pair(record.prompt, record.rejected, record.chosen) in self.rows
        self.bad_answers += isinstance(record, Demonstration) and record.extra.get("label") is False
        self.columns.update(record.extra)

    def notes(self) -> Iterator[str]:
        if self.duplicates:
            yield f"{self.duplicates} rows repeat an earlier row; they are kept"
        if self.contradictions:
            yield f"{self.contradictions} pairs say the opposite of an earlier pair; they are kept"
        if self.bad_answers:
            yield (f"{self.bad_answers} rows have the label false, as answers that were called bad; they are kept all the "
                   "same, and align data convert --to messages leaves them out")
        if self.columns:
            yield f"columns kept beside the rows and not trained on: {', '.join(sorted(map(str, self.columns)))}"
        if self.message_fields:
            yield f"fields of messages without a meaning here, left out: {', '.join(sorted(self.message_fields))}"


@dataclass(frozen=True)
class Reading:
    """How files are read.

    format: a name from `formats.names(kind)`, or "auto": each source's format is told from its first rows.
    ranked: one of `formats.RANKED`, what is taken where answers are ranked; "" is the kind's own default.
    columns: names for a table without a first line of names. rename: (old, new) names of columns; no new name leaves it out.
    then: makes of each record what is kept: (place, record, BadRow or PassedOver) each, as `formats.convert` does.
    """

    format: str = "auto"
    ranked: str = ""
    columns: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    then: Callable[[Record], list[Part]] | None = None


def read(source: str | Path | Iterable[str | Path], kind: str, *, format: str = "auto",
         max_rejected: float = 0.0) -> Rows:
    """Reads all rows of one or more sources as records of one kind.

    Args:
        source: a path (JSON lines, JSON, CSV, TSV, Parquet; gzip of the text ones), a hub data set
            `owner/name[:split]`, or a list of these.
        kind: one of `formats.FORMATS`.
        format: a name from `formats.names(kind)`, or "auto": each source's format is told from its first rows.
        max_rejected: the share of bad rows that `ledger.check()` lets pass where it is given none.

    Raises:
        Refused: a source that is not there or broken as a whole; a format that is unknown, unclear or of another kind.
    """
    ledger = Ledger(max_rejected)
    records = list(stream(source, kind, ledger, Reading(format)))
    if ledger.passed:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(ledger.passed.items()))
        ledger.notes.append(f"passed over, as they are no {kind} and no fault either: {counts}")
    return Rows(records, ledger)


def stream(source: str | Path | Iterable[str | Path] | Origin, kind: str, ledger: Ledger,
           how: Reading | None = None) -> Iterator[Record]:
    """The records of `read`, or of one origin, one at a time; the ledger is complete once the last one was taken.

    Only formats that join rows (HelpSteer, messages of trees) and .json files hold a file in memory.

    Raises:
        Refused: as `read` does.
    """
    how = how or Reading()
    if kind not in formats.FORMATS:
        raise ValueError(f"kind must be one of {', '.join(formats.FORMATS)}, not {kind!r}")
    if how.format != "auto":
        formats.by_name(how.format, kind)
    origins = [source] if isinstance(source, Origin) else resolve(source)
    return _stream(origins, kind, ledger, how)


def _stream(origins: list[Origin], kind: str, ledger: Ledger, how: Reading) -> Iterator[Record]:
    seen = _Seen()
    for origin in origins:
        yield from _origin_records(origin, kind, ledger, how, seen)
    ledger.notes += seen.notes()


def _origin_records(origin: Origin, kind: str, ledger: Ledger, how: Reading, seen: _Seen) -> Iterator[Record]:
    rows = origin.rows(how.columns, dict(how.rename))
    first = list(first_rows(rows))
    form, why = _choose(first, kind, how.format, origin.name)
    before = sum(ledger.rows.values()), ledger.kept
    for unit in formats.gathered(form, chain(first, rows)):
        parts = _parts(unit, form, kind, how, seen)
        yield from _entered(parts, len(unit.places), ledger, seen)
    ledger.sources.append({
        "path": origin.name, "sha256": origin.sha256(), "format": form.name if form else "unknown", "why": why,
        "rows": sum(ledger.rows.values()) - before[0], "records": ledger.kept - before[1],
    })
    ledger.notes += origin.notes


def first_rows(rows: Iterator) -> Iterator[tuple[str, dict | BadRow]]:
    """Rows up to the hundredth that can be read, so that bad ones at the start decide nothing."""
    readable = 0
    while readable < SAMPLE and (item := next(rows, None)) is not None:
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


def _parts(unit: Gathered, form: Format | None, kind: str, how: Reading, seen: _Seen) -> list[Part]:
    if isinstance(unit.row, BadRow):
        return [(unit.where, unit.row)]
    parts = formats.convert(form, kind, Fields(unit.row, unit.where, seen.message_fields, how.ranked))
    if how.then is None:
        return parts
    return [made for part in parts for made in ([part] if isinstance(part[1], (BadRow, PassedOver)) else how.then(part[1]))]


def _entered(parts: list[Part], rows: int, ledger: Ledger, seen: _Seen) -> list[Record]:
    """Enters what a row (or several that make one) gave into the ledger; returns its records."""
    kept, refused = [], 0
    for where, found in parts:
        if isinstance(found, BadRow):
            ledger.reject(where, found.reason, found.detail, found.row)
            refused += 1
        elif isinstance(found, PassedOver):
            ledger.pass_over(found.reason)
        else:
            kept.append(found)
            seen.add(found)
    ledger.kept += len(kept)
    ledger.count_rows(rows, len(kept), refused)
    return kept


def _key(record: Record) -> int:
    """A hash that is equal for rows with equal content; only for notes, since it differs between processes."""
    if isinstance(record, Text):
        return hash(record.text)
    if isinstance(record, Comparison):
        return _key_of_pair(record.prompt, record.chosen, record.rejected)
    if isinstance(record, Unpaired):
        return hash((_content(record.prompt + record.completion), record.label))
    if isinstance(record, Labelled):
        return hash((record.text, record.pair, record.label))
    if isinstance(record, Tagged):
        return hash((record.words, record.tags))
    return hash(_content(record.messages))


def _key_of_pair(prompt, chosen, rejected) -> int:
    return hash((_content(prompt), _content(chosen), _content(rejected)))


def _content(messages: tuple[Message, ...]) -> tuple:
    return tuple((turn.role, turn.content, repr(turn.tool_calls)) for turn in messages)
