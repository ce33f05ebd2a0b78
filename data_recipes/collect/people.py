"""People of a collection: links, sessions, revoking, erasing. Inside a transaction of the caller's.

Tokens and session secrets are 32 random bytes; the file holds only their SHA-256, so that a copy of it opens no door.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3

from data_recipes.collect.model import ROLES, Annotator
from data_recipes.errors import Refused
from data_recipes.files import sha256_text

NAME = re.compile(r"[\w][\w .@-]{0,39}")
SESSION_SECONDS = 30 * 24 * 3600
LINKS_KEPT = 50
COLUMNS = "id, name, role, active, asked"


def check_name(name: str) -> str:
    """A pseudonym that can stand in a file, a table and a link's label. Raises Refused."""
    if not NAME.fullmatch(name) or name != name.strip():
        raise Refused(f"{name[:60]!r} cannot be a person's name here", where="--annotators",
                      expected="1 to 40 letters, digits, spaces or . @ - _, beginning with a letter or digit")
    return name


def everybody(db: sqlite3.Connection) -> list[Annotator]:
    """All people, in the order in which they came."""
    return [_person(row) for row in db.execute(f"SELECT {COLUMNS} FROM annotator ORDER BY id")]


def by_id(db: sqlite3.Connection, annotator_id: int) -> Annotator:
    """One person. Raises Refused where there is none."""
    row = db.execute(f"SELECT {COLUMNS} FROM annotator WHERE id = ?", (annotator_id,)).fetchone()
    if row is None:
        raise Refused(f"there is no person {annotator_id}", where="annotator")
    return _person(row)


def by_name(db: sqlite3.Connection, name: str) -> Annotator:
    """One person. Raises Refused with the names there are."""
    row = db.execute(f"SELECT {COLUMNS} FROM annotator WHERE name = ?", (name,)).fetchone()
    if row is None:
        names = ", ".join(person.name for person in everybody(db)) or "nobody yet"
        raise Refused(f"nobody is called {name[:60]!r} here", where="NAME", expected=f"one of: {names}")
    return _person(row)


def _person(row: sqlite3.Row) -> Annotator:
    return Annotator(row["id"], row["name"], row["role"], bool(row["active"]), bool(row["asked"]))


def add(db: sqlite3.Connection, name: str, role: str, *, asked: bool = True) -> Annotator:
    """A new person, or one of that name made active again. Raises Refused for a name with another role."""
    check_name(name)
    if role not in ROLES:
        raise Refused(f"there is no role {role!r}", where="role", expected=", ".join(ROLES))
    known = db.execute("SELECT id, role FROM annotator WHERE name = ?", (name,)).fetchone()
    if known is None:
        db.execute("INSERT INTO annotator (name, role, asked) VALUES (?, ?, ?)", (name, role, int(asked)))
    elif known["role"] != role:
        raise Refused(f"{name} is here already, as {known['role']}", where=name, do="Choose another name.")
    else:
        db.execute("UPDATE annotator SET active = 1 WHERE id = ?", (known["id"],))
    return by_name(db, name)


def new_token(db: sqlite3.Connection, name: str, now: float, *, ends_old: bool) -> str:
    """A new link's secret. ends_old: earlier links and all sessions of the person end; else the newest 50 links work on.

    Raises:
        Refused: the person takes no part any more.
    """
    person = by_name(db, name)
    if not person.active:
        raise Refused(f"{name} takes no part any more", where=name, do=f"Ask again with: align collect invite FILE {name}")
    token = secrets.token_urlsafe(32)
    if ends_old:
        _end_links(db, person.id)
    db.execute("INSERT INTO token VALUES (?, ?, ?)", (sha256_text(token), person.id, now))
    db.execute("DELETE FROM token WHERE annotator = :who AND rowid NOT IN"
               " (SELECT rowid FROM token WHERE annotator = :who ORDER BY rowid DESC LIMIT :kept)",
               {"who": person.id, "kept": LINKS_KEPT})
    return token


def _end_links(db: sqlite3.Connection, annotator_id: int) -> None:
    db.execute("DELETE FROM token WHERE annotator = ?", (annotator_id,))
    db.execute("DELETE FROM session WHERE annotator = ?", (annotator_id,))


def of_token(db: sqlite3.Connection, token: str) -> Annotator | None:
    """Whose link it is. The hash is looked up, so timing tells nothing about the secret."""
    row = db.execute("SELECT annotator.* FROM token JOIN annotator ON annotator.id = token.annotator WHERE hash = ? AND active",
                     (sha256_text(token),)).fetchone()
    return _person(row) if row else None


def close_session(db: sqlite3.Connection, secret: str) -> None:
    """Signs out: ends that one session."""
    db.execute("DELETE FROM session WHERE hash = ?", (sha256_text(secret),))


def open_session(db: sqlite3.Connection, annotator_id: int, now: float) -> str:
    """A new secret for the cookie; sessions that ran out are swept away."""
    person = by_id(db, annotator_id)
    secret = secrets.token_urlsafe(32)
    db.execute("DELETE FROM session WHERE at < ?", (now - SESSION_SECONDS,))
    db.execute("INSERT INTO session VALUES (?, ?, ?)", (sha256_text(secret), person.id, now))
    return secret


def of_session(db: sqlite3.Connection, secret: str, now: float) -> Annotator | None:
    """Whose cookie it is; None once it ran out or the person was revoked."""
    row = db.execute(
        "SELECT annotator.id, name, role, active, asked FROM session JOIN annotator ON annotator.id = session.annotator"
        " WHERE hash = ? AND active AND session.at >= ?", (sha256_text(secret), now - SESSION_SECONDS)).fetchone()
    return _person(row) if row else None


def revoke(db: sqlite3.Connection, name: str) -> Annotator:
    """Ends link, sessions and open tasks; the votes stay."""
    from data_recipes.collect.writing import give_back

    person = by_name(db, name)
    db.execute("UPDATE annotator SET active = 0 WHERE id = ?", (person.id,))
    _end_links(db, person.id)
    give_back(db, "annotator = ?", person.id)
    return by_id(db, person.id)


def erase(db: sqlite3.Connection, name: str, *, edits: bool) -> dict:
    """Removes name, comments and reasons (and edits); events keep their place, marked as erased. The votes stay."""
    person = revoke(db, name)
    kinds = ("comment", "skip", "flag", *(("edit",) if edits else ()))
    marks = ", ".join("?" * len(kinds))
    asked = f"SELECT seq, kind, body FROM event WHERE annotator = ? AND kind IN ({marks})"
    rows = db.execute(asked, (person.id, *kinds)).fetchall()
    texts = 0
    for row in rows:
        body = json.loads(row["body"])
        key = "reason" if "reason" in body else "text"
        texts += bool(body[key])
        # the fingerprint goes too: a hash of a short text can be guessed
        db.execute("UPDATE event SET body = ?, fingerprint = ? WHERE seq = ?",
                   (json.dumps({**body, key: "", "erased": True}, sort_keys=True), f"erased:{row['seq']}", row["seq"]))
    renamed = f"erased-{person.id}"
    db.execute("UPDATE annotator SET name = ? WHERE id = ?", (renamed, person.id))
    votes = db.execute("SELECT count(*) FROM ballot WHERE annotator = ? AND kind = 'vote'", (person.id,)).fetchone()[0]
    return {"was": name, "now": renamed, "texts": texts, "votes_kept": votes}
