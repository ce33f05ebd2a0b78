"""The end of a build: the output files, the ledger of every input row, the data card and the locked recipe.

Everything is written beside first. The card is removed before the first file takes its name and is written last, so a
folder with a card is whole, whatever killed a build.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_recipes import files, formats
from data_recipes.building import accounts, card, rows
from data_recipes.building.code import code_hash
from data_recipes.building.recipe import Recipe
from data_recipes.building.stages import Stage
from data_recipes.building.table import SIDES
from data_recipes.errors import Failed, Refused
from data_recipes.formats import Fields
from data_recipes.records import BadRow

CARD, PAGE, LEDGER, LOCK = "card.json", "card.md", "ledger.jsonl", "recipe.lock.yaml"
# A kept row's line: where it lies in the outputs. side: into SIDES; line: from 1; digest: SHA-256 of the line's text
WRITTEN = np.dtype([("row", "<i4"), ("side", "<i4"), ("line", "<i8"), ("digest", "S64")])


def check_folder(output: Path, recipe: Recipe) -> None:
    """That nothing of somebody's own would be overwritten.

    Raises:
        Refused: a file with the name of an output that no build wrote, or that was changed since.
    """
    names = [*recipe.outputs.values(), LEDGER, CARD, PAGE, LOCK]
    there = [name for name in names if (output / name).exists()]
    if there and not (output / ".stages").is_dir():
        raise Refused(f"the folder has a {there[0]} that no build wrote", where=output, do="Name another folder with --output.")
    for name, held in _written_hashes(output).items():
        if (output / name).is_file() and files.sha256_file(output / name) != held:
            raise Refused("the file was changed since it was built", where=output / name,
                          do="Move it away, then build again; a change belongs into the sources or the recipe.")


def deliver(recipe: Recipe, hashes: dict[str, str], stages: list[Stage], output: Path,
            beside: Path) -> tuple[dict[str, Any], bool]:
    """Writes the outputs of finished stages, and returns the card and whether anything was written.

    Args:
        hashes: SHA-256 of each input file. beside: a folder on the same disk that is not there yet.
    """
    made_of = _made_of(recipe, stages)
    if (output / CARD).is_file() and (found := _card(output))["made_of"] == made_of:
        if all((output / name).is_file() for name in found["outputs_sha256"]):  # check_folder has compared their hashes
            return found, False
    beside.mkdir()
    written = _write_outputs(recipe, stages, beside)
    account = accounts.write(recipe, stages, written, beside / LEDGER)
    lock = {**recipe.as_dict(), "pins": dict(sorted(hashes.items()))}
    files.write_text(beside / LOCK, yaml.safe_dump(lock, sort_keys=False, allow_unicode=True, width=120))
    names = [*recipe.outputs.values(), LEDGER, LOCK]
    made = card.make(recipe, hashes, stages, account)
    made |= {"made_of": made_of, "outputs_sha256": {name: files.sha256_file(beside / name) for name in names}}
    _move(beside, output, names, _written_hashes(output))
    files.write_text(output / PAGE, card.page(made))
    files.write_json(output / CARD, made)
    return made, True


def remove(folders: Iterable[Path]) -> None:
    """Removes stages."""
    for folder in folders:
        shutil.rmtree(folder)


def _made_of(recipe: Recipe, stages: list[Stage]) -> str:
    """What the delivered files are made of, as one hash."""
    return files.sha256_json([recipe.as_dict(), [stage.made_of for stage in stages], stages[-1].output, code_hash(__name__)])


def _write_outputs(recipe: Recipe, stages: list[Stage], beside: Path) -> np.ndarray:
    """Writes each side's file; returns where each row went, of dtype WRITTEN, sorted by row."""
    held = stages[-1].rows()
    sources, names = stages[0].about["sources"], list(recipe.outputs)
    ends = np.cumsum([source["entries"] for source in sources])
    of_source = np.searchsorted(ends, held.table["row"], side="right").tolist()
    written = np.zeros(len(held), WRITTEN)
    written["row"], written["side"] = held.table["row"], held.table["side"]
    counts = dict.fromkeys(map(SIDES.index, names), 0)
    with ExitStack() as stack:
        outputs = {SIDES.index(side): stack.enter_context(open(beside / recipe.outputs[side], "wb")) for side in names}
        for at, (row, line) in enumerate(held.lines()):
            side, source = int(written["side"][at]), sources[of_source[at]]
            line = _with_origin(rows.from_line(line), row, source, recipe.kind)
            counts[side] += 1
            written["line"][at] = counts[side]
            written["digest"][at] = hashlib.sha256(line.rstrip(b"\n")).hexdigest()
            outputs[side].write(line)
    return written[np.lexsort((written["line"], written["side"], written["row"]))]


def _with_origin(row: dict, number: int, source: dict, kind: str) -> bytes:
    """A row as it is written, read once more as its kind before it counts."""
    row["origin"] = {"source": source["name"], "licence": source["licence"], "row": number}
    found = formats.fitting(row, kind)
    back = formats.convert(formats.by_name(found[0], kind), kind, Fields(row)) if len(found) == 1 else []
    if len(back) != 1 or isinstance(back[0][1], BadRow):
        why = str(back[0][1]) if back else f"it would be read as {' or '.join(found) or 'nothing'}"
        raise Failed(f"row {number} of the source '{source['name']}' cannot be read again as one of the {kind}: {why}",
                     do="Rename or leave out the column of the source that stands in the way.")
    return rows.to_line(row)


def _move(beside: Path, output: Path, names: list[str], before: dict[str, str]) -> None:
    """Gives the files their names, without a card in between; files of an earlier build that are no longer made go."""
    for name in (CARD, PAGE):
        (output / name).unlink(missing_ok=True)
    files.sync_folder(output)
    for name in names:
        files.move_in(beside / name, output / name)
    for name in before.keys() - set(names):
        (output / name).unlink(missing_ok=True)
    os.rmdir(beside)


def _written_hashes(output: Path) -> dict[str, str]:
    return _card(output)["outputs_sha256"] if (output / CARD).is_file() else {}


def _card(output: Path) -> dict[str, Any]:
    try:
        return json.loads((output / CARD).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise Refused(f"the card cannot be read: {error}", where=output / CARD, do="Delete it and build again.") from error
