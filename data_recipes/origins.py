"""Where rows come from: files, or hub data sets. A path that is missing is never looked up on a hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from data_recipes import files
from data_recipes.errors import Refused
from data_recipes.raw_rows import OTHER_SUFFIXES, SUFFIXES, iter_rows
from data_recipes.records import BadRow


@dataclass
class Origin:
    """One file, or one split of a hub data set.

    name: as the user wrote it. path: the file, else None. split: of a hub data set, or of a folder saved by `datasets`.
    config: the hub data set's subset, which its page calls so and `datasets` a configuration; empty for its default.
    notes: what is worth saying, filled while the rows are read. columns: names seen while rows were renamed.
    """

    name: str
    path: Path | None = None
    split: str = ""
    config: str = ""
    notes: list[str] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)
    _sha256: str = ""

    def rows(self, columns: tuple[str, ...] = (), rename: dict[str, str] | None = None) -> Iterator[tuple[str, dict | BadRow]]:
        """The raw rows, each with its place.

        Args:
            columns: names for a table whose first line is a row already.
            rename: old names of columns to new ones; an empty new name leaves the column out.
        """
        rows = iter_rows(self.path, self.notes, columns) if self.path else self._hub_rows()
        return _renamed(rows, rename, self) if rename else rows

    def sha256(self) -> str:
        """Of the file's bytes, or of a hub data set's rows in order; the latter once they were read to the end."""
        return files.sha256_file(self.path) if self.path else self._sha256

    def _hub_rows(self) -> Iterator[tuple[str, dict | BadRow]]:
        from data_recipes.arrow_rows import iter_hub

        digest = hashlib.sha256()
        for where, row in iter_hub(self.name, self.split, self.notes, self.config):
            held = row.row if isinstance(row, BadRow) else row
            digest.update(json.dumps(held, sort_keys=True, default=str).encode("ascii") + b"\n")
            yield where, row
        self._sha256 = digest.hexdigest()


def check_renamed(origins: Iterable[Origin], names: Iterable[str], where: str = "--rename or --drop") -> None:
    """That each column which was to be renamed or left out is in some row, once all of them were read.

    Args:
        where: what named the columns, for the error.

    Raises:
        Refused: no row has it; with the nearest name.
    """
    columns = sorted({str(column) for origin in origins for column in origin.columns})
    for name in names:
        if columns and name not in columns:
            near = get_close_matches(name, columns, n=1)
            raise Refused(f"no row has the column '{name}'", where=where, expected=", ".join(columns),
                          do=f"Did you mean {near[0]}?" if near else "")


def resolve(source: str | Path | Iterable[str | Path]) -> list[Origin]:
    """The origins that a source names, in order; every path is looked for before any row is read.

    Raises:
        Refused: a path that is not there, a folder that holds not exactly one data file, or an empty list.
    """
    names = [source] if isinstance(source, (str, Path)) else list(source)
    if not names:
        raise Refused("no data was given", where="data", expected="a file, several files, or a hub data set")
    return [_resolve(str(name)) for name in names]


def _resolve(name: str) -> Origin:
    forced = name.startswith("hub:")
    path = Path(name).expanduser()
    if not forced and path.is_dir():
        return _folder(name, path)
    if not forced and path.exists():
        return Origin(name, path)
    hub_id, _, part = name.removeprefix("hub:").partition(":")
    config, _, split = part.rpartition(":")
    if not forced and looks_like_path(hub_id):
        raise Refused("there is no such file", where=name, expected="a file, or a hub data set owner/name",
                      do="hub: before a name forces the hub; nothing is looked up there for a path.")
    return Origin(hub_id, None, split or "train", config)


def looks_like_path(name: str) -> bool:
    """Whether a name that is not here can only be meant as a path: all but `owner/name`."""
    owner, slash, rest = name.partition("/")
    if not slash or "/" in rest or "\\" in name or name.startswith((".", "~")) or not owner or not rest:
        return True
    suffix = Path(name.lower().removesuffix(".gz")).suffix
    return name.lower().endswith(".gz") or suffix in SUFFIXES or suffix in OTHER_SUFFIXES or Path(owner).is_dir()


def _folder(name: str, path: Path) -> Origin:
    if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
        return Origin(str(path), None, "train")
    found = sorted(item for item in path.iterdir() if _is_data(item))
    if len(found) == 1:
        return Origin(str(found[0]), found[0])
    shown = ", ".join(item.name for item in found[:5])
    raise Refused(f"the folder holds {len(found)} data files{': ' + shown if shown else ''}", where=name,
                  expected="a file, a folder with exactly one, or a folder written by datasets' save_to_disk",
                  do="Name the files one by one." if found else "")


def _is_data(path: Path) -> bool:
    """A list of refused rows lies beside what was written, and is no data."""
    if path.name.endswith("rejected.jsonl"):
        return False
    return path.is_file() and Path(path.name.lower().removesuffix(".gz")).suffix in SUFFIXES


def _renamed(rows: Iterator, names: dict[str, str], origin: Origin) -> Iterator[tuple[str, dict | BadRow]]:
    """Rows with columns renamed or left out; a row where two would get the same name is a BadRow."""
    seen = origin.columns
    for where, row in rows:
        if isinstance(row, dict):
            seen.update(row)
            kept = [names.get(key, key) for key in row if names.get(key, key)]
            if len(set(kept)) < len(kept):
                twice = next(key for key in kept if kept.count(key) > 1)
                row = BadRow("column-clash", f"renamed, two columns would be called {twice!r}", row)
            else:
                row = {names.get(key, key): value for key, value in row.items() if names.get(key, key)}
        yield where, row
    absent = (name for name in names if name not in seen)
    origin.notes += [f"no row has the column {name!r}, which was to be renamed or left out" for name in absent]
