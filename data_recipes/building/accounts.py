"""The ledger: for every input row what became of it, and counts that have to add up.

One JSON object a line, in the order of the sources: `fate` is "kept" (with the lines it became and their SHA-256), "merged"
(with the row that stands for it) or "dropped" (with the step and the reason).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_recipes.building import events
from data_recipes.building.reading import PLACES
from data_recipes.building.recipe import Recipe
from data_recipes.building.stages import EVENTS, Stage
from data_recipes.building.steps.base import Event
from data_recipes.building.table import SIDES
from data_recipes.errors import Failed

ENDS = ("dropped", "merged")
Happened = list[tuple[int, Event]]


def write(recipe: Recipe, stages: list[Stage], written: np.ndarray, path: Path) -> dict[str, Any]:
    """Writes the ledger and returns its counts.

    Args:
        written: where each kept row went, of dtype `delivery.WRITTEN`, sorted by row.

    Raises:
        Failed: a row without a fate, or counts that do not add up.
    """
    fates, by_source, dropped = Counter(), {source.name: Counter() for source in recipe.sources}, Counter()
    with open(path, "wb", buffering=1 << 20) as file:
        for entry in _entries(recipe, stages, written):
            fates[entry["fate"]] += 1
            by_source[entry["source"]][entry["fate"]] += 1
            if entry["fate"] != "kept":
                dropped[entry["step"], entry["reason"]] += 1
            file.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
    lines = {recipe.outputs[side]: int((written["side"] == SIDES.index(side)).sum()) for side in recipe.outputs}
    entries = sum(source["entries"] for source in stages[0].about["sources"])
    kept = len(np.unique(written["row"]))
    if sum(fates.values()) != entries or fates["kept"] != kept or sum(lines.values()) != len(written):
        raise Failed(f"the ledger does not add up: {entries} rows in, {dict(fates)} by fate, {kept} rows written", where=path)
    return {
        "entries": entries, "fates": {fate: fates[fate] for fate in ("kept", *ENDS)}, "lines": lines,
        "repeated_lines": len(written) - kept, "by_source": {name: dict(found) for name, found in by_source.items()},
        "gone": [{"step": step, "reason": reason, "rows": count} for (step, reason), count in dropped.items()],
    }


def _entries(recipe: Recipe, stages: list[Stage], written: np.ndarray) -> Iterator[dict[str, Any]]:
    steps = [stage.made_of["step"] for stage in stages]
    happened = events.by_row([stage.folder / EVENTS for stage in stages])
    row_with_events, found = next(happened, (-1, []))
    number = 0
    starts = np.searchsorted(written["row"], np.arange(sum(source["entries"] for source in stages[0].about["sources"]) + 1))
    with open(stages[0].folder / PLACES, encoding="utf-8") as places:
        for source in stages[0].about["sources"]:
            for _ in range(source["entries"]):
                own = found if row_with_events == number else []
                lines = written[starts[number]:starts[number + 1]]
                yield {"row": number, "source": source["name"], "where": next(places)[:-1], **_fate(own, lines, steps, recipe)}
                if own:
                    row_with_events, found = next(happened, (-1, []))
                number += 1


def _fate(happened: Happened, lines: np.ndarray, steps: list[str], recipe: Recipe) -> dict[str, Any]:
    changed = list(dict.fromkeys(f"{steps[stage]}{f': {event.detail}' if event.detail else ''}"
                                 for stage, event in happened if event.fate == "changed"))
    about = {"changed": changed} if changed else {}
    if len(lines):
        names = [f"{recipe.outputs[SIDES[line['side']]]}:{line['line']}" for line in lines]
        return {"fate": "kept", **about, "lines": names, "sha256": lines[0]["digest"].decode()}
    ends = [(stage, event) for stage, event in happened if event.fate in ENDS]
    if not ends:
        raise Failed("a row has gone without a word", do="This is a fault of the step that lost it, not of the recipe.")
    stage, event = ends[0]
    into = {} if event.into is None else {"into": event.into}
    return {"fate": event.fate, **about, "step": steps[stage], "reason": event.reason, "detail": event.detail, **into}
