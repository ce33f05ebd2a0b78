"""What a collection says: tasks, progress, votes, the lead's overview, events and their hash. Changes nothing."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import statistics
from collections import defaultdict
from typing import Any

from data_recipes.collect import assign
from data_recipes.collect.model import FLIPPED, Annotator, Guidelines, Progress, Task, Vote
from data_recipes.errors import Refused

PAGE = 1000  # events read at once
TEXTS = {"comment": ("text",), "skip": ("reason",), "flag": ("reason",)}  # free words, which erasing may remove


def task(db: sqlite3.Connection, assignment: int) -> Task:
    """What one assignment asks."""
    row = db.execute(
        "SELECT a.name, a.item, a.swapped, item.kind, messages, one.text AS first, two.text AS second FROM assignment AS a"
        " JOIN item ON item.id = a.item JOIN prompt ON prompt.id = item.prompt JOIN response AS one ON one.id = item.first"
        " JOIN response AS two ON two.id = item.second WHERE a.id = ?", (assignment,)).fetchone()
    left, right = (row["second"], row["first"]) if row["swapped"] else (row["first"], row["second"])
    return Task(row["name"], row["item"], tuple(json.loads(row["messages"])), left, right, row["kind"] == "training")


def guidelines(db: sqlite3.Connection, version: int | None) -> Guidelines:
    """One version of the guidelines; None: the newest. Raises Refused where there is no such version."""
    order = "ORDER BY version DESC LIMIT 1" if version is None else "AND version = :version"
    row = db.execute(f"SELECT version, text FROM guideline WHERE 1 {order}", {"version": version}).fetchone()
    if row is None:
        raise Refused(f"there is no version {version} of the guidelines", where="guideline")
    return Guidelines(row["version"], row["text"])


def has_training(db: sqlite3.Connection) -> bool:
    """Whether there is a training round."""
    return db.execute("SELECT 1 FROM item WHERE kind = 'training' LIMIT 1").fetchone() is not None


# ------------------------------------------------------------------------------------------------------------- progress


def progress(db: sqlite3.Connection, who: Annotator) -> Progress:
    """How far one person is; the total follows what others have taken meanwhile."""
    done = db.execute("SELECT count(*) FROM ballot WHERE annotator = ? AND NOT settles", (who.id,)).fetchone()[0]
    rest = sum(_rest(db, row, who) for row in assign.open_lists(db, who)) if who.active and who.asked else 0
    held = db.execute("SELECT name FROM lease JOIN assignment ON assignment.id = lease.assignment WHERE lease.annotator = ?"
                      " ORDER BY opened DESC LIMIT 1", (who.id,)).fetchone()
    paces = [row[0] for row in db.execute(
        "SELECT visible_ms FROM event WHERE annotator = ? AND kind = 'vote' ORDER BY seq DESC LIMIT 50", (who.id,))]
    seconds = statistics.median(paces) / 1000 * rest if paces else None
    return Progress(done, done + rest, seconds, held[0] if held else None)


def _rest(db: sqlite3.Connection, row: sqlite3.Row, who: Annotator) -> int:
    """How many tasks of a list are likely still to come to one person."""
    values = {"list": row["id"], "who": who.id}
    mine = "SELECT item FROM lease WHERE annotator = :who"
    free, slots = db.execute(f"SELECT count(*), coalesce(sum(needed - taken), 0) {assign.FREE} AND id NOT IN ({mine})",
                             values).fetchone()
    held = db.execute(f"SELECT count(*) FROM item WHERE list = :list AND kind = 'normal' AND id IN ({mine})",
                      values).fetchone()[0]
    share = assign.expected_share(db, row) - assign.done_of(db, row["id"], who.id, "normal")
    people = max(1, len(assign.people_of(db, row["id"])))
    normal = free + held
    if who.role != "judge":
        normal = min(normal, share if share > 0 else -(-(slots + held) // people))
    kinds = ("training", "gold") if normal else ("training",)
    special = sum(assign.count_of(db, row["id"], kind) - assign.done_of(db, row["id"], who.id, kind) for kind in kinds)
    due = db.execute(f"SELECT count(*) FROM ({assign.REPEAT})", values).fetchone()[0]
    return normal + special + due + round(row["repeats"] * normal)


MINE = """
SELECT event.*, messages, one.text AS first, two.text AS second,
    EXISTS (SELECT 1 FROM event AS u WHERE u.undoes = event.seq) AS undone
FROM event JOIN item ON item.id = event.item JOIN prompt ON prompt.id = item.prompt JOIN response AS one ON one.id = item.first
    JOIN response AS two ON two.id = item.second
WHERE event.annotator = ? AND event.kind <> 'undo' ORDER BY event.seq DESC LIMIT ?
"""


def mine(db: sqlite3.Connection, who: int, limit: int) -> list[dict]:
    """A person's last entries but undos, newest first, as they were on the screen."""
    return [{**{key: row[key] for key in ("client_id", "kind", "item", "at", "visible_ms")}, "body": json.loads(row["body"]),
             "undone": bool(row["undone"]), "messages": (messages := json.loads(row["messages"])),
             "prompt": messages[-1]["content"], "left": row["second" if row["swapped"] else "first"],
             "right": row["first" if row["swapped"] else "second"]}
            for row in db.execute(MINE, (who, limit))]


