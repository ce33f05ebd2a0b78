"""Copies of a collection: a backup while it is in use, and what can be read of a damaged one.

Salvage gives each table the pages of rows back to which the way is lost (`leaves`), then reads it by row number and halves a
range until only what lies on damaged pages is missing. Texts and entries carry hashes, so that a flipped bit inside one is
found too. Ballots and counts are made anew from the events. How much there was is told by `evidence`, never by what was saved.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from data_recipes.collect.database import Database, create, remove, translated
from data_recipes.collect.entries import ENDING, fingerprint
from data_recipes.collect.evidence import Evidence
from data_recipes.collect.leaves import relink
from data_recipes.collect.log import entries_behind_damage
from data_recipes.errors import Failed, Refused
from data_recipes.files import move_in, sha256_json, sha256_text

PAGE_AT, COUNT_AT = 16, 28  # where an SQLite file's header holds page size and page count: sqlite.org/fileformat2.html
TABLES = ("meta", "guideline", "list", "prompt", "response", "annotator", "token", "member", "item", "assignment", "event")
# The settings and rows that others point to; a lost one is put back as a stand-in where that bends no vote.
DEFAULTS = {"acceptable": "false", "tags": "[]", "lease_seconds": "1800.0"}


def backup(database: Database, path: Path) -> Path:
    """A consistent copy under a temporary name, which takes its own name once it is whole. Raises Refused where it exists."""
    if path.exists():
        raise Refused("the file is there already", where=path, do="Choose another name.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with translated(path), contextlib.closing(sqlite3.connect(partial)) as target:
            database.reader().backup(target, pages=1000)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
        move_in(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def salvage(damaged: Path, output: Path) -> dict:
    """Saves what can be read of a collection into a new one.

    {"output", "tables": {name: {"saved", "dropped"}}, "lost": [sentences], "votes": {"saved", "before": at least so many,
    "complete": whether it is sure that none is lost or altered}}.

    The damaged file is not touched. Raises Refused where `output` exists, Failed where nothing can be read.
    """
    if not damaged.is_file():
        raise Refused("there is no such file", where=damaged)
    create(output)
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".salvage-") as folder, Database(output).closing() as whole:
            copy = _copy(damaged, Path(folder))
            behind = entries_behind_damage(Path(f"{copy}-wal"))
            mended = _relinked(copy, output)
            with contextlib.closing(_connect_raw(copy)) as source, whole.write() as db:
                evidence = Evidence(source, _most(copy.stat().st_size))
                evidence.unread |= mended  # what else lay on the lost pages nobody knows
                tables = {name: _save(evidence, db, name) for name in TABLES}
                for row in _rows(evidence, "ballot"):
                    evidence.saw("ballot", dict(row))
                lost = _lost(evidence, tables) + _mend(db, tables)
                if behind:
                    lost.append(f"the log {damaged.name}-wal is damaged: its last {behind} entries could not be taken in, and "
                                "votes that were only there are lost")
                ballots = _ballots(db)
                votes = _votes(evidence, db, tables["event"]["saved"])
                votes["complete"] &= not behind
    except BaseException:
        remove(output)
        raise
    return {"output": str(output), "tables": {**tables, "ballot": {"saved": ballots, "dropped": 0}}, "lost": lost,
            "votes": votes}


# -------------------------------------------------------------------------------------------------------------- reading


def _copy(damaged: Path, folder: Path) -> Path:
    for name in ("", "-wal"):
        if Path(f"{damaged}{name}").is_file():
            shutil.copyfile(f"{damaged}{name}", folder / f"copy.db{name}")
    return folder / "copy.db"


def _open_raw(copy: Path, whole: Path) -> sqlite3.Connection:
    """A connection to the damaged copy; where its list of tables is unreadable, a new collection's is put in its place."""
    with contextlib.suppress(sqlite3.Error):
        return _connect_raw(copy)
    pages = _schema_pages(whole)
    size = len(next(iter(pages.values())))
    with open(copy, "r+b") as file:
        count = max(1, os.fstat(file.fileno()).st_size // size)
        for number, page in pages.items():
            file.seek((number - 1) * size)
            file.write(page)
        file.seek(COUNT_AT)
        file.write(count.to_bytes(4, "big"))
    try:
        return _connect_raw(copy)
    except sqlite3.Error as error:
        raise Failed(f"nothing of it can be read: {error}", where=whole, do="Take your last backup.") from error


def _relinked(copy: Path, whole: Path) -> set[str]:
    """Makes the copy such that SQLite opens it, its log taken in; the tables to which lost pages of rows were given back."""
    with contextlib.closing(_open_raw(copy, whole)) as source:
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return relink(copy, whole)


def _connect_raw(copy: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(copy, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA cell_size_check = ON")
        found = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not set(TABLES) <= found:
            raise sqlite3.DatabaseError("tables are missing")
        return connection
    except sqlite3.Error:
        connection.close()
        raise


def _schema_pages(whole: Path) -> dict[int, bytes]:
    """The pages of a new collection that hold its list of tables: the first, and those that are no table's root.

    Every collection is made by the same script and never rebuilt, so they lie at the same place in the damaged one.
    """
    with contextlib.closing(sqlite3.connect(whole)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        roots = {row[0] for row in db.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0")}
        count = db.execute("PRAGMA page_count").fetchone()[0]
    data = whole.read_bytes()
    size = int.from_bytes(data[PAGE_AT:PAGE_AT + 2], "big")
    size = 65536 if size == 1 else size
    return {number: data[(number - 1) * size:number * size] for number in range(1, count + 1) if number not in roots}


def _most(size: int) -> int:
    """A bound on the row numbers in a file of so many bytes: they follow each other, and a row takes 32 bytes at least."""
    return 1 << (size // 32).bit_length()


def _rows(evidence: Evidence, table: str) -> Iterator[sqlite3.Row]:
    """All rows of a table that can be read, by row number; a range that fails is halved, and what is unread is noted."""
    if table == "meta":  # has no row numbers
        try:
            yield from evidence.source.execute("SELECT * FROM meta").fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            evidence.unread.add(table)
        return
    ranges = [(1, evidence.most)]
    while ranges:
        low, high = ranges.pop()
        try:
            yield from evidence.source.execute(f"SELECT * FROM {table} WHERE rowid BETWEEN ? AND ?", (low, high)).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            if low < high:
                middle = (low + high) // 2
                ranges += [(middle + 1, high), (low, middle)]
            else:
                evidence.unread.add(table)


# --------------------------------------------------------------------------------------------------------------- saving


def _save(evidence: Evidence, db: sqlite3.Connection, table: str) -> dict:
    """Copies a table's rows; what is altered, or points to what is lost, is dropped and counted."""
    saved = dropped = 0
    rows = _rows(evidence, table)
    if table == "item":  # a repeat points to an item whose number may be higher
        rows = sorted(rows, key=lambda row: row["of"] is not None)
    for row in rows:
        values = dict(row)
        evidence.saw(table, values)
        if table == "item":
            values["taken"] = 0  # the triggers count anew
        marks = ", ".join("?" * len(values))
        try:
            if not _whole(table, values, evidence.source):
                raise sqlite3.IntegrityError("the hash differs")
            if table == "item":
                _list_stand_in(db, values)
            if table in ("assignment", "event"):
                _stand_ins(db, values)
            db.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))
            saved += 1
        except (sqlite3.IntegrityError, sqlite3.InterfaceError):
            dropped += 1
    return {"saved": saved, "dropped": dropped}


def _whole(table: str, row: dict, source: sqlite3.Connection) -> bool:
    """Whether a row still has the content that its hash was made of."""
    if table == "prompt":
        return sha256_text(row["messages"]) == row["hash"]
    if table == "response":
        return sha256_json([row["text"], row["source"], row["made"]]) == row["hash"]
    if table != "event" or row["fingerprint"].startswith("erased:"):
        return True
    body = json.loads(row["body"])
    names = [None]  # an edit or a comment may have come without its lease
    with contextlib.suppress(sqlite3.DatabaseError):
        names += [found[0] for found in source.execute("SELECT name FROM assignment WHERE id = ?", (row["assignment"],))]
    lost = row["assignment"] is not None and len(names) == 1
    return lost or row["fingerprint"] in {fingerprint(row["kind"], row["item"], name, body) for name in names}


def _stand_ins(db: sqlite3.Connection, row: dict) -> None:
    """Puts a stand-in where a person, or an event's assignment, is lost: an event says itself which side was shown."""
    db.execute("INSERT OR IGNORE INTO annotator (id, name, role, active) VALUES (?, ?, 'annotator', 0)",
               (row["annotator"], f"lost-{row['annotator']}"))
    if row.get("assignment") is not None:
        db.execute(
            "INSERT OR IGNORE INTO assignment (id, name, item, annotator, swapped, strategy, probability, counted, at)"
            " SELECT ?, ?, id, ?, ?, 'unknown', 1, kind = 'normal', ? FROM item WHERE id = ?",
            (row["assignment"], f"lost-{row['assignment']}", row["annotator"], row["swapped"], row["at"], row["item"]))


def _list_stand_in(db: sqlite3.Connection, item: dict) -> None:
    """Puts a stand-in where an item's list is lost: its name is gone, and how its next items were chosen."""
    db.execute("INSERT OR IGNORE INTO list (id, name, overlap, choose, random_share, repeats, seed)"
               " VALUES (?, ?, ?, 'random', 1, 0, 0)", (item["list"], f"lost-{item['list']}", item["needed"]))


def _mend(db: sqlite3.Connection, tables: dict) -> list[str]:
    """Puts back what every collection has, and says what was put back."""
    if not tables["item"]["saved"]:
        raise Failed("no item can be read, and votes mean nothing without them", do="Take your last backup.")
    kept = {row[0] for row in db.execute("SELECT key FROM meta")}
    said = [f"meta: the setting {key} is lost and is {value} now" for key, value in DEFAULTS.items() if key not in kept]
    db.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", DEFAULTS.items())
    versions = {row[0] for row in db.execute("SELECT DISTINCT guideline FROM event")} | {1}
    for version in sorted(versions):
        db.execute("INSERT OR IGNORE INTO guideline VALUES (?, '(this version was lost)', 0)", (version,))
    return said


def _lost(evidence: Evidence, tables: dict) -> list[str]:
    """A sentence for each table of which rows are, or may be, missing."""
    said = []
    for name, count in tables.items():
        before, is_open = evidence.rows(name)
        missing = max(before - count["saved"], count["dropped"])
        why = f" ({count['dropped']} were altered, or belong to rows that are lost)" if count["dropped"] else ""
        more = ", and perhaps more: part of the table cannot be read" if is_open else ""
        if missing:
            said.append(f"{name}: {missing} of {max(before, missing)} rows are lost{why}{more}")
        elif is_open:
            said.append(f"{name}: part of the table cannot be read, and nothing tells whether rows were there")
    return said


def _votes(evidence: Evidence, db: sqlite3.Connection, events: int) -> dict:
    """How many votes were saved, of how many; complete where every event was: a lost undo alters votes, too."""
    saved, before = db.execute("SELECT count(*) FROM ballot WHERE kind = 'vote'").fetchone()[0], evidence.votes()
    expected, is_open = evidence.rows("event")
    complete = events >= expected and not is_open and saved >= before
    return {"saved": saved, "before": max(saved, before), "complete": complete}


def _ballots(db: sqlite3.Connection) -> int:
    """Makes the ballots anew: each person's last answer to each item that was not taken back."""
    marks = ", ".join("?" * len(ENDING))
    events = db.execute(
        "SELECT event.*, a.counted AS counts, a.settles FROM event JOIN assignment AS a ON a.id = event.assignment"
        f" WHERE kind IN ({marks}) AND NOT EXISTS (SELECT 1 FROM event AS u WHERE u.undoes = event.seq) ORDER BY seq", ENDING)
    made = 0
    for row in events.fetchall():
        room = db.execute("SELECT taken < needed FROM item WHERE id = ?", (row["item"],)).fetchone()[0]
        counted = row["kind"] == "vote" and row["counts"] and room
        values = (row["assignment"], row["item"], row["annotator"], row["seq"], row["kind"], int(bool(counted)), row["settles"])
        made += db.execute("INSERT OR IGNORE INTO ballot VALUES (?, ?, ?, ?, ?, ?, ?)", values).rowcount
    return made
