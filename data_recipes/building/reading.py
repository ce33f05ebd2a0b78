"""The first stage: every row of every source as a row of the recipe's kind, or the reason why it is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from data_recipes import formats
from data_recipes.building import events, rows
from data_recipes.building.record_rows import from_record
from data_recipes.building.recipe import Recipe, Source
from data_recipes.building.stages import EVENTS, STORE
from data_recipes.building.steps.base import Event
from data_recipes.building.table import Rows, write_store
from data_recipes.errors import Refused
from data_recipes.formats import Fields, PassedOver
from data_recipes.origins import Origin, check_renamed, resolve
from data_recipes.readers import first_rows
from data_recipes.records import BadRow

PLACES = "places.txt"  # "file:line" of every entry, one a line
NAMED = 5


@dataclass
class _Read:
    """What is counted of one source."""

    entries: int = 0
    bad: list[str] = field(default_factory=list)
    bad_count: int = 0
    files: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)


def origins(source: Source) -> list[Origin]:
    """The files of a source.

    Raises:
        Refused: one is not there, or is no file: what is fetched when a recipe runs could be something else tomorrow.
    """
    found = resolve(source.path)
    for origin in found:
        if origin.path is None:
            raise Refused(f"the source '{source.name}' names a hub data set or a folder of one", where=origin.name,
                          expected="a file", do="Save it as a file first: align data convert NAME --to auto --output FILE.")
    return found


def fill(recipe: Recipe, folder: Path) -> tuple[Rows, dict[str, Any]]:
    """Writes the lines, the places and the events of all sources; `Stages.make` calls it.

    Raises:
        Refused: a source with more bad rows than its `max_rejected`, or without rows.
    """
    read = {source.name: _Read() for source in recipe.sources}
    with open(folder / PLACES, "w", encoding="utf-8") as places, events.Log(folder / EVENTS) as log:
        made = write_store(folder / STORE, _entries(recipe, read, places, log))
    return made, {"counts": log.counts, "sources": [_facts(source, read[source.name]) for source in recipe.sources]}


def _entries(recipe: Recipe, read: dict[str, _Read], places, log: events.Log) -> Iterator[tuple[int, int, bytes]]:
    number = 0
    for source in recipe.sources:
        seen = read[source.name]
        read_from = origins(source)
        for where, found in chain.from_iterable(_parts(origin, source, recipe, seen) for origin in read_from):
            places.write(where.replace("\n", " ") + "\n")
            seen.entries += 1
            if isinstance(found, (BadRow, PassedOver)):
                log.add(Event(number, "dropped", found.reason, found.detail))
                _note_bad(seen, where, found)
            else:
                row, left = from_record(found)
                seen.left_out |= left
                yield number, 0, rows.to_line(row)
            number += 1
        check_renamed(read_from, source.rename, _rename_key(recipe, source))
        _check(source, seen)


def _parts(origin: Origin, source: Source, recipe: Recipe, seen: _Read) -> Iterator[formats.Part]:
    """Each record of a file, or the reason why there is none, with its place."""
    how, kind = source.reading(), recipe.kind
    stream = origin.rows(how.columns, dict(how.rename))
    first = list(first_rows(stream))
    sample = [row for _, row in first if isinstance(row, dict)]
    try:
        name, why = (how.format, "as the recipe says") if how.format != "auto" or not sample else formats.detect(
            sample, kind, origin.name)
    except Refused:
        check_renamed([origin], source.rename, _rename_key(recipe, source))  # a name misspelt there is the likelier cause
        raise
    form = formats.by_name(name, kind) if name != "auto" else None
    count = 0
    for unit in formats.gathered(form, chain(first, stream)):
        count += len(unit.places)
        if isinstance(unit.row, BadRow):
            yield unit.where, unit.row
        else:
            parts = formats.convert(form, kind, Fields(unit.row, unit.where, seen.ignored, how.ranked))
            yield from parts or [(unit.where, PassedOver("nothing-in-it", f"no {kind} in this row"))]
    seen.files.append({"path": origin.name, "format": name, "why": why, "rows": count})
    seen.notes += origin.notes


def _rename_key(recipe: Recipe, source: Source) -> str:
    return f"{recipe.place}, sources.{source.name}.rename"


def _note_bad(seen: _Read, where: str, found: BadRow | PassedOver) -> None:
    if isinstance(found, BadRow):
        seen.bad_count += 1
        if len(seen.bad) < NAMED:
            seen.bad.append(f"{where} {found.reason} ({found.detail})")


def _check(source: Source, seen: _Read) -> None:
    if not seen.entries:
        raise Refused(f"the source '{source.name}' has no rows", where=", ".join(source.path), expected="one row or more")
    if seen.bad_count > source.max_rejected * seen.entries:
        share = -(-1000 * seen.bad_count // seen.entries) / 1000
        allowed = f"at most {source.max_rejected:.3%} bad rows" if source.max_rejected else "no bad row"
        raise Refused(
            f"{seen.bad_count} of {seen.entries} rows of the source '{source.name}' cannot be used: {'; '.join(seen.bad)}",
            where=source.path[0], expected=allowed,
            do=f"Mend the rows, or let such a share pass with max_rejected: {share:g} in the source.")


def _facts(source: Source, seen: _Read) -> dict[str, Any]:
    notes = list(seen.notes)
    if seen.ignored:
        notes.append(f"fields of messages without a meaning here, left out: {', '.join(sorted(seen.ignored))}")
    if seen.left_out:
        notes.append(f"columns left out for their names: {', '.join(sorted(seen.left_out))}")
    return {"name": source.name, "licence": source.licence, "weight": source.weight, "files": seen.files,
            "entries": seen.entries, "notes": notes}
