"""How many rows a damaged collection had, told by what of it can still be read.

Rows are numbered from 1 without gaps and never deleted, so that the highest number seen, in a row or in what points to it,
is a bound from below. An index lies on pages of its own and has as many entries as its table has rows. Votes are told by
ballots, and by `item.taken`, which counts ballots and live leases, too.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from typing import Any

NUMBER = {"event": "seq", "guideline": "version"}  # elsewhere `id`
POINTS = {
    "item": {"list": "list", "prompt": "prompt", "first": "response", "second": "response", "of": "item"},
    "assignment": {"item": "item", "annotator": "annotator"},
    "event": {"annotator": "annotator", "item": "item", "assignment": "assignment", "guideline": "guideline",
              "undoes": "event"},
    "ballot": {"assignment": "assignment", "item": "item", "annotator": "annotator", "event": "event"},
}
INDEXES = {"assignment": "assignment_item", "event": "event_item"} | {
    table: f"sqlite_autoindex_{table}_1" for table in ("list", "prompt", "response", "annotator", "token", "item")}


class Evidence:
    """What was seen of a damaged collection.

    Args:
        source: the damaged copy. most: no table can have more rows, so that a higher number is damage itself.
    """

    def __init__(self, source: sqlite3.Connection, most: int) -> None:
        self.source, self.most = source, most
        self.unread: set[str] = set()  # tables of which a part could not be read
        self.highest: Counter = Counter()
        self.ballots = self.taken = 0

    def saw(self, table: str, row: Mapping[str, Any]) -> None:
        """Takes note of one row as it was read, whether it is saved or not."""
        pointed = {NUMBER.get(table, "id"): table, **POINTS.get(table, {})}
        for column, name in pointed.items():
            number = row.get(column)
            if isinstance(number, int) and number <= self.most:
                self.highest[name] = max(self.highest[name], number)
        self.ballots += table == "ballot" and row["kind"] == "vote"
        if table == "item" and isinstance(row["taken"], int) and 0 <= row["taken"] <= self.most:
            self.taken += row["taken"]

    def rows(self, table: str) -> tuple[int, bool]:
        """How many rows the table had at least, and whether it can have had more."""
        counted = self._count(f"SELECT count(*) FROM {table} INDEXED BY {INDEXES[table]}") if table in INDEXES else None
        return max(self.highest[table], counted or 0), table in self.unread and counted is None

    def votes(self) -> int:
        """How many votes held at least; those that were taken back are none."""
        leases = self._count("SELECT count(*) FROM lease WHERE counted")
        return max(self.ballots, 0 if leases is None else self.taken - leases)

    def _count(self, query: str) -> int | None:
        try:
            return self.source.execute(query).fetchone()[0]
        except sqlite3.DatabaseError:  # what is damaged tells nothing, and the answer says so
            return None
