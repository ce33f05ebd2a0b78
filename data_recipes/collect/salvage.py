"""Copies of a collection: a backup while it is in use, and what can be read of a damaged one."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from data_recipes.collect.database import Database, translated
from data_recipes.errors import Refused
from data_recipes.files import move_in


def backup(database: Database, path: Path) -> Path:
    """A consistent copy under a temporary name, which takes its own name once it is whole. Raises Refused where it exists."""
    if path.exists():
        raise Refused("the file is there already", where=path, do="Choose another name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with translated(path):
            target = sqlite3.connect(partial)
            try:
                database.reader().backup(target, pages=1000)
                target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            finally:
                target.close()
        move_in(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path
