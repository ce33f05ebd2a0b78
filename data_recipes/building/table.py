"""Which rows there are after a stage, in which order: a small table over a file of lines that stays on the disk.

A stage that only drops, copies or orders rows writes a new table and no text, so a recipe of ten steps over a million
rows keeps two or three copies of the text. 16 bytes a row are held in memory, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# row: the number of the entry in the ledger; start: where its line begins in the file; side: an index into SIDES
COLUMNS = np.dtype([("row", "<i4"), ("start", "<i8"), ("side", "<i4")])
SIDES = ("train", "validation", "test")


@dataclass(frozen=True)
class Rows:
    """Lines of `store`, as many and in the order as `table` (of dtype COLUMNS) says."""

    store: Path
    table: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """(row, line with its line feed), one at a time."""
        with open(self.store, "rb") as file:
            at = 0
            for row, start in zip(self.table["row"].tolist(), self.table["start"].tolist(), strict=True):
                if start != at:  # seeking throws the buffer away, so only where it must be
                    file.seek(start)
                line = file.readline()
                at = start + len(line)
                yield row, line

    def line(self, index: int) -> bytes:
        """One line, by its place in the order."""
        with open(self.store, "rb") as file:
            file.seek(int(self.table["start"][index]))
            return file.readline()

    def chosen(self, which: np.ndarray) -> Rows:
        """The rows of these places (numbers or truth values), in this order."""
        return Rows(self.store, self.table[which])


def write_store(path: Path, rows: Iterable[tuple[int, int, bytes]]) -> Rows:
    """Writes (row, side, line) into a new store, as they come."""
    at, table = 0, _Growing()
    with open(path, "wb", buffering=1 << 20) as file:
        for row, side, line in rows:
            table.add((row, at, side))
            at += file.write(line)
    return Rows(path, table.array())


class _Growing:
    """A table that grows; lists of tuples would take ten times its memory."""

    def __init__(self) -> None:
        self.full: list[np.ndarray] = []
        self.open: list[tuple[int, int, int]] = []

    def add(self, entry: tuple[int, int, int]) -> None:
        self.open.append(entry)
        if len(self.open) == 1 << 14:
            self.full.append(np.array(self.open, COLUMNS))
            self.open = []

    def array(self) -> np.ndarray:
        return np.concatenate([*self.full, np.array(self.open, COLUMNS)])


def rank(group: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
    """How many of its own group come before each, by `order` or else by place: int64 (N,)."""
    size = len(group)
    place = np.arange(size)
    by_group = np.lexsort((place, group) if order is None else (place, order, group))
    starts = np.flatnonzero(np.r_[True, group[by_group][1:] != group[by_group][:-1]])[:size]
    made = np.empty(size, np.int64)
    made[by_group] = place - np.repeat(starts, np.diff(np.r_[starts, size]))
    return made


def mix_bits(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Numbers that look random, from 64-bit ones: splitmix64 (Steele, Lea, Flood 2014).

    In place of a random generator: what a row draws depends on the row and the seed alone, on no library's version
    and not on how many rows stand before it.
    """
    with np.errstate(over="ignore"):
        z = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(seed * 2 + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
