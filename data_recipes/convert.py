"""Any format in, one layout out: `align data convert`. Rows stream; each that is written is read again and compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data_recipes import derive, files, formats, layouts
from data_recipes.errors import Refused
from data_recipes.formats import Part, PassedOver
from data_recipes.layouts import LAYOUTS, Layout
from data_recipes.ledger import Ledger, write_rejected
from data_recipes.origins import Origin, check_renamed, resolve
from data_recipes.readers import Reading, first_rows, stream
from data_recipes.records import BadRow, Record


@dataclass(frozen=True)
class Planned:
    """One source and what becomes of its rows. kind: as which they are read. layout: as which they are written."""

    origin: Origin
    kind: str
    layout: Layout
    how: Reading


@dataclass
class Conversion:
    """What a conversion found. first: the first row as it is written. state: written, unchanged or dry-run."""

    planned: list[Planned]
    ledger: Ledger
    state: str = "dry-run"
    first: dict | None = None
    rejected: Path | None = None


def plan(sources: list[str], to: str, how: Reading, *, bare: bool = False) -> list[Planned]:
    """What to do with each source, told from its first rows.

    Args:
        to: "auto" or a name of `LAYOUTS`. how: as the rows are to be read. bare: leave out all columns that no layout needs.

    Raises:
        Refused: rows of no kind or of several, a kind that cannot become the one asked for, or sources of different kinds
            where `to` is auto.
    """
    planned = [_plan(origin, to, how, bare) for origin in resolve(sources)]
    found = sorted({one.layout.name for one in planned})
    if len(found) > 1:
        each = "; ".join(f"{one.origin.name}: {one.layout.name}" for one in planned)
        raise Refused(f"the files hold rows of different kinds ({each})", where="--to auto", expected="files of one kind",
                      do=f"Convert them one by one, or say --to {found[0]}.")
    return planned


def convert(planned: list[Planned], output: Path | None, *, max_rejected: float = 0.0, overwrite: bool = False) -> Conversion:
    """Converts all rows; with an output, writes them and beside it OUTPUT.rejected.jsonl where rows were refused.

    Raises:
        Refused: more rows are bad than may be, or the output is one of the sources or holds something else.
    """
    made = Conversion(planned, Ledger(max_rejected))
    made.rejected = output and output.with_name(f"{output.name}.rejected.jsonl")
    lines = _lines(made)
    if output is None:
        for _ in lines:
            pass
        return made
    _check_output(planned, output)
    made.state = files.write_lines(output, lines, overwrite=overwrite)
    if made.ledger.refused:
        write_rejected(made.rejected, [made.ledger])
    else:
        made.rejected.unlink(missing_ok=True)  # of an earlier conversion, whose bad rows were mended since
        made.rejected = None
    return made


def _lines(made: Conversion) -> Iterator[bytes]:
    """The output's lines; the ledger is checked before the last one counts as written."""
    for one in made.planned:
        for record in stream(replace(one.origin, notes=[]), one.kind, made.ledger, one.how):
            row = layouts.to_row(record, one.layout)
            made.first = made.first or row
            yield layouts.encoded(row)
    check_renamed([one.origin for one in made.planned], (name for name, _ in made.planned[0].how.rename))
    made.ledger.check(write_to=made.rejected)


def _plan(origin: Origin, to: str, how: Reading, bare: bool) -> Planned:
    rows = [row for _, row in first_rows(origin.rows(how.columns, dict(how.rename))) if isinstance(row, dict)]
    target = None if to == "auto" else LAYOUTS[to].kind
    kind, form = _kind(rows, target, how.format, origin.name)
    layout = layouts.canonical(kind, form) if to == "auto" else LAYOUTS[to]
    ranked = how.ranked or ("ends" if kind == "comparisons" != layout.kind else "")
    then = _then(kind, layout, bare)
    return Planned(origin, kind, layout, replace(how, ranked=ranked, then=then))


def _kind(rows: list[dict], target: str | None, form: str, where: str) -> tuple[str, str]:
    """As which kind rows are read that shall become `target`, and as which format where that is told here."""
    able = formats.KINDS if target is None else (target, *derive.SOURCES[target])
    if form != "auto":
        return _kind_of_format(form, able, rows), form
    if not rows:
        return target or able[0], ""  # nothing to tell it by; the ledger refuses a file without rows
    if target is None:
        return formats.detect_kind(rows, where)[:2]
    found = {kind for (kind, _) in formats.own_kinds(rows, where)[0] if kind in able}
    if target in found or not found:
        return target, formats.detect(rows, target, where)[0]
    return formats.detect_kind(rows, where, sorted(found))[:2]


def _kind_of_format(form: str, able: tuple[str, ...], rows: list[dict]) -> str:
    """The first kind that has the format; where none was asked for, the one that the rows are of."""
    kinds = [kind for kind in able if form in formats.names(kind)]
    if not kinds:
        raise formats.no_format(form, able, "--format")
    if len(able) == len(formats.KINDS):
        own = [kind for kind in kinds if any(formats.by_name(form, kind).is_own(row) for row in rows)]
        if len(own) > 1:
            raise Refused(f"rows of the format {form} can be read as {', '.join(own)}", where="--format",
                          expected="one kind", do="Say what to write: --to messages, pairs, prompts, kto or labels.")
        kinds = own or kinds
    return kinds[0]


def _then(kind: str, layout: Layout, bare: bool):
    """From a record that was read to those that are written, each of them tried."""

    def then(record: Record) -> list[Part]:
        record = replace(record, extra={}) if bare else record
        found = [(record.where, record)] if kind == layout.kind else derive.derive(record, layout.kind)
        return [(where, _tried(one, layout)) for where, one in found]

    return then


def _tried(record: Record | PassedOver, layout: Layout) -> Record | PassedOver | BadRow:
    if isinstance(record, PassedOver):
        return record
    try:
        layouts.check(record, layout)
        layouts.encoded(layouts.to_row(record, layout))
    except BadRow as error:
        return BadRow(error.reason, error.detail, asdict(record))
    return record


def _check_output(planned: list[Planned], output: Path) -> None:
    for one in planned:
        if one.origin.path and output.exists() and one.origin.path.samefile(output):
            raise Refused("the output is one of the files that are read", where=output, expected="another file")
    if not output.name.lower().removesuffix(".gz").endswith((".jsonl", ".ndjson")):
        raise Refused(f"the output's name does not say JSON lines ({output.name})", where="--output",
                      expected="a name that ends in .jsonl or .jsonl.gz")
