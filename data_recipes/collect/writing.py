"""What changes a collection apart from entries: making it, lists, leases. Inside a transaction of the caller's."""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
from dataclasses import replace

from data_recipes.collect import assign as choosing
from data_recipes.collect import people
from data_recipes.collect.entries import hold, promote
from data_recipes.collect.items import word_count
from data_recipes.collect.model import STRATEGIES, VERDICTS, Annotator, Answer, Item, ListPlan, Plan
from data_recipes.errors import Refused
from data_recipes.files import sha256_json, sha256_text

# ----------------------------------------------------------------------------------------------------------- a new file


def check(plan: Plan) -> None:
    """Refuses a plan that makes no sense, before a file is made."""
    names = [*plan.people, *(name for name in plan.leads if name not in plan.people)]
    for name in names:
        people.check_name(name)
    if repeated := next((name for name in plan.people if plan.people.count(name) > 1), None):
        raise Refused(f"{repeated} stands twice among the people", where="--annotators")
    if len(set(plan.tags)) != len(plan.tags) or not all(tag.strip() for tag in plan.tags):
        raise Refused("a reason tag is empty or stands twice", where="--tags")
    if plan.lease_seconds < 1:
        raise Refused("a task must stay with a person for a second at least", where="--lease")
    for one in plan.lists:
        check_list(one, len([name for name in plan.people if not one.people or name in one.people]))


def check_list(plan: ListPlan, asked: int) -> None:
    """Refuses a list that nobody could finish. asked: how many people it is meant for."""
    if not 1 <= plan.overlap:
        raise Refused(f"overlap cannot be {plan.overlap}", where="--overlap", expected="1 or more")
    if asked and plan.overlap > asked:
        raise Refused(f"each item is to be seen by {plan.overlap} people, and the list has {asked}", where="--overlap",
                      do="Add people or lower the overlap; nobody sees an item twice.")
    if plan.choose not in STRATEGIES:
        raise Refused(f"there is no way to choose called {plan.choose!r}", where="--choose", expected=", ".join(STRATEGIES))
    if not 0 < plan.random_share <= 1:
        raise Refused(f"the random share cannot be {plan.random_share}", where="--random-share", expected="above 0, at most 1",
                      do="Only a random share gives estimates that no choice has bent.")
    if not 0 <= plan.repeats <= 1:
        raise Refused(f"the share of repeats cannot be {plan.repeats}", where="--repeats", expected="0 to 1")
    _check_scores(plan)


def _check_scores(plan: ListPlan) -> None:
    column = {"disagreement": "disagreement", "gap": "gap", "mix": "disagreement"}.get(plan.choose)
    normal = [item for item in plan.items if item.kind == "normal"]
    if column and normal and all(getattr(item, column) is None for item in normal):
        raise Refused(f"--choose {plan.choose} needs scores, and no item has them", where=normal[0].where,
                      expected='a column "scores": one list for each scorer, with one number for each response',
                      do="Give it for some items at least, or choose at random.")
    told = (item for item in plan.items if item.kind in ("gold", "training"))
    if bad := next((item for item in told if item.expected not in VERDICTS), None):
        raise Refused(f"a {bad.kind} item has no verdict expected", where=bad.where,
                      expected=f'"expected": {", ".join(VERDICTS)}')


def begin(db: sqlite3.Connection, plan: Plan, now: float) -> None:
    """Fills a new file."""
    settings = {"acceptable": plan.acceptable, "tags": list(plan.tags), "lease_seconds": plan.lease_seconds}
    db.executemany("INSERT INTO meta VALUES (?, ?)", [(key, json.dumps(value)) for key, value in settings.items()])
    add_guidelines(db, plan.guidelines, now)
    for name in plan.people:
        people.add(db, name, "lead" if name in plan.leads else "annotator")
    for name in plan.leads:
        if name not in plan.people:
            people.add(db, name, "lead", asked=False)
    for one in plan.lists:
        add_list(db, one)


def setting(db: sqlite3.Connection, key: str) -> str:
    """One setting, as JSON text."""
    return db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]


def add_guidelines(db: sqlite3.Connection, text: str, now: float) -> int:
    """A new version, or the last one where the text is the same."""
    last = db.execute("SELECT version, text FROM guideline ORDER BY version DESC LIMIT 1").fetchone()
    if last is not None and last["text"] == text:
        return last["version"]
    version = last["version"] + 1 if last else 1
    db.execute("INSERT INTO guideline VALUES (?, ?, ?)", (version, text, now))
    return version


# ---------------------------------------------------------------------------------------------------------------- lists


