"""Pages of rows that a damaged file has lost the way to: known by the shape of their rows, and put under new inner pages.

A table is a tree: its first page names others, and only the last ones hold rows. Where a page on the way is lost, SQLite
finds none of the rows behind it, though they are all there. The format: https://www.sqlite.org/fileformat2.html, section 1.6.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LEAF, INNER = 13, 5  # types of the pages of a table
COUNT_AT = 28  # where a file's header says how many pages there are
CHILDREN = 200  # of an inner page that is made here; 272 always fit into 4096 bytes
NUMBERS = {"INTEGER": {1, 2, 3, 4, 5, 6, 8, 9}, "REAL": set(range(1, 10))}  # how a record marks numbers, by declared type


@dataclass(frozen=True)
class Table:
    """Where a table begins, and its columns as (declared type, whether it may be null); first its number, kept beside."""

    root: int
    columns: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Leaf:
    """A page with the rows from number `first` to `last` of a table."""

    page: int
    table: str
    first: int
    last: int


def relink(copy: Path, whole: Path) -> set[str]:
    """Puts all pages of rows of each table under its first page again, where some of them cannot be reached from there.

    Args:
        copy: the damaged file, without a log beside it; it is changed. whole: a new collection, whose tables begin at the
            same pages.

    Returns:
        The names of the tables that were mended so.
    """
    tables, size = _tables(whole)
    pages = _Pages(bytearray(copy.read_bytes()), size)
    found: dict[str, list[Leaf]] = {name: [] for name in tables}
    for number in range(2, pages.count + 1):  # the first page begins with the file's header and holds no rows
        if leaf := _leaf(pages.get(number), number, tables):
            found[leaf.table].append(leaf)
    mended = set()
    for name, table in tables.items():
        reached = _reached(pages, table.root)
        if {leaf.page for leaf in found[name]} - reached:
            _root(pages, table.root, _apart(found[name], reached))
            mended.add(name)
    if mended:
        pages.data[COUNT_AT:COUNT_AT + 4] = pages.count.to_bytes(4, "big")
        copy.write_bytes(pages.data)
    return mended


def _tables(whole: Path) -> tuple[dict[str, Table], int]:
    """The tables whose rows are numbered by their first column, and the size of a page. No two of them look alike."""
    found = {}
    with contextlib.closing(sqlite3.connect(whole)) as db:
        asked = "SELECT name, rootpage FROM sqlite_schema WHERE type = 'table' AND rootpage > 0"
        for name, root in db.execute(asked).fetchall():
            columns = db.execute("SELECT type, \"notnull\", pk FROM pragma_table_info(?)", (name,)).fetchall()
            if columns[0][0] == "INTEGER" and columns[0][2] == 1 and sum(bool(key) for *_, key in columns) == 1:
                found[name] = Table(root, tuple((kind, not needed) for kind, needed, _ in columns[1:]))
        return found, db.execute("PRAGMA page_size").fetchone()[0]


class _Pages:
    """A file's pages by number, from 1."""

    def __init__(self, data: bytearray, size: int) -> None:
        self.data, self.size = data[:len(data) // size * size], size

    @property
    def count(self) -> int:
        return len(self.data) // self.size

    def get(self, number: int) -> bytes:
        return bytes(self.data[(number - 1) * self.size:number * self.size])

    def put(self, number: int, page: bytes) -> None:
        self.data[(number - 1) * self.size:number * self.size] = page

    def add(self, page: bytes) -> int:
        self.data += page
        return self.count


def _leaf(page: bytes, number: int, tables: Mapping[str, Table]) -> Leaf | None:
    """What rows a page holds; None where it is no page of rows, or a damaged one."""
    count = int.from_bytes(page[3:5], "big")
    if page[0] != LEAF or not 0 < count <= len(page) // 4:
        return None
    try:
        rows = [_row(page, int.from_bytes(page[at:at + 2], "big")) for at in range(8, 8 + 2 * count, 2)]
    except IndexError:  # a number that leads out of the page
        return None
    numbers = [row for row, _ in rows]
    if any(one >= other for one, other in zip(numbers, numbers[1:], strict=False)):
        return None
    name = next((name for name, table in tables.items() if all(_fits(kinds, table) for _, kinds in rows)), None)
    return Leaf(number, name, numbers[0], numbers[-1]) if name else None


def _row(page: bytes, at: int) -> tuple[int, list[int]]:
    """A row's number and the marks of its values. Raises IndexError where it does not lie within the page."""
    _, at = _varint(page, at)
    number, at = _varint(page, at)
    length, start = _varint(page, at)
    kinds = []
    while start < at + length:
        kind, start = _varint(page, start)
        kinds.append(kind)
    return number, kinds


def _fits(kinds: Sequence[int], table: Table) -> bool:
    if len(kinds) != len(table.columns) + 1 or kinds[0] != 0:
        return False
    return all((null if not kind else kind >= 13 and kind % 2 == 1 if declared == "TEXT" else kind in NUMBERS[declared])
               for kind, (declared, null) in zip(kinds[1:], table.columns, strict=True))


def _reached(pages: _Pages, root: int) -> set[int]:
    """The pages that the way from a first page leads to, itself included."""
    seen, open_pages = set(), [root]
    while open_pages:
        number = open_pages.pop()
        if number not in seen and 1 < number <= pages.count:
            seen.add(number)
            open_pages += _children(pages.get(number))
    return seen


def _children(page: bytes) -> Iterator[int]:
    if page[0] == INNER:
        for at in range(12, min(12 + 2 * int.from_bytes(page[3:5], "big"), len(page) - 1), 2):
            cell = int.from_bytes(page[at:at + 2], "big")
            yield int.from_bytes(page[cell:cell + 4], "big")
        yield int.from_bytes(page[8:12], "big")


def _apart(leaves: Sequence[Leaf], reached: set[int]) -> list[Leaf]:
    """Leaves in the order of their rows. Of two with the same rows, of which one must be an old state, the reached one."""
    kept: list[Leaf] = []
    for leaf in sorted(leaves, key=lambda leaf: (leaf.first, leaf.page not in reached)):
        while kept and leaf.first <= kept[-1].last and leaf.page in reached and kept[-1].page not in reached:
            kept.pop()
        if not kept or leaf.first > kept[-1].last:
            kept.append(leaf)
    return kept


def _root(pages: _Pages, root: int, leaves: Sequence[Leaf]) -> None:
    """Writes a first page that leads to these leaves, over as many levels as it takes."""
    nodes = [(leaf.page, leaf.last) for leaf in leaves]
    if root in {page for page, _ in nodes}:  # it held rows itself, and has to lead to others now
        nodes = [(pages.add(pages.get(root)) if page == root else page, last) for page, last in nodes]
    while len(nodes) > CHILDREN:
        parts = [nodes[start:start + CHILDREN] for start in range(0, len(nodes), CHILDREN)]
        if len(parts[-1]) == 1:  # an inner page needs two
            parts[-1].insert(0, parts[-2].pop())
        nodes = [(pages.add(_inner(part, pages.size)), part[-1][1]) for part in parts]
    pages.put(root, _inner(nodes, pages.size) if len(nodes) > 1 else pages.get(nodes[0][0]))


def _inner(nodes: Sequence[tuple[int, int]], size: int) -> bytes:
    """An inner page over two pages or more, each with the last number of a row behind it."""
    *left, (right, _) = nodes
    page, at = bytearray(size), size
    for place, (number, last) in enumerate(left):
        cell = number.to_bytes(4, "big") + _as_varint(last)
        at -= len(cell)
        page[at:at + len(cell)] = cell
        page[12 + 2 * place:14 + 2 * place] = at.to_bytes(2, "big")
    page[:12] = bytes((INNER, 0, 0, *len(left).to_bytes(2, "big"), *at.to_bytes(2, "big"), 0, *right.to_bytes(4, "big")))
    return bytes(page)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length at this place, and the place after it."""
    value = 0
    for _ in range(8):
        value, at = value << 7 | data[at] & 0x7F, at + 1
        if data[at - 1] < 0x80:
            return value, at
    return value << 8 | data[at], at + 1


def _as_varint(value: int) -> bytes:
    """A number below 2**56 as SQLite writes it."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))
