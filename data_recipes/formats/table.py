"""All formats by kind; which one a file has; and a raw row to its records."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator

from data_recipes.errors import Refused
from data_recipes.formats.base import KINDS, Fields, Format, Gathered, Part, PassedOver
from data_recipes.formats.chats import CHATS
from data_recipes.formats.judged import TABLES, UNPAIRED
from data_recipes.formats.pairs import PAIRS
from data_recipes.formats.prompts import PROMPTS
from data_recipes.formats.ranked import RANKED_PAIRS
from data_recipes.formats.tagged import TAGGED
from data_recipes.formats.trees import THREADS, TREE_PAIRS
from data_recipes.records import BadRow

RENAME = ("Rename the columns; a table's first line must name them. align data convert has --rename OLD=NEW, and --columns A,B "
          "for a table whose first line is a row already.")
Named = tuple[str, Format]
FORMATS: dict[str, tuple[Format, ...]] = {
    "demonstrations": (*CHATS, *THREADS),
    "comparisons": (*PAIRS, *RANKED_PAIRS, *TREE_PAIRS),
    "prompts": PROMPTS,
    "unpaired": UNPAIRED,
    "labelled": TABLES,
    "tagged": TAGGED,  # read where labels of words are asked for by name, never told from the rows
}


def names(kind: str) -> list[str]:
    """The formats a kind of row may have."""
    return [form.name for form in FORMATS[kind]]


def by_name(name: str, kind: str) -> Format:
    """The format that `data.format` asks for. Raises Refused with the nearest name."""
    for form in FORMATS[kind]:
        if form.name == name:
            return form
    raise no_format(name, [kind], "data.format")


def no_format(name: str, kinds: Iterable[str], where: str) -> Refused:
    """The error for a format that none of the kinds has, with the nearest name."""
    there = list(dict.fromkeys(known for kind in kinds for known in names(kind)))
    near = difflib.get_close_matches(str(name), there, n=1)
    return Refused(f"there is no format '{name}' for {' or '.join(kinds)}", where=where,
                   expected=f"auto, {', '.join(there)}", do=f"Did you mean {near[0]}?" if near else "")


def detect(rows: list[dict], kind: str, where: str = "") -> tuple[str, str]:
    """The format of most of the rows, and why.

    Args:
        rows: raw rows, the first hundred that could be read. where: their file, for the message.

    Raises:
        Refused: no row fits any format, or the rows fit several; the choices are named.
    """
    found, count = _most(rows, [(kind, form) for form in FORMATS[kind]], own=False, where=where)
    if not found:
        raise _nothing_fits(rows, kind, where)
    if len(found) > 1:
        raise _several(found, "the rows fit", where)
    return found[0][1].name, _why(found[0][1], count, len(rows))


def detect_kind(rows: list[dict], where: str = "", kinds: Iterable[str] = KINDS) -> tuple[str, str, str]:
    """The kind and the format of most of the rows, and why, where nobody says the kind.

    Raises:
        Refused: as `detect`; rows that are of two kinds at once are refused with both named.
    """
    found, count = own_kinds(rows, where, kinds)
    if not found:
        raise Refused(f"rows with the columns {_columns(rows)} are neither demonstrations nor pairs nor prompts nor labelled",
                      where=where, expected="messages, prompt and completion, chosen and rejected, prompt, text and label, "
                      "or another format of docs/data-formats.md", do=RENAME)
    if len(found) > 1:
        raise _several(found, "the rows fit", where)
    kind, form = found[0]
    return kind, form.name, _why(form, count, len(rows))


def own_kinds(rows: list[dict], where: str = "", kinds: Iterable[str] = KINDS) -> tuple[tuple[Named, ...], int]:
    """All (kind, format) that most of the rows are of, where nobody says the kind, and how many rows those are."""
    return _most(rows, [(kind, form) for kind in kinds for form in FORMATS[kind]], own=True, where=where)


def fitting(row: dict, kind: str) -> list[str]:
    """The formats of one kind that a row would be read as."""
    table = [(kind, form) for form in FORMATS[kind]]
    return [table[at][1].name for at in _fitting(row, table, own=False)]


def gathered(form: Format | None, rows: Iterable[tuple[str, dict | BadRow]]) -> Iterator[Gathered]:
    """Raw rows one by one, or joined where several make one. form: None where no row could be read."""
    if form is not None and form.gather is not None:
        yield from form.gather(rows)
        return
    for where, row in rows:
        yield Gathered((where,), row)


def convert(form: Format, kind: str, fields: Fields) -> list[Part]:
    """A raw row as what it holds: (place, record, BadRow or PassedOver) each.

    A row that gives several is taken apart first, and its records lie at "file:line#1", "#2" and so on; a fault of one
    leaves the others. BadRow is wrong-format where the row is of another format than its file; else what is wrong with it.
    """
    if form.parts is None:
        return [(fields.where, _record(form, kind, fields))]
    try:
        rows = list(form.parts(fields))
    except BadRow as error:
        return [(fields.where, _blamed(error, form, kind, fields))]
    return [_part(form, row, f"{fields.where}#{number}", fields.ignored) for number, row in enumerate(rows, 1)]


def _part(form: Format, row: dict | PassedOver, where: str, ignored: set[str] | None) -> Part:
    if isinstance(row, PassedOver):
        return where, row
    try:
        return where, form.convert(Fields(row, where, ignored))
    except BadRow as error:
        return where, BadRow(error.reason, error.detail, row)


def _record(form: Format, kind: str, fields: Fields):
    try:
        return form.convert(fields)
    except BadRow as error:
        return _blamed(error, form, kind, fields)


def _blamed(error: BadRow, form: Format, kind: str, fields: Fields) -> BadRow:
    others = [other.name for other in FORMATS[kind] if other.fits(fields.row)]
    if others and form.name not in others and error.reason in ("missing-field", "wrong-type"):
        error = BadRow("wrong-format", f"the row is {others[0]}, and the file {form.name}")
    return BadRow(error.reason, error.detail, fields.row)


def _most(rows: list[dict], table: list[Named], *, own: bool, where: str) -> tuple[tuple[Named, ...], int]:
    """The entries of the table that most rows fit, and how many rows do. Raises Refused where as many fit others."""
    votes = Counter(_fitting(row, table, own) for row in rows)
    fitting = [(found, count) for found, count in votes.most_common() if found]
    if not fitting:
        return (), 0
    best, count = fitting[0]
    if len(fitting) > 1 and fitting[1][1] == count:
        raise _several({table[at] for found, _ in fitting for at in found}, "different rows fit", where)
    return tuple(table[at] for at in best), count


def _fitting(row: dict, table: list[Named], own: bool) -> tuple[int, ...]:
    """Places in the table of the formats that a row fits, less those of which another asks for more columns."""
    fits = [at for at, (_, form) in enumerate(table) if (form.is_own(row) if own else form.fits(row))]
    keys = {at: table[at][1].keys for at in fits}
    return tuple(at for at in fits if not any(keys[at] < other for other in keys.values()))


def _why(form: Format, count: int, total: int) -> str:
    share = "all" if count == total else str(count)
    return f"{share} of the first {total} rows have {form.has}"


def _several(choices: Iterable[Named], how: str, where: str) -> Refused:
    found = sorted({form.name for _, form in choices})
    listed = sorted(f"{kind} ({form.name})" for kind, form in choices)
    if len({kind for kind, _ in choices}) > 1:
        return Refused(f"{how} several kinds: {', '.join(listed)}", where=where, expected="rows of one kind",
                       do="Say which is meant: align data convert has --to messages, pairs, prompts, kto, labels.")
    return Refused(f"{how} several formats: {', '.join(found)}", where=where, expected="rows of one format",
                   do=f"Say which: --set data.format={found[0]} (or {', '.join(found[1:])}); --format of the other commands.")


def _nothing_fits(rows: list[dict], kind: str, where: str) -> Refused:
    wanted = "; ".join(f"{form.name} ({form.has})" for form in FORMATS[kind])
    table = [(other, form) for other in KINDS for form in FORMATS[other]]
    elsewhere = [table[at][0] for at in sorted({at for row in rows for at in _fitting(row, table, own=True)})]
    hint = f"These rows are {elsewhere[0]}, not {kind}{_way(elsewhere[0], kind)}." if elsewhere else RENAME
    what = f"no format for {kind} fits rows with the columns {_columns(rows)}"
    return Refused(what, where=where, expected=f"one of {wanted}", do=hint)


def _way(found: str, wanted: str) -> str:
    """How rows of one kind become those of another, where they can."""
    target = {"demonstrations": "messages", "prompts": "prompts"}.get(wanted)
    able = target and found in ("comparisons", "unpaired", "demonstrations")
    return f": align data convert --to {target} makes those of them" if able else ""


def _columns(rows: list[dict]) -> str:
    return ", ".join(sorted({str(key)[:40] for row in rows for key in row})[:12]) or "(none)"