def add_list(db: sqlite3.Connection, plan: ListPlan) -> dict:
    """Makes a list or adds to it. Items that it has already (either way round) are counted as known."""
    row = db.execute("SELECT * FROM list WHERE name = ?", (plan.name,)).fetchone()
    if row is None:
        people.check_name(plan.name)
        check_list(plan, len(plan.people) or len(choosing.people_of(db, -1)))
        db.execute("INSERT INTO list (name, overlap, choose, random_share, repeats, seed) VALUES (?, ?, ?, ?, ?, ?)",
                   (plan.name, plan.overlap, plan.choose, plan.random_share, plan.repeats, plan.seed))
        row = db.execute("SELECT * FROM list WHERE name = ?", (plan.name,)).fetchone()
        for name in plan.people:
            db.execute("INSERT INTO member VALUES (?, ?)", (row["id"], people.by_name(db, name).id))
    else:
        _check_scores(plan)
    fresh = list({(_key(item)[1], item.kind): item for item in unknown(db, plan).items}.values())
    draw = random.Random(f"{row['seed']}:{len(fresh)}")
    normal = [at for at, item in enumerate(fresh) if item.kind == "normal"]
    twins = sorted(draw.sample(normal, round(row["repeats"] * len(normal))))
    numbers = _numbers(db, [item.kind == "normal" for item in fresh] + [False] * len(twins), draw)
    for number, item in zip(numbers, fresh, strict=False):
        _add_item(db, row, number, item)
    for number, at in zip(numbers[len(fresh):], twins, strict=True):
        _add_repeat(db, number, numbers[at])
    return {"list": plan.name, "added": len(fresh), "known": len(plan.items) - len(fresh), "repeats": len(twins)}


def _numbers(db: sqlite3.Connection, normal: list[bool], draw: random.Random) -> list[int]:
    """Numbers for new items: normal ones in their order, the others anywhere between, since a page may show a number."""
    first = db.execute("SELECT coalesce(max(id), 0) + 1 FROM item").fetchone()[0]
    places = draw.sample(range(first, first + len(normal)), normal.count(False))
    rest = iter(sorted(set(range(first, first + len(normal))) - set(places)))
    special = iter(places)
    return [next(rest) if is_normal else next(special) for is_normal in normal]


def _add_item(db: sqlite3.Connection, row: sqlite3.Row, number: int, item: Item) -> None:
    messages, key = _key(item)
    prompt = _once(db, "prompt", sha256_text(messages), messages=messages)
    first, second = (_answer(db, answer) for answer in (item.first, item.second))
    texts = [message["content"] for message in item.messages] + [item.first.text, item.second.text]
    needed = row["overlap"] if item.kind == "normal" else 0
    rank = int(choosing.unit(row["seed"], "rank", key) * 2**31)
    db.execute(
        "INSERT INTO item (id, list, kind, prompt, first, second, expected, why, needed, rank, stratum, disagreement, gap,"
        " words, extra, origin, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (number, row["id"], item.kind, prompt, first, second, item.expected, item.why, needed, rank, item.stratum,
         item.disagreement, item.gap, sum(map(word_count, texts)),
         json.dumps(item.extra, ensure_ascii=False, sort_keys=True), item.where, key))


def _add_repeat(db: sqlite3.Connection, number: int, of: int) -> None:
    """A twin of an item, which comes back to whoever answered that."""
    db.execute(
        "INSERT INTO item (id, list, kind, prompt, first, second, of, needed, rank, stratum, words, extra, origin, hash)"
        " SELECT ?, list, 'repeat', prompt, first, second, id, 0, rank, stratum, words, extra, origin, hash FROM item"
        " WHERE id = ?", (number, of))


def _key(item: Item) -> tuple[str, str]:
    """An item's messages as text, and its hash, which is the same whichever answer is first."""
    messages = json.dumps(list(item.messages), ensure_ascii=False, sort_keys=True)
    return messages, sha256_json([messages, *sorted((item.first.text, item.second.text))])


def _knows(db: sqlite3.Connection, list_id: int, item: Item) -> bool:
    return db.execute("SELECT 1 FROM item WHERE list = ? AND hash = ? AND kind = ?",
                      (list_id, _key(item)[1], item.kind)).fetchone() is not None


def unknown(db: sqlite3.Connection, plan: ListPlan) -> ListPlan:
    """A plan with only the items that its list has not."""
    row = db.execute("SELECT id FROM list WHERE name = ?", (plan.name,)).fetchone()
    return plan if row is None else replace(plan, items=tuple(item for item in plan.items if not _knows(db, row[0], item)))