# ---------------------------------------------------------------------------------------------------------------- votes

VOTES = """
SELECT event.*, annotator.name, annotator.role, ballot.counted >= a.counted AS counted, a.strategy, a.probability, a.settles,
    item.kind AS item_kind, item.of, item.expected, item.words, list.name AS list, prompt.hash AS prompt_hash,
    one.text AS first, two.text AS second, one.source AS source_first, two.source AS source_second
FROM ballot JOIN event ON event.seq = ballot.event JOIN assignment AS a ON a.id = ballot.assignment
    JOIN annotator ON annotator.id = ballot.annotator JOIN item ON item.id = ballot.item JOIN list ON list.id = item.list
    JOIN prompt ON prompt.id = item.prompt JOIN response AS one ON one.id = item.first
    JOIN response AS two ON two.id = item.second
WHERE ballot.kind = 'vote' AND (:list IS NULL OR list.name = :list) ORDER BY item.id, event.seq
"""


def votes(db: sqlite3.Connection, list_name: str | None) -> list[Vote]:
    """All current votes in canonical order, also late ones without a place. Raises Refused for an unknown list."""
    names = [row[0] for row in db.execute("SELECT name FROM list ORDER BY id")]
    if list_name is not None and list_name not in names:
        raise Refused(f"there is no list {list_name!r}", where="--list", expected=f"one of: {', '.join(names)}")
    beside = _beside(db)
    return [_vote(row, beside.get((row["item"], row["annotator"]), {})) for row in db.execute(VOTES, {"list": list_name})]


BESIDE = """
SELECT * FROM event
WHERE kind IN ('comment', 'edit') AND NOT EXISTS (SELECT 1 FROM event AS u WHERE u.undoes = event.seq) ORDER BY event.seq
"""


def _beside(db: sqlite3.Connection) -> dict[tuple[int, int], dict[str, Any]]:
    """Each person's last comment and last edit on each item that stand."""
    found: dict[tuple[int, int], dict[str, Any]] = defaultdict(dict)
    for row in db.execute(BESIDE):
        body = json.loads(row["body"])
        if not body.get("erased"):
            value = body["text"] if row["kind"] == "comment" else (canonical(body["side"], row["swapped"]), body["text"])
            found[row["item"], row["annotator"]][row["kind"]] = value
    return found


def canonical(side: str, swapped: bool) -> str:
    """`left` or `right` as first or second; what is no side stays."""
    name = {"left": "first", "right": "second"}.get(side, side)
    return FLIPPED.get(name, name) if swapped else name


def _vote(row: sqlite3.Row, beside: dict[str, Any]) -> Vote:
    body = json.loads(row["body"])
    verdict = canonical(body["choice"], row["swapped"])
    sign = {"first": -1, "second": 1}.get(verdict, 0)
    asked = body["acceptable"] or {"left": None, "right": None}
    acceptable = tuple(asked[side] for side in (("right", "left") if row["swapped"] else ("left", "right")))
    sources = (row["source_first"], row["source_second"])
    return Vote(
        row["name"], row["role"], row["item"], row["list"], row["item_kind"], row["of"], row["expected"],
        row["prompt_hash"][:16], sources if all(sources) else None, row["first"], row["second"],
        sign * (body["strength"] or 1), verdict, acceptable, bool(row["swapped"]), row["visible_ms"], row["words"],
        row["guideline"], row["at"], row["client_id"], tuple(body["tags"]), beside.get("comment"), beside.get("edit"),
        bool(row["settles"]), row["strategy"], row["probability"], bool(row["counted"]))


# ------------------------------------------------------------------------------------------------------------- overview


def lists(db: sqlite3.Connection) -> list[dict]:
    """Settings and counts of all lists. people: how many are asked. complete: items with all the votes that were asked for."""
    found = []
    for row in db.execute("SELECT * FROM list ORDER BY id").fetchall():
        counts = dict(db.execute("SELECT kind, count(*) FROM item WHERE list = ? GROUP BY kind", (row["id"],)).fetchall())
        votes, complete = db.execute(
            "SELECT coalesce(sum(n), 0), coalesce(sum(n >= needed), 0) FROM (SELECT needed, (SELECT count(*) FROM ballot WHERE"
            " ballot.item = item.id AND ballot.kind = 'vote' AND counted) AS n FROM item WHERE list = ? AND kind = 'normal')",
            (row["id"],)).fetchone()
        settings = {key: row[key] for key in ("name", "overlap", "choose", "random_share", "repeats", "seed")}
        found.append({**settings, "open": bool(row["open"]), "people": len(assign.people_of(db, row["id"])), "items": counts,
                      "votes": votes, "votes_asked": counts.get("normal", 0) * row["overlap"], "complete": complete})
    return found


