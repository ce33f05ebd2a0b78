"""What happened to rows at a stage, on the disk: one JSON list a line, sorted by row."""

from __future__ import annotations

import heapq
import json
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from data_recipes.building.steps.base import Event


class Log:
    """Takes the events of a stage as they come; on closing they are put in the order of their rows.

    counts: by fate and reason.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._counts = path, {}
        self._rows, self._starts, self._at = array("q"), array("q"), 0
        self._file = open(path, "wb", buffering=1 << 20)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if error[0] is None:
            _sort(self.path, np.array(self._rows), np.array(self._starts))

    def add(self, event: Event) -> None:
        """Enters one event."""
        self._rows.append(event.row)
        self._starts.append(self._at)
        self._at += self._file.write(json.dumps(event, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        self._counts.setdefault(event.fate, Counter())[event.reason] += 1

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many events of each fate and reason."""
        return {fate: dict(sorted(found.items())) for fate, found in sorted(self._counts.items())}


def _sort(path: Path, rows: np.ndarray, starts: np.ndarray) -> None:
    if (rows[1:] >= rows[:-1]).all():
        return
    beside = path.with_suffix(".unsorted")
    path.rename(beside)
    with open(beside, "rb") as old, open(path, "wb", buffering=1 << 20) as new:
        for start in starts[np.argsort(rows, kind="stable")].tolist():
            old.seek(start)
            new.write(old.readline())
    beside.unlink()


def read(path: Path) -> Iterator[Event]:
    """The events of one stage, in the order of their rows."""
    with open(path, "rb") as file:
        for line in file:
            yield Event(*json.loads(line))


def by_row(paths: list[Path]) -> Iterator[tuple[int, list[tuple[int, Event]]]]:
    """(row, [(number of the stage, event), ...]) for each row that has any, from the events of all stages."""
    streams = (_numbered(number, path) for number, path in enumerate(paths))
    for row, found in groupby(heapq.merge(*streams, key=itemgetter(0, 1)), key=itemgetter(0)):
        yield row, [(number, event) for _, number, event in found]


def _numbered(number: int, path: Path) -> Iterator[tuple[int, int, Event]]:
    return ((event.row, number, event) for event in read(path))
