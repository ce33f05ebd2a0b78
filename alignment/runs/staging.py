"""A folder that appears whole or not at all: what `align merge` and `align export` write. Light: no torch."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from data_recipes.errors import Refused
from data_recipes.files import sync_file, sync_folder

from alignment.runs import locked


@contextlib.contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A folder beside `output` that takes its name, whole and synced, when the block ends without an error.

    What a killed process left there is removed by the next one.

    Raises:
        Refused: another process is writing the same output, or it appeared meanwhile.
    """
    with workplace(output) as folder:
        yield folder
        for file in folder.rglob("*"):
            if file.is_file():
                sync_file(file)
        take_name(folder, output)


@contextlib.contextmanager
def workplace(output: Path) -> Iterator[Path]:
    """An empty folder beside `output`, locked, removed at the end."""
    holder = output.absolute().with_name(f".{output.name}.unfinished")
    ours = False
    try:
        with locked(holder):  # the lock lies beside the result: Windows renames no folder with an open file in it
            ours = True
            folder = holder / "result"
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
            yield folder
    finally:
        if ours:
            shutil.rmtree(holder)


def take_name(folder: Path, output: Path) -> None:
    """Renames a finished folder; an empty one of that name gives way. Raises Refused where something else has that name."""
    if output.is_dir() and not any(output.iterdir()):
        output.rmdir()
    if output.exists():
        raise Refused("the output has appeared meanwhile", where=output, do="Choose another --output.")
    os.replace(folder, output)
    sync_folder(output.absolute().parent)
