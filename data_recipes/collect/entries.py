"""What one person sends becomes an event, once; inside a transaction of the caller's.

A client id that comes again with the same content gets the very reply that it got first, whether after a double click, a
time-out or a restart. Events are only ever added; a ballot is what an event means for its item now.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from data_recipes.collect.model import CHOICES, ENTRY_KINDS, FLIPPED, Annotator, Conflict, Entry
from data_recipes.errors import Refused
from data_recipes.files import sha256_json

ENDING = ("vote", "skip", "flag")  # what ends a task
LONGEST = 200_000  # characters of an edit; comments and reasons take 5,000
SHORT = 5_000
MAX_MS = 24 * 3600 * 1000


def record(db: sqlite3.Connection, who: Annotator, entry: Entry, now: float, lease_seconds: float) -> dict:
    """Stores one entry and gives its reply, {"ok", "event", "counted", ...}.

    Raises:
        Conflict: another body under a known client id, or an item that this person answered already.
        Refused: an entry that makes no sense.
    """
    body = checked(entry)
    mark = fingerprint(entry.kind, entry.item, entry.lease, body)
    if (known := _known(db, who, entry, mark)) is not None:
        return known
    _check_state(db, who, entry, body)
    assignment = None if entry.kind == "undo" else _assignment(db, who, entry)
    undone = _undone(db, who, entry, body) if entry.kind == "undo" else None
    seq = db.execute("SELECT coalesce(max(seq), 0) + 1 FROM event").fetchone()[0]
    reply = _reply(db, entry, body, seq, assignment, undone)
    place = (assignment["id"], assignment["swapped"]) if assignment else (None, None)
    db.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (
        seq, who.id, entry.client_id, entry.kind, entry.item, *place, _json(body), entry.visible_ms, entry.guideline, now, mark,
        _json(reply), undone["seq"] if undone else None))
    if undone:
        _take_back(db, undone, now + lease_seconds)
    elif entry.kind in ENDING:
        _cast(db, who, entry.kind, seq, assignment, bool(reply["counted"] and assignment["counted"]))
    return reply


def fingerprint(kind: str, item: int, lease: str | None, body: dict) -> str:
    """What makes two entries the same act; the time on the page is no part of it."""
    return sha256_json([kind, item, lease, body])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _known(db: sqlite3.Connection, who: Annotator, entry: Entry, mark: str) -> dict | None:
    row = db.execute("SELECT fingerprint, reply FROM event WHERE annotator = ? AND client_id = ?",
                     (who.id, entry.client_id)).fetchone()
    if row is None:
        return None
    if row["fingerprint"] != mark:
        raise Conflict("another entry has the same client id", where=entry.client_id, expected="a new id for a new act")
    return json.loads(row["reply"])


def _check_state(db: sqlite3.Connection, who: Annotator, entry: Entry, body: dict) -> None:
    """Refuses what does not fit this collection."""
    if not who.active:
        raise Refused("this person takes no part any more", where=who.name)
    if not db.execute("SELECT 1 FROM guideline WHERE version = ?", (entry.guideline,)).fetchone():
        raise Refused(f"there is no version {entry.guideline} of the guidelines", where="guideline")
    if body.get("tags"):
        known = json.loads(db.execute("SELECT value FROM meta WHERE key = 'tags'").fetchone()[0])
        if strange := sorted(set(body["tags"]) - set(known)):
            raise Refused(f"there is no tag {strange[0][:60]!r} here", where="tags", expected=", ".join(known) or "no tags")


def _assignment(db: sqlite3.Connection, who: Annotator, entry: Entry) -> sqlite3.Row:
    """The assignment an entry belongs to: by its lease, or, for an edit or a comment without one, the last on that item."""
    ends = entry.kind in ENDING
    sql = ("SELECT assignment.*, item.kind, item.needed, item.taken, item.expected, item.why FROM assignment"
           " JOIN item ON item.id = assignment.item WHERE assignment.annotator = ? AND assignment.item = ?")
    values: tuple = (who.id, entry.item)
    if entry.lease is not None or ends:
        sql, values = f"{sql} AND assignment.name = ?", (*values, entry.lease)
    row = db.execute(f"{sql} ORDER BY assignment.id DESC LIMIT 1", values).fetchone()
    if row is None:
        raise Refused("this item was not given to this person under this lease", where=f"item {entry.item}",
                      expected="the lease that came with the task")
    if ends and db.execute("SELECT 1 FROM ballot WHERE item = ? AND annotator = ? AND settles = ?",
                           (entry.item, who.id, row["settles"])).fetchone():
        raise Conflict("this person has answered this item already", where=f"item {entry.item}",
                       do="Undo the answer first, to give another.")
    return row


def _undone(db: sqlite3.Connection, who: Annotator, entry: Entry, body: dict) -> sqlite3.Row:
    """The event that an undo takes back."""
    row = db.execute("SELECT * FROM event WHERE annotator = ? AND client_id = ?", (who.id, body["event"])).fetchone()
    if row is None or row["kind"] == "undo" or row["item"] != entry.item:
        raise Refused("there is no such entry of this person to take back", where=str(body["event"])[:80])
    if db.execute("SELECT 1 FROM event WHERE undoes = ?", (row["seq"],)).fetchone():
        raise Conflict("this entry was taken back already", where=str(body["event"])[:80])
    closed = db.execute("SELECT 1 FROM list JOIN item ON item.list = list.id WHERE item.id = ? AND NOT list.open",
                        (row["item"],)).fetchone()
    if closed and row["kind"] in ENDING:
        raise Refused("the list is closed, so an answer cannot be taken back any more", where=f"item {row['item']}")
    return row


def _reply(db: sqlite3.Connection, entry: Entry, body: dict, seq: int, assignment: sqlite3.Row | None,
           undone: sqlite3.Row | None) -> dict:
    """What the client is told; kept, so that a repetition is told the same."""
    reply: dict[str, Any] = {"ok": True, "event": entry.client_id, "kind": entry.kind, "item": entry.item, "number": seq}
    if entry.kind in ENDING:
        # also True for what never takes a place (gold, repeats): the reply must not tell them apart
        reply["counted"] = entry.kind == "vote" and (not assignment["counted"] or _has_room(db, assignment))
        training = entry.kind == "vote" and assignment["kind"] == "training"
        reply["feedback"] = _feedback(assignment, body) if training else None
    if undone is not None:
        reply["undone"] = {"event": undone["client_id"], "kind": undone["kind"]}
    return reply


def _has_room(db: sqlite3.Connection, assignment: sqlite3.Row) -> bool:
    """Whether a vote counts: its own live lease holds its place; without one (it ran out), only if a place is free."""
    held = db.execute("SELECT 1 FROM lease WHERE item = ? AND annotator = ? AND counted",
                      (assignment["item"], assignment["annotator"])).fetchone()
    return bool(held) or assignment["taken"] < assignment["needed"]


def _feedback(assignment: sqlite3.Row, body: dict) -> dict:
    """What a training vote is told: the verdict expected, on the screen, and why."""
    expected = assignment["expected"]
    screen = {"first": "left", "second": "right"}.get(expected, expected)
    screen = FLIPPED.get(screen, screen) if assignment["swapped"] else screen
    return {"expected": screen, "right": body["choice"] == screen, "text": assignment["why"]}


def _cast(db: sqlite3.Connection, who: Annotator, kind: str, seq: int, assignment: sqlite3.Row, counted: bool) -> None:
    db.execute("DELETE FROM lease WHERE item = ? AND annotator = ? AND assignment IN"
               " (SELECT id FROM assignment WHERE settles = ?)", (assignment["item"], who.id, assignment["settles"]))
    db.execute("INSERT INTO ballot VALUES (?, ?, ?, ?, ?, ?, ?)", (
        assignment["id"], assignment["item"], who.id, seq, kind, int(counted), assignment["settles"]))
    if not counted:
        promote(db, assignment["item"])


def _take_back(db: sqlite3.Connection, event: sqlite3.Row, expires: float) -> None:
    """Removes what the event meant; a task that it ended is open again, on the same sides and in the same place."""
    ballot = db.execute("SELECT * FROM ballot WHERE event = ?", (event["seq"],)).fetchone()
    if ballot is None:
        return
    db.execute("DELETE FROM ballot WHERE event = ?", (event["seq"],))
    counted = ballot["counted"] or ballot["kind"] != "vote" and _free(db, ballot)
    hold(db, ballot["assignment"], ballot["item"], ballot["annotator"], int(counted), expires)


def hold(db: sqlite3.Connection, assignment: int, item: int, who: int, counted: int, expires: float) -> None:
    """Opens a lease, as the last one that was opened."""
    db.execute("INSERT INTO lease VALUES (?, ?, ?, ?, ?, (SELECT coalesce(max(opened), 0) + 1 FROM lease))",
               (assignment, item, who, counted, expires))


def _free(db: sqlite3.Connection, ballot: sqlite3.Row) -> bool:
    """Whether somebody who skipped, and now takes it back, finds a place that counts."""
    return bool(db.execute("SELECT 1 FROM item JOIN assignment ON assignment.id = ? WHERE item.id = ? AND assignment.counted"
                           " AND taken < needed", (ballot["assignment"], ballot["item"])).fetchone())


def promote(db: sqlite3.Connection, item: int) -> None:
    """Lets votes that came too late count where a place is free, the earliest first."""
    waiting = db.execute(
        "SELECT ballot.assignment FROM ballot JOIN assignment ON assignment.id = ballot.assignment WHERE ballot.item = ?"
        " AND ballot.kind = 'vote' AND NOT ballot.counted AND assignment.counted ORDER BY ballot.event", (item,)).fetchall()
    for row in waiting:
        db.execute("UPDATE ballot SET counted = 1 WHERE assignment = ? AND (SELECT taken < needed FROM item WHERE id = ?)",
                   (row[0], item))


# ------------------------------------------------------------------------------------------------------------- checking


def checked(entry: Entry) -> dict:
    """The entry's body with only what belongs there. Raises Refused, naming what is wrong."""
    if entry.kind not in ENTRY_KINDS:
        raise _wrong("kind", f"one of {', '.join(ENTRY_KINDS)}")
    if not isinstance(entry.client_id, str) or not 1 <= len(entry.client_id) <= 100:
        raise _wrong("client_id", "1 to 100 characters")
    if type(entry.item) is not int or not (entry.lease is None or isinstance(entry.lease, str)):
        raise _wrong("item", "the item and the lease that came with the task")
    if type(entry.visible_ms) is not int or not 0 <= entry.visible_ms <= MAX_MS:
        raise _wrong("visible_ms", "milliseconds within a day")
    if type(entry.guideline) is not int or not isinstance(entry.body, dict):
        raise _wrong("body", "an object, and the version of the guidelines as a number")
    return CHECKS[entry.kind](entry.body)