def overview(db: sqlite3.Connection) -> dict:
    """For the lead: lists, people, items whose votes disagree, flags, skips, items that nobody is left for."""
    from data_recipes.collect.people import everybody

    people = [_about(db, person) for person in everybody(db)]
    return {"lists": lists(db), "people": people, "disagreements": _disagreements(db), "flags": _reasons(db, "flag"),
            "skips": _reasons(db, "skip"), "stuck": _stuck(db)}


def _about(db: sqlite3.Connection, person: Annotator) -> dict:
    counts = dict(db.execute("SELECT kind, count(*) FROM ballot WHERE annotator = ? GROUP BY kind", (person.id,)).fetchall())
    seconds, last = db.execute("SELECT coalesce(sum(visible_ms), 0) / 1000.0, max(at) FROM event WHERE annotator = ?",
                               (person.id,)).fetchone()
    now = progress(db, person)
    return {"id": person.id, "name": person.name, "role": person.role, "active": person.active, "votes": counts.get("vote", 0),
            "skips": counts.get("skip", 0), "flags": counts.get("flag", 0), "seconds": seconds, "last": last,
            "done": now.done, "total": now.total, "seconds_left": now.seconds_left}


def _disagreements(db: sqlite3.Connection) -> list[dict]:
    """Items on which the sign of people's votes differs, and whether a lead has settled them."""
    by_item: dict[int, list[Vote]] = defaultdict(list)
    for vote in votes(db, None):
        if vote.kind == "normal" and vote.role != "judge":
            by_item[vote.item].append(vote)
    found = []
    for item, cast in by_item.items():
        own = [vote for vote in cast if not vote.settles]
        if len({(vote.signed > 0) - (vote.signed < 0) for vote in own}) > 1:
            shown = [{key: getattr(vote, key) for key in ("annotator", "verdict", "signed", "comment")} for vote in own]
            found.append({"item": item, "list": own[0].list, "first": own[0].first, "second": own[0].second, "votes": shown,
                          "settled": next((vote.verdict for vote in cast if vote.settles), None)})
    return found


def _reasons(db: sqlite3.Connection, kind: str) -> list[dict]:
    rows = db.execute("SELECT name, event.item, body FROM ballot JOIN event ON event.seq = ballot.event JOIN annotator"
                      " ON annotator.id = ballot.annotator WHERE ballot.kind = ? ORDER BY seq", (kind,))
    return [{"annotator": row["name"], "item": row["item"], "reason": json.loads(row["body"])["reason"]} for row in rows]


def _stuck(db: sqlite3.Connection) -> list[int]:
    """Open items with more free places than active people who could still take one."""
    found = []
    for row in db.execute("SELECT * FROM list WHERE open").fetchall():
        asked = assign.people_of(db, row["id"])
        these = f"item = item_id AND annotator IN ({', '.join('?' * len(asked))})"
        busy = f"SELECT annotator FROM ballot WHERE NOT settles AND {these} UNION SELECT annotator FROM lease WHERE {these}"
        items = db.execute(
            "SELECT item_id FROM (SELECT id AS item_id, needed - taken AS free FROM item WHERE list = ? AND kind = 'normal'"
            f" AND taken < needed) WHERE free > ? - (SELECT count(*) FROM ({busy})) ORDER BY item_id",
            (row["id"], len(asked), *asked, *asked))
        found += [item[0] for item in items]
    return found


# --------------------------------------------------------------------------------------------------------------- events

EVENTS = """
SELECT seq, event.client_id, annotator.name AS annotator, annotator.role, event.annotator AS annotator_id, event.kind,
    event.item, list.name AS list, item.kind AS item_kind, item.of, item.hash AS item_hash, event.swapped, a.strategy,
    a.probability, a.settles, event.body, event.visible_ms, event.guideline, event.at, event.undoes
FROM event JOIN annotator ON annotator.id = event.annotator JOIN item ON item.id = event.item JOIN list ON list.id = item.list
    LEFT JOIN assignment AS a ON a.id = event.assignment
WHERE seq > ? ORDER BY seq LIMIT ?
"""


def events(db: sqlite3.Connection, after: int, limit: int = PAGE) -> list[dict]:
    """A page of events, with what belongs to them."""
    return [{**dict(row), "body": json.loads(row["body"])} for row in db.execute(EVENTS, (after, limit))]


def events_hash(db: sqlite3.Connection) -> str:
    """SHA-256 over all events in order, without names, times and free words."""
    digest, after = hashlib.sha256(), 0
    while page := events(db, after):
        for event in page:
            digest.update(json.dumps(_essence(event), sort_keys=True, ensure_ascii=False).encode())
        after = page[-1]["seq"]
    return digest.hexdigest()


def _essence(event: dict) -> dict:
    left_out = {"annotator", "at", "visible_ms"}
    words = TEXTS.get(event["kind"], ())
    body = {key: value for key, value in event["body"].items() if key not in words and key != "erased"}
    return {**{key: value for key, value in event.items() if key not in left_out}, "body": body}
