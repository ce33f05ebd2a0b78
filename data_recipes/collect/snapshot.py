"""One consistent view of a collection, for exports: votes, events and contents all of the same moment."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_recipes.collect import reading
from data_recipes.collect.model import Answer, Vote
from data_recipes.collect.rows import Content
from data_recipes.files import sha256_text

CONTENT = """
SELECT messages, prompt.hash AS prompt_hash, extra, list.name AS list, one.text AS first, one.source AS source_first,
    one.made AS made_first, two.text AS second, two.source AS source_second, two.made AS made_second
FROM item JOIN list ON list.id = item.list JOIN prompt ON prompt.id = item.prompt JOIN response AS one ON one.id = item.first
    JOIN response AS two ON two.id = item.second
WHERE item.id = ?
"""


class View:
    """What a collection held when the view was opened (`Store.snapshot`)."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db, self.path = db, path

    def votes(self, list_name: str | None = None) -> list[Vote]:
        """All current votes, as `Store.votes`."""
        return reading.votes(self._db, list_name)

    def events(self) -> Iterator[dict]:
        """All events in order."""
        after = 0
        while page := reading.events(self._db, after):
            yield from page
            after = page[-1]["seq"]

    def content(self, item: int) -> Content:
        """Prompt and answers of one item."""
        row = self._db.execute(CONTENT, (item,)).fetchone()
        sides = ("first", "second")
        first, second = (Answer(row[side], row[f"source_{side}"], json.loads(row[f"made_{side}"])) for side in sides)
        tools = json.loads(row["extra"]).get("tools")
        return Content(tuple(json.loads(row["messages"])), (first, second), row["list"], row["prompt_hash"][:16], tools)

    def identity(self) -> dict:
        """What names the events behind an export."""
        count = self._db.execute("SELECT count(*) FROM event").fetchone()[0]
        return {"events": count, "events_sha256": reading.events_hash(self._db)}

    def guideline_counts(self, votes: Sequence[Vote]) -> list[dict]:
        """Versions of the guidelines behind some votes, with the hash of each text."""
        counts = Counter(vote.guideline for vote in votes)
        texts = {version: reading.guidelines(self._db, version).text for version in sorted(counts)}
        return [{"version": version, "sha256": sha256_text(text), "votes": counts[version]} for version, text in texts.items()]
