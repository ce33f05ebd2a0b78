"""Files split into train, validation and test: `align data split`. Rows stay as they are; none with the same prompt is parted.

The files are read twice, so that no row is held in memory: once for the keys, once to write each row to its part.
"""

from __future__ import annotations

import difflib
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from data_recipes import files, formats
from data_recipes.errors import Refused
from data_recipes.formats import Fields, Format, PassedOver
from data_recipes.layouts import encoded
from data_recipes.ledger import Ledger, write_rejected
from data_recipes.origins import Origin, check_renamed, resolve
from data_recipes.readers import Reading, first_rows
from data_recipes.records import BadRow
from data_recipes.split import TRAIN, assign, joined, prompt_key, prompt_text

BY = ("prompt", "row-hash")
PARTS = frozenset(("validation", "test"))
LEFT_OUT = -1

@dataclass
class Split:
    """What a split found. rows, groups: counts by part. state: of each file written, or dry-run."""

    ledger: Ledger
    rows: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    state: str = "dry-run"


@dataclass
class _Keys:
    """The group of each row, by number.

    names: the groups' keys. rows: for each row of each file its group, or LEFT_OUT. together: keys of one row.
    texts: the words of each prompt, where near ones are asked for.
    """

    texts: dict[str, str] | None
    names: dict[str, int] = field(default_factory=dict)
    rows: list[array] = field(default_factory=list)
    together: list[list[str]] = field(default_factory=list)

    def number(self, keys: list[str]) -> int:
        if len(keys) > 1:
            self.together.append(keys)
        for key in keys:
            self.names.setdefault(key, len(self.names))
        return self.names[keys[0]]


def split(sources: list[str], shares: dict[str, float], output: Path | None, *, by: str = "prompt", seed: int = 0,
          near: bool = False, how: Reading | None = None, max_rejected: float = 0.0, overwrite: bool = False) -> Split:
    """Splits all rows of the sources; with an output folder, writes PART.jsonl for each part and split.json.

    Args:
        shares: part (not "train") to its share of the groups. by: "prompt", "row-hash" or the name of a column.
        near: prompts that are nearly the same (`data_recipes.near`) are not parted either.

    Raises:
        Refused: more rows are bad than may be, a column no row has, or files in the output that hold something else.
    """
    how = how or Reading()
    origins, made, keys = resolve(sources), Split(Ledger(max_rejected)), _Keys({} if near else None)
    for origin in origins:
        keys.rows.append(_read_keys(origin, by, how, made.ledger, keys))
    check_renamed(origins, (name for name, _ in how.rename))
    made.ledger.check(write_to=output and output / "rejected.jsonl")
    leaders = _leaders(keys)
    part = assign(set(leaders), shares, seed)
    parts = [part[leader] for leader in leaders]
    used = [number for rows in keys.rows for number in rows if number != LEFT_OUT]
    made.rows = dict(Counter(parts[number] for number in used))
    made.groups = dict(Counter(part[leader] for leader in {leaders[number] for number in used}))
    if output is not None:
        _clear(output, set(shares), overwrite)
        written = [files.write_lines(output / f"{name}.jsonl", _lines(name, origins, keys, parts, how), overwrite=overwrite)
                   for name in (*shares, TRAIN)]
        made.state = "unchanged" if set(written) == {"unchanged"} else "written"
        _write_card(output, made, {"by": by, "near": near, "seed": seed, "shares": shares})
    return made


def _leaders(keys: _Keys) -> list[str]:
    """For each key by its number the one that stands for all that it may not be parted from."""
    near = _near_prompts(keys.texts) if keys.texts else ()
    leader = joined(chain(([key] for key in keys.names), keys.together, near))
    return [leader[key] for key in keys.names]


