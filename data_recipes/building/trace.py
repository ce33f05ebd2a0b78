"""`align data trace`: one row's story, from its source line to what it became."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data_recipes import files
from data_recipes.building import events
from data_recipes.building.delivery import CARD, LEDGER
from data_recipes.building.stages import EVENTS, Stages
from data_recipes.errors import Refused
from data_recipes.raw_rows import iter_rows
from data_recipes.records import BadRow

SHOWN = 2000  # characters of a row that the story shows


def trace(folder: Path, row: str) -> dict[str, Any]:
    """The story of a row: its ledger entry, its source line, and what each stage did to it.

    Args:
        row: its number in the ledger, a line of an output (`train.jsonl:12`), or its place in a source (`tickets.jsonl:17`).

    Raises:
        Refused: no finished build, or no such row.
    """
    if not (folder / CARD).is_file():
        raise Refused("there is no finished build", where=folder, expected=f"a folder with a {CARD}",
                      do="Run align data build.")
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    entry = _entry(folder, row, card)
    found = {"entry": entry, "source": _source_line(entry, card), "stages": list(_stages(folder, entry["row"], card))}
    if "into" in entry:
        found["into"] = _entry(folder, str(entry["into"]), card)
    if lines := entry.get("lines"):
        found["became"] = _line(folder / lines[0].rpartition(":")[0], int(lines[0].rpartition(":")[2]))
    return found


def story(found: dict[str, Any]) -> list[str]:
    """A trace as lines for people."""
    entry, source = found["entry"], found["source"]
    lines = [f"row {entry['row']} of the source '{entry['source']}', {entry['where']}"]
    lines.append(f"  {source['note']}" if "note" in source else f"  read: {_short(source['row'])}")
    for stage in found["stages"]:
        detail = ": ".join(part for part in (stage["reason"], stage["detail"]) if part)
        lines.append(f"{stage['step']}: {stage['fate']}{f' ({detail})' if detail else ''}")
        if "row" in stage:
            lines.append(f"  now: {_short(stage['row'])}")
    if entry["fate"] == "kept":
        lines.append(f"kept as {', '.join(entry['lines'])}, SHA-256 {entry['sha256']}")
        lines.append(f"  {_short(found['became'])}")
    if "into" in found:
        other = found["into"]
        lines.append(f"in its place stands row {other['row']}, {other['where']}, which was {other['fate']}"
                     f"{' as ' + ', '.join(other['lines']) if 'lines' in other else ''}")
    return lines


def _entry(folder: Path, row: str, card: dict) -> dict:
    """The line of the ledger; found by its text, and then by its value, so that a million lines take a second."""
    number = int(row) if row.isdecimal() else None
    name, _, line = row.rpartition(":")
    if number is None and not (name and line.isdecimal()):
        raise Refused(f"{row!r} names no row", where="ROW", expected="a number, OUTPUT:LINE or SOURCE:LINE")
    plain = Path(name).name if Path(name).name in card["rows"]["lines"] else None
    if plain:
        number = json.loads(_line_text(folder / plain, int(line)))["origin"]["row"]
    wanted = re.compile(_place(name, line) if number is None else f'{{"row": {number},')
    with open(folder / LEDGER, encoding="utf-8") as ledger:
        for text in ledger:
            if (wanted.search if number is None else wanted.match)(text):
                return json.loads(text)
    outputs = ", ".join(card["rows"]["lines"])
    raise Refused(f"there is no row {row}", where=folder / LEDGER,
                  expected=f"a number below {card['rows']['entries']}, a line of {outputs}, or a place in a source")


def _place(name: str, line: str) -> str:
    """A pattern for `tickets.jsonl:17` in a ledger's line: also where several lines made a row, or one line several rows."""
    return rf'"where": "(?:[^"]*/)?{re.escape(json.dumps(name, ensure_ascii=False)[1:-1])}:(?:\d+\+)*{line}[+#"]'


def _line(path: Path, number: int) -> dict:
    return json.loads(_line_text(path, number))


def _line_text(path: Path, number: int) -> str:
    with open(path, encoding="utf-8") as file:
        text = next(islice(file, number - 1, number), None) if number > 0 else None
    if text is None:
        raise Refused(f"there is no line {number}", where=path)
    return text


def _source_line(entry: dict, card: dict) -> dict[str, Any]:
    """The row as it stands in the source, if the source is still the file that was read."""
    source = next(source for source in card["sources"] if source["name"] == entry["source"])
    file = next((file for file in source["files"] if entry["where"].startswith(file["path"] + ":")), source["files"][0])
    path = Path(file["path"])
    if not path.is_file() or files.sha256_file(path) != file["sha256"]:
        return {"note": f"{path} is not there or was changed since, so its line is not shown"}
    numbers = entry["where"].removeprefix(f"{file['path']}:").partition("#")[0].split("+")
    places = {f"{path}:{number}" for number in numbers}
    found = [row.row if isinstance(row, BadRow) else row for where, row in iter_rows(path) if where in places]
    return {"row": found[0] if len(found) == 1 else found}


def _stages(folder: Path, number: int, card: dict) -> Iterator[dict[str, Any]]:
    """What each stage says of a row. Stages that were removed since say nothing; the ledger's entry is whole without them."""
    stages = Stages(folder / ".stages")
    for name in card["stages"]:
        stage = stages.open(name)
        if stage is None:
            continue
        for event in events.read(stage.folder / EVENTS):
            if event.row == number:
                said = {"step": stage.made_of["step"], "fate": event.fate, "reason": event.reason, "detail": event.detail}
                if event.fate == "changed":
                    rows = stage.rows()
                    said["row"] = json.loads(rows.line(int(np.flatnonzero(rows.table["row"] == number)[0])))
                yield said
            if event.row > number:
                break


def _short(row: Any) -> str:
    text = row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"