def _wrong(where: str, expected: str) -> Refused:
    return Refused("the entry cannot be taken", where=where, expected=expected)


def _text(body: dict, key: str, longest: int, *, empty: bool = False) -> str:
    value = body.get(key, "" if empty else None)
    if not isinstance(value, str) or len(value) > longest or not (empty or value.strip()):
        raise _wrong(key, f"text of at most {longest:,} characters")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # a lone surrogate would be refused by the disk, later
        raise _wrong(key, "characters that UTF-8 can write") from error
    return value


def _vote(body: dict) -> dict:
    choice, strength, acceptable = body.get("choice"), body.get("strength"), body.get("acceptable")
    if choice not in CHOICES:
        raise _wrong("choice", f"one of {', '.join(CHOICES)}")
    if choice not in FLIPPED:
        strength = None
    elif not (strength is None or type(strength) is int and 1 <= strength <= 4):
        raise _wrong("strength", "1 to 4, or null")
    sides = isinstance(acceptable, dict) and set(acceptable) == {"left", "right"}
    if acceptable is not None and not (sides and all(type(value) is bool for value in acceptable.values())):
        raise _wrong("acceptable", '{"left": true or false, "right": true or false}, or null')
    tags = body.get("tags") or []
    if not isinstance(tags, list) or len(tags) > 50 or not all(isinstance(tag, str) and len(tag) <= 100 for tag in tags):
        raise _wrong("tags", "a list of short texts")
    return {"choice": choice, "strength": strength, "acceptable": acceptable, "tags": sorted(set(tags))}


def _edit(body: dict) -> dict:
    if body.get("side") not in ("left", "right"):
        raise _wrong("side", "left or right")
    return {"side": body["side"], "text": _text(body, "text", LONGEST)}


CHECKS = {
    "vote": _vote,
    "edit": _edit,
    "skip": lambda body: {"reason": _text(body, "reason", SHORT, empty=True)},
    "flag": lambda body: {"reason": _text(body, "reason", SHORT, empty=True)},
    "comment": lambda body: {"text": _text(body, "text", SHORT)},
    "undo": lambda body: {"event": _text(body, "event", 100)},
}