def _near_prompts(texts: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Pairs of keys whose prompts are linked, directly or over others; what compares them lies in a temporary folder."""
    from data_recipes import dedup

    keys = list(texts)
    with tempfile.TemporaryDirectory() as folder, dedup.prepare_texts(texts.values(), Path(folder) / "bands") as prepared:
        for at, first in enumerate(dedup.linked(prepared).tolist()):
            yield keys[at], keys[first]


def _clear(output: Path, parts: set[str], overwrite: bool) -> None:
    """Parts of an earlier split that this one does not have would be taken for parts of it."""
    for name in PARTS - parts:
        stale = output / f"{name}.jsonl"
        if stale.exists() and not overwrite:
            raise Refused("the folder holds a part of another split, which this one does not have", where=stale,
                          expected="a new folder", do="--overwrite removes it.")
        stale.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------------------- keys


def _read_keys(origin: Origin, by: str, how: Reading, ledger: Ledger, keys: _Keys) -> array:
    """The group of each of a file's rows, in their order; each is entered into the ledger."""
    rows = origin.rows(how.columns, dict(how.rename))
    first = list(first_rows(rows))
    found, before = array("q"), ledger.read
    if by == "prompt":
        why, form = _by_prompt(first, rows, origin, how, ledger, keys, found)
    else:
        why, form = f"by {by}", "any"
        _check_column(by, [row for _, row in first if isinstance(row, dict)], origin.name)
        for where, row in chain(first, rows):
            found.append(_enter(where, row, [], ledger, keys) if isinstance(row, BadRow)
                         else _enter_value(where, row, by, ledger, keys))
    ledger.sources.append({"path": origin.name, "sha256": origin.sha256(), "format": form, "why": why,
                           "rows": ledger.read - before, "records": ledger.read - before})
    ledger.notes += origin.notes
    return found


def _check_column(by: str, sample: list[dict], where: str) -> None:
    columns = sorted({str(key) for row in sample for key in row})
    if by in (*BY, *columns) or not sample:
        return
    near = difflib.get_close_matches(by, [*BY, *columns], n=1)
    raise Refused(f"no row has the column '{by}'", where=where, expected=f"prompt, row-hash, or one of {', '.join(columns)}",
                  do=f"Did you mean --by {near[0]}?" if near else "")


def _enter_value(where: str, row: dict, by: str, ledger: Ledger, keys: _Keys) -> int:
    if by == "row-hash":
        return _enter(where, row, [_hash(row)], ledger, keys)
    if by not in row:
        return _enter(where, BadRow("missing-field", f"no {by}", row), [], ledger, keys)
    return _enter(where, row, [files.sha256_json(["column", row[by]])], ledger, keys)


def _enter(where: str, row: dict | BadRow, names: list[str], ledger: Ledger, keys: _Keys) -> int:
    """Counts one raw row as kept, with its keys, or as refused."""
    if isinstance(row, BadRow):
        ledger.reject(where, row.reason, row.detail, row.row)
        ledger.count_rows(1, 0, 1)
        return LEFT_OUT
    ledger.kept += 1
    ledger.count_rows(1, 1, 0)
    return keys.number(names)


def _by_prompt(first: list, rows: Iterator, origin: Origin, how: Reading, ledger: Ledger, keys: _Keys,
               found: array) -> tuple[str, str]:
    """Fills `found` by the prompts of the records that the rows hold; returns why, and the format."""
    kind, form, why = _format([row for _, row in first if isinstance(row, dict)], how.format, origin.name)
    order: dict[str, int] = {}

    def noted() -> Iterator:
        for where, row in chain(first, rows):
            order[where] = len(found)
            found.append(LEFT_OUT)
            yield where, row

    for unit in formats.gathered(form, noted()):
        names = unit.row if isinstance(unit.row, BadRow) else _prompts(form, kind, Fields(unit.row, unit.where), keys)
        bad = names if isinstance(names, BadRow) else None
        for where in unit.places:
            found[order.pop(where)] = _enter(where, bad or unit.row, [] if bad else names, ledger, keys)
    return why, form.name if form else "unknown"


def _format(sample: list[dict], name: str, where: str) -> tuple[str, Format | None, str]:
    """Kind and format of the rows; a tree is of several kinds, and any of them has the same prompts."""
    if name != "auto":
        kinds = [kind for kind in formats.KINDS if name in formats.names(kind)]
        if not kinds:
            raise formats.no_format(name, formats.KINDS, "--format")
        return kinds[0], formats.by_name(name, kinds[0]), "as --format says"
    if not sample:
        return "prompts", None, "no row can be read"
    found, _ = formats.own_kinds(sample, where)
    if len({form.name for _, form in found}) == 1:
        kind = found[0][0]
        return kind, found[0][1], formats.detect_kind(sample, where, [kind])[2]
    kind, chosen, why = formats.detect_kind(sample, where)
    return kind, formats.by_name(chosen, kind), why


def _prompts(form: Format, kind: str, fields: Fields, keys: _Keys) -> list[str] | BadRow:
    """The keys of all prompts in a row; or why the row cannot be used, where it gives no record."""
    parts = [part for _, part in formats.convert(form, kind, fields)]
    bad = next((part for part in parts if isinstance(part, BadRow)), None)
    found = _keys_of(parts, keys)
    return found or bad or _asked(fields.row, keys)


def _keys_of(parts: list, keys: _Keys) -> list[str]:
    found = {prompt_key(part): part for part in parts if not isinstance(part, (BadRow, PassedOver))}
    if keys.texts is not None:
        keys.texts.update((key, prompt_text(record)) for key, record in found.items())
    return sorted(found)


def _asked(row: dict, keys: _Keys) -> list[str]:
    """The prompt of a row that is no fault and yet gives no record (all its answers tie); else the row's own hash."""
    for name in formats.fitting(row, "prompts"):
        parts = formats.convert(formats.by_name(name, "prompts"), "prompts", Fields(row))
        if found := _keys_of([part for _, part in parts], keys):
            return found
    return [_hash(row)]


def _hash(row: dict) -> str:
    return files.sha256_json(["row", row])


# --------------------------------------------------------------------------------------------------------------- files


def _lines(part: str, origins: list[Origin], keys: _Keys, parts: list[str], how: Reading) -> Iterator[bytes]:
    for origin, numbers in zip(origins, keys.rows, strict=True):
        rows = origin.rows(how.columns, dict(how.rename))
        for number, (where, row) in zip(numbers, rows, strict=True):
            if number != LEFT_OUT and parts[number] == part:
                yield _encoded(where, row)


def _encoded(where: str, row: dict) -> bytes:
    try:
        return encoded(row)
    except BadRow as error:
        raise Refused(error.detail, where=where, expected="rows that JSON can hold") from error


def _write_card(output: Path, made: Split, asked: dict) -> None:
    parts = (*asked["shares"], TRAIN)
    card = {
        **asked, "rows": made.rows, "groups": made.groups,
        "files": {part: {"path": f"{part}.jsonl", "sha256": files.sha256_file(output / f"{part}.jsonl")} for part in parts},
        "ledger": {**made.ledger.totals(), "sources": [{**source, "path": Path(source["path"]).name}
                                                       for source in made.ledger.sources]},
    }
    files.write_json(output / "split.json", card)
    rejected = output / "rejected.jsonl"
    if made.ledger.refused:
        write_rejected(rejected, [made.ledger])
    else:
        rejected.unlink(missing_ok=True)
