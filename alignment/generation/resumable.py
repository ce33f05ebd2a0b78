"""A file of answers that is made in parts: its record beside it, and what the same command may continue. Light.

`OUTPUT.parts/N.jsonl` holds what model N has answered so far, `OUTPUT.meta.json` from what. `OUTPUT` itself appears
whole, by rename, and only then does the record say `completed`, with its hash.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from alignment.runs import differences, locked, now, versions
from data_recipes.errors import Refused
from data_recipes.files import sha256_file, write_json

FORMAT = 1


def parts_folder(output: Path) -> Path:
    """Where unfinished answers lie."""
    return output.with_name(output.name + ".parts")


def part_file(output: Path, number: int) -> Path:
    """The answers of one model, so far."""
    return parts_folder(output) / f"{number}.jsonl"


def meta_file(output: Path) -> Path:
    """The record beside the answers."""
    return output.with_name(output.name + ".meta.json")


@contextlib.contextmanager
def working(output: Path) -> Iterator[None]:
    """Holds the output's lock; at the end the parts' folder goes, unless it holds answers of unfinished work.

    Raises Refused where another process is writing the same output.
    """
    ours = False
    try:
        with locked(parts_folder(output)):
            ours = True
            yield
    finally:
        if ours and not begun(output):
            shutil.rmtree(parts_folder(output))


def begun(output: Path) -> bool:
    """Whether there are answers of unfinished work."""
    return any(file.stat().st_size for file in parts_folder(output).glob("*.jsonl"))


def open_record(output: Path, request: dict, *, restart: bool = False) -> dict:
    """The record to go on with, a new one where nothing was answered yet. Call it while holding the lock.

    Nothing is written: a command that is refused before its first answer leaves no trace.

    Args:
        output: the file of answers.
        request: all that decides them, JSON-able.
        restart: move old answers aside first.

    Raises:
        Refused: the output is another command's, was begun with other settings, or was altered since.
    """
    if restart:
        move_aside(output)
    record = read_record(output)
    if record is None and output.exists():
        raise Refused(
            "the output is there already and is not this command's", where=output, do="Choose another --output."
        )
    if record is None or not (begun(output) or record["state"] == "completed"):
        clear_parts(output)
        return {"format": FORMAT, "state": "running", "created": now(), "request": request, "versions": versions()}
    if changes := differences(record["request"], request):
        raise Refused(
            f"these answers were begun with other settings: {'; '.join(changes)}",
            where=output,
            expected="the same command as before",
            do="Choose another --output, or start anew with --restart.",
        )
    if record["state"] == "completed" and (not output.is_file() or sha256_file(output) != record["sha256"]):
        raise Refused("the finished answers were removed or altered", where=output, do="Start anew with --restart.")
    return record


def read_record(output: Path) -> dict | None:
    """The record; None where there is none."""
    file = meta_file(output)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def write_record(output: Path, record: dict) -> None:
    """Writes the record by rename."""
    write_json(meta_file(output), record)


def finish(output: Path, record: dict) -> None:
    """Marks the record as completed, with the answers' hash, and drops the parts."""
    write_record(output, {**record, "state": "completed", "finished": now(), "sha256": sha256_file(output)})
    clear_parts(output)


def move_aside(output: Path) -> None:
    """Renames old answers and their record to NAME.old-1, -2, ... and drops unfinished parts."""
    number = 1
    while (kept := output.with_name(f"{output.name}.old-{number}")).exists() or meta_file(kept).exists():
        number += 1
    for file, name in ((output, kept), (meta_file(output), meta_file(kept))):
        if file.exists():
            os.replace(file, name)
    clear_parts(output)


def clear_parts(output: Path) -> None:
    """Removes all parts."""
    for file in parts_folder(output).glob("*.jsonl"):
        file.unlink()


def keep_whole_lines(part: Path) -> int:
    """Cuts a last line that a kill left unfinished; returns the number of whole ones."""
    if not part.is_file():
        return 0
    data = part.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with open(part, "r+b") as file:
            file.truncate(whole)
    return data.count(b"\n")