def _answer(db: sqlite3.Connection, answer: Answer) -> int:
    made = json.dumps(answer.made, ensure_ascii=False, sort_keys=True)
    key = sha256_json([answer.text, answer.source, made])
    return _once(db, "response", key, text=answer.text, source=answer.source, made=made)


def _once(db: sqlite3.Connection, table: str, key: str, **values) -> int:
    """The id of a row by its hash; made where it is not there."""
    row = db.execute(f"SELECT id FROM {table} WHERE hash = ?", (key,)).fetchone()
    if row:
        return row[0]
    marks = ", ".join("?" * (len(values) + 1))
    return db.execute(f"INSERT INTO {table} (hash, {', '.join(values)}) VALUES ({marks})", (key, *values.values())).lastrowid


def set_open(db: sqlite3.Connection, name: str | None, is_open: bool) -> list[str]:
    """Opens or closes lists; closing gives nobody anything new. Raises Refused for an unknown list."""
    names = [row[0] for row in db.execute("SELECT name FROM list ORDER BY id")]
    if name is not None and name not in names:
        raise Refused(f"there is no list {name!r}", where="--list", expected=f"one of: {', '.join(names)}")
    chosen = names if name is None else [name]
    db.executemany("UPDATE list SET open = ? WHERE name = ?", [(int(is_open), one) for one in chosen])
    return chosen


# --------------------------------------------------------------------------------------------------------------- leases


def assign(db: sqlite3.Connection, who: Annotator, choice: choosing.Choice, now: float, seconds: float) -> int:
    """Gives an item to a person; the assignment's id."""
    row = _kind_and_seed(db, choice.item)
    swapped = choosing.side(db, choice.item, who, row["seed"])
    counted = int(who.role != "judge" and row["kind"] == "normal")
    return _hold(db, who, choice, swapped, counted, 0, now, seconds)


def _kind_and_seed(db: sqlite3.Connection, item: int) -> sqlite3.Row | None:
    return db.execute("SELECT seed, kind FROM item JOIN list ON list.id = item.list WHERE item.id = ?", (item,)).fetchone()


def settle(db: sqlite3.Connection, who: Annotator, item: int, now: float, seconds: float) -> int:
    """An assignment that settles an item; the one that is open already, if there is one.

    Raises:
        Refused: somebody who is no lead, an item that is not there, or one that is settled.
    """
    if who.role != "lead" or not who.active:
        raise Refused("only a lead settles items", where=who.name)
    row = _kind_and_seed(db, item)
    if row is None or row["kind"] != "normal":
        raise Refused(f"there is no item {item} to settle", where="item")
    if db.execute("SELECT 1 FROM ballot WHERE item = ? AND settles", (item,)).fetchone():
        raise Refused(f"item {item} is settled already", where="item", do="The lead who settled it can undo that.")
    held = db.execute("SELECT assignment FROM lease JOIN assignment AS a ON a.id = assignment WHERE lease.item = ?"
                      " AND lease.annotator = ? AND a.settles", (item, who.id)).fetchone()
    if held:
        return held[0]
    swapped = choosing.unit(row["seed"], who.id, "settle", item) < 0.5
    return _hold(db, who, choosing.Choice(item, "settle", 1.0), swapped, 0, 1, now, seconds)


def _hold(db: sqlite3.Connection, who: Annotator, choice: choosing.Choice, swapped: bool, counted: int, settles: int,
          now: float, seconds: float) -> int:
    name = secrets.token_urlsafe(12)
    made = db.execute(
        "INSERT INTO assignment (name, item, annotator, swapped, strategy, probability, counted, settles, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (name, choice.item, who.id, int(swapped), choice.strategy, choice.probability, counted, settles, now)).lastrowid
    hold(db, made, choice.item, who.id, counted, now + seconds)
    return made


def release(db: sqlite3.Connection, annotator_id: int, lease: str) -> bool:
    """Gives one open task back."""
    where = "annotator = ? AND assignment IN (SELECT id FROM assignment WHERE name = ?)"
    return bool(give_back(db, where, annotator_id, lease))


def sweep(db: sqlite3.Connection, now: float) -> int:
    """Gives back what ran out."""
    return give_back(db, "expires <= ?", now)


def give_back(db: sqlite3.Connection, where: str, *values) -> int:
    """Ends leases; where a place gets free, a vote that had come too late takes it."""
    items = [row[0] for row in db.execute(f"SELECT item FROM lease WHERE {where}", values)]
    db.execute(f"DELETE FROM lease WHERE {where}", values)
    for item in items:
        promote(db, item)
    return len(items)
