"""Stages by content: what a step with these settings, this code and this input gave lies in a folder of that name.

A folder is filled beside and takes its name by rename, so it is whole or not there. `stage.json` is in it, with what it
was made of and the hash of each file; both are checked before it is used again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_recipes import files
from data_recipes.building.table import COLUMNS, Rows

FORMAT = 1  # of the files of a stage
STORE, TABLE, EVENTS, ABOUT = "rows.jsonl", "table.npy", "events.jsonl", "stage.json"
DIFFERS = {"settings": "other settings", "code": "the step's code changed", "input": "its input changed",
           "files": "a file it reads changed"}


@dataclass(frozen=True)
class Stage:
    """A finished stage. made_of: step, settings, code, input, files. about: counts and facts for the data card."""

    folder: Path
    made_of: dict[str, Any]
    about: dict[str, Any]
    hashes: dict[str, str]
    store: Path  # the lines that its table points into; its own or an earlier stage's

    @property
    def output(self) -> str:
        """The hash of what the next stage gets: lines and table."""
        return files.sha256_json([self.about["store"], self.hashes[TABLE]])

    def rows(self) -> Rows:
        """Its rows."""
        return Rows(self.store, np.load(self.folder / TABLE))


class Stages:
    """The stages below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, made_of: dict[str, Any]) -> Path:
        """Where the stage made of this lies."""
        return self.folder / f"{made_of['step']}-{files.sha256_json({'format': FORMAT, **made_of})[:16]}"

    def find(self, made_of: dict[str, Any]) -> Stage | None:
        """The stage made of this, if it is there and its files are what was written."""
        folder = self.path(made_of)
        if not (folder / ABOUT).is_file():
            return None
        stage = self._read(folder)
        found = ((folder / name, held) for name, held in stage.hashes.items())
        whole = all(path.is_file() and files.sha256_file(path) == held for path, held in found)
        return stage if whole and stage.store.is_file() else None

    def any(self) -> bool:
        """Whether a stage was finished."""
        return next(self.folder.glob(f"*/{ABOUT}"), None) is not None

    def open(self, name: str) -> Stage | None:
        """The stage in the folder of this name, unchecked; None where it was removed."""
        folder = self.folder / name
        return self._read(folder) if (folder / ABOUT).is_file() else None

    def why_not(self, made_of: dict[str, Any]) -> str:
        """Why there is no such stage: what is different about the one that is most like it."""
        if (self.path(made_of) / ABOUT).is_file():
            return "its files were damaged"
        others = [json.loads((path / ABOUT).read_text(encoding="utf-8"))["made_of"]
                  for path in sorted(self.folder.glob(f"{made_of['step']}-*")) if (path / ABOUT).is_file()]
        differing = [[key for key in DIFFERS if other[key] != made_of[key]] for other in others]
        if not differing:
            return "not made before"
        return "; ".join(DIFFERS[key] for key in min(differing, key=len))

    def make(self, made_of: dict[str, Any], fill: Callable[[Path], tuple[Rows, dict[str, Any]]], before: Stage | None) -> Stage:
        """Makes a stage: `fill` writes into a folder and returns the rows and what to say about them."""
        folder = self.path(made_of)
        beside = self.folder / f".making-{folder.name}"
        for old in filter(Path.exists, (folder, beside)):
            shutil.rmtree(old)
        beside.mkdir(parents=True)
        rows, about = fill(beside)
        own = rows.store.parent == beside
        np.save(beside / TABLE, rows.table.astype(COLUMNS, copy=False))
        names = sorted(path.name for path in beside.iterdir())
        hashes = {name: files.sha256_file(beside / name) for name in names}
        store = STORE if own else os.path.relpath(rows.store, self.folder)
        about = {**about, "store": hashes[STORE] if own else before.about["store"]}
        files.write_json(beside / ABOUT, {"made_of": made_of, "about": about, "hashes": hashes, "lines": store})
        for name in names:
            files.sync_file(beside / name)
        os.replace(beside, folder)
        files.sync_folder(self.folder)
        return self._read(folder)

    def _read(self, folder: Path) -> Stage:
        held = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        store = folder / STORE if held["lines"] == STORE else self.folder / held["lines"]
        return Stage(folder, held["made_of"], held["about"], held["hashes"], store)

    def sweep(self) -> None:
        """Removes what a kill left half made."""
        for path in self.folder.glob(".making-*"):
            shutil.rmtree(path)

    def unused(self, used: set[Path]) -> list[Path]:
        """Stages that this build has no use for."""
        return [path for path in sorted(self.folder.iterdir()) if path.is_dir() and path not in used]
