"""From files to the rows and the context of an audit. A row that cannot be read is kept too: it is a finding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from data_recipes.audit.model import HELD_OUT, TRAIN, Refused, Row
from data_recipes.decontaminate import Item
from data_recipes.errors import Refused as RefusedInput
from data_recipes.formats import KINDS, detect_kind
from data_recipes.ledger import Ledger
from data_recipes.origins import Origin, check_renamed, resolve
from data_recipes.readers import Reading, first_rows, stream
from data_recipes.records import BadRow, Prompt

PARTS = {"train": TRAIN, "validation": HELD_OUT, "test": HELD_OUT}  # what `align data split` and `build` write


@dataclass
class Loaded:
    """rows: in the order of the files. refused: what could not be read. sources, notes: as the ledger of each file has them."""

    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    sources: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def load(files: Sequence[str], held_out: Sequence[str] = (), *, kind: str = "", how: Reading | None = None) -> Loaded:
    """Reads all files; a folder with train.jsonl and validation.jsonl or test.jsonl gives both sides.

    Args:
        files: those that are trained on. held_out: those that are not. kind: one of `formats.KINDS`, "" to tell it.

    Raises:
        data_recipes.errors.Refused: a file that is not there, is broken as a whole, or whose kind is not clear.
    """
    if kind and kind not in KINDS:
        raise RefusedInput(f"there is no kind {kind!r}", where="--kind", expected=", ".join(KINDS))
    loaded, origins = Loaded(), []
    for path, part in [*_parts(files, TRAIN), *_parts(held_out, HELD_OUT)]:
        origins.append(_load_one(path, part, kind, how or Reading(), loaded))
    check_renamed(origins, (name for name, _ in how.rename) if how else ())
    if not loaded.rows and not loaded.refused:
        raise RefusedInput("there are no rows", where=", ".join(files), expected="one row or more")
    return loaded


def evaluation_items(paths: Sequence[str]) -> dict[str, list[Item]]:
    """Every text of the evaluation files, by file: what is asked, later turns too, and the answers where there are any.

    Raises:
        data_recipes.errors.Refused: a row that cannot be read: what is not seen cannot be found.
    """
    return {Path(path).name: _items(path) for path in paths}


def _items(path: str) -> list[Item]:
    return list(dict.fromkeys(item for row in _all_rows(path) for item in _items_of(row)))


def _all_rows(path: str, how: Reading | None = None) -> list[Row]:
    loaded = load([path], how=how)
    if loaded.refused:
        bad = loaded.refused[0]
        raise RefusedInput(f"a row beside the audited ones cannot be read: {bad.reason}, {bad.detail}", where=bad.where,
                           expected="rows that can all be read: what is not seen cannot be found")
    return loaded.rows


def _items_of(row: Row) -> Iterable[Item]:
    asked = [turn.content for turn in row.prompt_turns if turn.role == "user"]
    given = [turn.content for turn in row.prompt_turns if turn.role == "assistant"]
    # MT-bench asks twice: a record holds the first question, and the column the others
    later = row.extra.get("turns") if isinstance(row.record, Prompt) else None
    asked += [text for text in (later or [])[1:] if isinstance(text, str)]
    given += [*row.answers.values(), row.extra.get("completion")]
    for part, found in (("prompt", asked), ("answer", given)):
        yield from (Item(row.where, part, text) for text in found if isinstance(text, str) and text.strip())


def texts(paths: Sequence[str], how: Reading | None = None) -> tuple[str, ...]:
    """Prompt and answers of every row of these files as one text: a sample of the target domain.

    Raises:
        data_recipes.errors.Refused: a row that cannot be read.
    """
    rows = [row for path in paths for row in _all_rows(path, how)]
    return tuple(" ".join(filter(None, (row.prompt, *row.answers.values()))) for row in rows)


def allowed_phrases(paths: Sequence[str]) -> tuple[str, ...]:
    """The phrases of reviewed allow-lists: one a line; lines that begin with # say who let it pass, and why."""
    found: list[str] = []
    for path in paths:
        try:
            lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise RefusedInput(f"the allow-list cannot be read: {error}", where=path, expected="a UTF-8 text file") from error
        found += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return tuple(dict.fromkeys(found))


def check_column(rows: Sequence[Row], name: str) -> None:
    """That some row has a column beside its texts.

    Raises:
        data_recipes.errors.Refused: none has it; with the nearest name.
    """
    columns = {column for row in rows for column in row.extra}
    if rows and name not in columns:
        near = get_close_matches(name, map(str, columns), n=1)
        there = ", ".join(sorted(map(str, columns))) or "a column beside the texts; these rows have none"
        raise RefusedInput(f"no row has a column '{name}'", where="--group-column", expected=there,
                           do=f"Did you mean {near[0]}?" if near else "")


def _parts(names: Iterable[str], part: str) -> list[tuple[str, str]]:
    found = []
    for name in names:
        folder = Path(name).expanduser()
        held = [(str(file), side) for file, side in ((folder / f"{stem}.jsonl", side) for stem, side in PARTS.items())
                if file.is_file()] if folder.is_dir() else []
        found += held if len(held) > 1 else [(name, part)]
    return found


def _load_one(path: str, part: str, kind: str, how: Reading, loaded: Loaded) -> Origin:
    (origin,) = resolve(path)
    found = kind or _kind(origin, how)
    if not found:
        loaded.refused += [Refused(where, row.reason, row.detail, row.row) for where, row in origin.rows()
                           if isinstance(row, BadRow)]
        return origin
    ledger = Ledger()
    for record in stream(replace(origin, notes=[]), found, ledger, how):  # its first rows have noted already
        source = record.extra.get("source")
        loaded.rows.append(Row(record, part, source if isinstance(source, str) and source else origin.name))
    loaded.refused += [Refused(bad["where"], bad["reason"], bad["detail"], bad["row"]) for bad in ledger.rejected_rows]
    loaded.sources += [{**source, "part": part, "kind": found} for source in ledger.totals()["sources"]]
    loaded.notes += ledger.notes
    return origin


def _kind(origin: Origin, how: Reading) -> str:
    """The kind of a file's rows; "" where none of them can be read."""
    sample = [row for _, row in first_rows(origin.rows(how.columns, dict(how.rename))) if isinstance(row, dict)]
    if not sample:
        return ""
    try:
        return detect_kind(sample, origin.name)[0]
    except RefusedInput as error:
        raise RefusedInput(error.what, where=error.where, expected=error.expected,
                           do=f"Say what they are with --kind ({', '.join(KINDS)}), or name the columns with --columns or "
                              "--rename.") from error
