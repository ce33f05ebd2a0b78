"""The store of one collection: one file, several threads and processes, nothing acknowledged is ever lost.

    store = Store.create("votes.db", plan)
    task = store.claim(annotator_id)
    reply = store.record(annotator_id, Entry("id-1", "vote", task.item, {"choice": "left", "strength": 3}, task.lease))

Every method is one short transaction of its own and may be called from any thread.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from data_recipes.collect import assign, entries, people, reading, writing
from data_recipes.collect.database import Database, create, remove
from data_recipes.collect.model import Annotator, Entry, Guidelines, ListPlan, Plan, Progress, Task, Vote
from data_recipes.collect.snapshot import View


class Store:
    """A collection that is open; a context manager. `clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock=time.time) -> None:
        self.database, self.clock, self.path = database, clock, database.path
        with database.read() as db:
            self.lease_seconds = float(writing.setting(db, "lease_seconds"))

    @classmethod
    def create(cls, path: Path | str, plan: Plan, *, clock=time.time) -> Store:
        """Makes a new collection; a plan that is refused leaves no file behind.

        Raises:
            Refused: the file exists, or the plan makes no sense (two people of one name, overlap above the people, ...).
        """
        writing.check(plan)
        create(path)
        try:
            database = Database(path)
            with database.write() as db:
                writing.begin(db, plan, clock())
            return cls(database, clock)
        except BaseException:
            remove(path)
            raise

    @classmethod
    def open(cls, path: Path | str, *, clock=time.time) -> Store:
        """Opens a collection. Raises Refused where there is none, Damaged where it is broken."""
        return cls(Database(path), clock)

    def close(self) -> None:
        """Closes all threads' connections."""
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------- the people

    def annotators(self) -> list[Annotator]:
        """Everybody, in the order in which they were added."""
        with self.database.read() as db:
            return people.everybody(db)

    def annotator(self, annotator_id: int) -> Annotator:
        """One person. Raises Refused where there is none."""
        with self.database.read() as db:
            return people.by_id(db, annotator_id)

    def add_annotator(self, name: str, role: str = "annotator", *, asked: bool = True) -> Annotator:
        """A new person; one of that name and role who was there already is active again."""
        with self.database.write() as db:
            return people.add(db, name, role, asked=asked)

    def new_token(self, name: str, *, ends_old: bool = True) -> str:
        """A new secret for a person's link; only a hash is stored. ends_old: earlier links and all sessions end."""
        with self.database.write() as db:
            return people.new_token(db, name, self.clock(), ends_old=ends_old)

    def annotator_of_token(self, token: str) -> Annotator | None:
        """Whose link it is; None for a wrong, old or revoked one."""
        with self.database.read() as db:
            return people.of_token(db, token)

    def session_open(self, annotator_id: int) -> str:
        """A new secret for the cookie."""
        with self.database.write() as db:
            return people.open_session(db, annotator_id, self.clock())

    def annotator_of_session(self, secret: str) -> Annotator | None:
        """Whose cookie it is."""
        with self.database.read() as db:
            return people.of_session(db, secret, self.clock())

    def session_close(self, secret: str) -> None:
        """Signs out: ends that one session."""
        with self.database.write() as db:
            people.close_session(db, secret)

    def revoke(self, name: str) -> Annotator:
        """Ends a person's link, sessions and open tasks. The votes stay."""
        with self.database.write() as db:
            return people.revoke(db, name)

    def erase(self, name: str, *, edits: bool = False) -> dict:
        """Removes a person's name, comments and reasons (edits too, if asked for) from the file; the votes stay.

        "log_cleared" in what is returned is False where somebody was reading, so that the log beside the file still holds
        the old text until the next erasing, or until the last one closes the file.
        """
        with self.database.write() as db:
            done = people.erase(db, name, edits=edits)
        return {**done, "log_cleared": self.database.clear_log()}

    # -------------------------------------------------------------------------------------------------------- the tasks

    def claim(self, annotator_id: int, now: float | None = None) -> Task | None:
        """The next task, or the one that is open; None where nothing is left. Atomic."""
        now = self.clock() if now is None else now
        with self.database.write(durable=False) as db:
            who = people.by_id(db, annotator_id)
            writing.sweep(db, now)
            lease = _open_lease(db, who.id) or self._new_lease(db, who, now)
            if lease is None:
                return None
            db.execute("UPDATE lease SET expires = ? WHERE assignment = ?", (now + self.lease_seconds, lease))
            return reading.task(db, lease)

    def _new_lease(self, db: sqlite3.Connection, who: Annotator, now: float) -> int | None:
        choice = assign.choose(db, who)
        return writing.assign(db, who, choice, now, self.lease_seconds) if choice else None

    def task_for_lead(self, item: int, annotator_id: int, now: float | None = None) -> Task:
        """An item for a lead, whose vote settles it beside the others' votes. Raises Refused for anyone else."""
        now = self.clock() if now is None else now
        with self.database.write(durable=False) as db:
            lease = writing.settle(db, people.by_id(db, annotator_id), item, now, self.lease_seconds)
            return reading.task(db, lease)

    def release(self, annotator_id: int, lease: str) -> bool:
        """Gives a task back, so that somebody else may have it; False where it was not open."""
        with self.database.write(durable=False) as db:
            return writing.release(db, annotator_id, lease)

    def sweep(self, now: float | None = None) -> int:
        """Takes back tasks whose time is over; how many there were."""
        with self.database.write(durable=False) as db:
            return writing.sweep(db, self.clock() if now is None else now)

    def record(self, annotator_id: int, entry: Entry) -> dict:
        """Stores what a person sent, synced to the disk, and gives the reply.

        Raises:
            Conflict: another body under the same client id, or a second answer. Refused: an entry that makes no sense.
            StorageFull: it was not stored.
        """
        with self.database.write() as db:
            return entries.record(db, people.by_id(db, annotator_id), entry, self.clock(), self.lease_seconds)

    def progress(self, annotator_id: int) -> Progress:
        """How far one person is."""
        with self.database.read() as db:
            return reading.progress(db, people.by_id(db, annotator_id))

    def mine(self, annotator_id: int, limit: int = 20) -> list[dict]:
        """A person's own last answers, newest first, with what undo needs."""
        with self.database.read() as db:
            return reading.mine(db, annotator_id, limit)

    # ------------------------------------------------------------------------------------------------ lists and questions

    def guidelines(self, version: int | None = None) -> Guidelines:
        """The newest version, or the one asked for. Raises Refused where there is none."""
        with self.database.read() as db:
            return reading.guidelines(db, version)

    def add_guidelines(self, text: str) -> int:
        """A new version; earlier votes keep theirs. The same text again makes none."""
        with self.database.write() as db:
            return writing.add_guidelines(db, text, self.clock())

    def questions(self) -> dict:
        """What else is asked: {"acceptable": bool, "tags": [...], "training": bool}."""
        with self.database.read() as db:
            asked = {key: json.loads(writing.setting(db, key)) for key in ("acceptable", "tags")}
            return {**asked, "training": reading.has_training(db)}

    def add_list(self, plan: ListPlan) -> dict:
        """A new list, or more items of one that exists; {"list", "added", "known"} (items that were there already)."""
        with self.database.write() as db:
            return writing.add_list(db, plan)

    def unknown(self, plan: ListPlan) -> ListPlan:
        """A plan with only the items that its list has not."""
        with self.database.read() as db:
            return writing.unknown(db, plan)

    def lists(self) -> list[dict]:
        """All lists with their settings and counts."""
        with self.database.read() as db:
            return reading.lists(db)

    def set_open(self, name: str | None, is_open: bool) -> list[str]:
        """Opens or closes one list, or all; the names. Closing ends what is being asked; votes under way still count."""
        with self.database.write() as db:
            return writing.set_open(db, name, is_open)

    # ------------------------------------------------------------------------------------------------------- the results

    def votes(self, list_name: str | None = None) -> list[Vote]:
        """All current votes, by item and then by time."""
        with self.database.read() as db:
            return reading.votes(db, list_name)

    def lead_overview(self) -> dict:
        """For the lead's page: lists, people, disagreements, flags and skips."""
        with self.database.read() as db:
            return reading.overview(db)

    def events(self, after: int = 0) -> Iterator[dict]:
        """All events in order, undone ones too."""
        page = [None]
        while page:  # by pages, so that no view of the file is held while the caller is at work
            with self.database.read() as db:
                page = reading.events(db, after)
            yield from page
            after = page[-1]["seq"] if page else after

    def events_hash(self) -> str:
        """SHA-256 of all that votes follow from; comments, names and reasons are no part of it, so that erasing changes
        nothing."""
        with self.database.read() as db:
            return reading.events_hash(db)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[View]:
        """One consistent view for exports; others may write meanwhile."""
        with self.database.read() as db:
            yield View(db, self.path)

    def backup(self, path: Path | str) -> Path:
        """A whole copy, while others read and write."""
        from data_recipes.collect.salvage import backup

        return backup(self.database, Path(path))


def _open_lease(db: sqlite3.Connection, who: int) -> int | None:
    """The task a person has open; the one opened last, so that an undone vote comes back first."""
    row = db.execute("SELECT assignment FROM lease WHERE annotator = ? ORDER BY opened DESC LIMIT 1",
                     (who,)).fetchone()
    return row[0] if row else None
