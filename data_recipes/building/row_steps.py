"""Row steps over all rows: what each says about a row becomes a line, a table entry and an event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_recipes.building import events, rows
from data_recipes.building.recipe import Call
from data_recipes.building.stages import EVENTS, STORE
from data_recipes.building.steps import STEPS
from data_recipes.building.steps.base import Changed, Drop, Event
from data_recipes.building.table import Rows, write_store
from data_recipes.building.workers import Workers
from data_recipes.errors import Failed

Said = tuple[str, str, str, bytes]  # fate, reason, detail, new line


def fill(call: Call, held: Rows, workers: Workers, folder: Path) -> tuple[Rows, dict[str, Any]]:
    """Writes what a row step leaves; `Stages.make` calls it."""
    spec = {"name": call.step.name, "settings": call.settings}
    said = workers.each(f"{__name__}:one_line", spec, held)
    with events.Log(folder / EVENTS) as log:
        if call.step.how == "edit":
            made = write_store(folder / STORE, _edited(said, iter(held.table["side"].tolist()), log))
        else:
            made = held.chosen(np.fromiter(_kept(said, log), bool, len(held)))
    return made, {"counts": log.counts}


def one_line(*, name: str, settings: dict) -> Callable[[bytes], Said | None]:
    """For `Workers.each`: what a step says about a line; None where it stays as it is."""
    judge = STEPS[name].load()(**settings)

    def said(line: bytes) -> Said | None:
        row = rows.from_line(line)
        verdict = judge(row)
        if verdict is row:
            return None
        if isinstance(verdict, Drop):
            return "dropped", verdict.reason, verdict.detail, b""
        new, detail = verdict if isinstance(verdict, Changed) else (verdict, "")
        return "changed", "", detail, rows.to_line(new)

    return said


def _edited(said: Iterator, sides: Iterator[int], log: events.Log) -> Iterator[tuple[int, int, bytes]]:
    for (row, line, found), side in zip(said, sides, strict=True):
        if found is not None:
            log.add(Event(row, *found[:3]))
            line = found[3]
        if line:
            yield row, side, line


def _kept(said: Iterator, log: events.Log) -> Iterator[bool]:
    for row, _, found in said:
        if found is not None:
            if found[0] != "dropped":
                raise Failed(f"a step that only drops changed row {row}", do='Declare it as "edit" in STEPS.')
            log.add(Event(row, *found[:3]))
        yield found is None
