"""Who is asked what next: one atomic claim, inside a transaction of the caller's.

The order for one person: the training round; then items in which gold and repeats are hidden; items that others began come
before new ones, so that what is collected is complete at any time. A new item is drawn at random in `random_share` of the
cases and else by the list's strategy; how probable the choice was is kept with it, for estimates that weigh by it.

Sides are planned: an item's two orders are shown equally often (within one), and where the item leaves it open a person
who saw one side more by two gets the other. All draws follow from the list's seed and the count of assignments.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
from dataclasses import dataclass

from data_recipes.collect.model import Annotator

REPEAT_GAP = 8  # ballots between an item and its repeat, where there are as many
TOP = 0.1  # a strategy draws from the best tenth: the very best would set all people on one item
SCORED = {"disagreement": "disagreement", "gap": "gap"}


@dataclass(frozen=True)
class Choice:
    """An item, by which rule it was drawn, and how probable that was."""

    item: int
    strategy: str
    probability: float


def choose(db: sqlite3.Connection, who: Annotator) -> Choice | None:
    """The next item for one person, of the open lists in their order; None where nothing is left."""
    if not (who.active and who.asked):
        return None
    for row in open_lists(db, who):
        for rule in (_came_back, _training, _gold, _repeat, _begun, _new, _late_repeat):
            if found := rule(db, row, who):
                return found
    return None


def open_lists(db: sqlite3.Connection, who: Annotator) -> list[sqlite3.Row]:
    """Lists that are open and meant for this person."""
    return db.execute(
        "SELECT * FROM list WHERE open AND (NOT EXISTS (SELECT 1 FROM member WHERE list = list.id)"
        " OR EXISTS (SELECT 1 FROM member WHERE list = list.id AND annotator = ?)) ORDER BY id", (who.id,)).fetchall()


# ------------------------------------------------------------------------------------------------------------ the rules

MINE = "EXISTS (SELECT 1 FROM ballot WHERE ballot.item = item.id AND ballot.annotator = :who AND NOT ballot.settles)"


def _first(db: sqlite3.Connection, sql: str, strategy: str, **values) -> Choice | None:
    row = db.execute(sql, values).fetchone()
    return Choice(row[0], strategy, 1.0) if row else None


def _came_back(db: sqlite3.Connection, row: sqlite3.Row, who: Annotator) -> Choice | None:
    """What this person gave back or let run out, if nobody else took its place: people find what they left."""
    found = db.execute(
        "SELECT a.item, a.strategy, a.probability FROM assignment AS a JOIN item ON item.id = a.item WHERE a.annotator = :who"
        " AND NOT a.settles AND item.list = :list AND (item.kind <> 'normal' OR NOT a.counted OR taken < needed)"
        f" AND NOT {MINE} ORDER BY a.id DESC LIMIT 1", {"list": row["id"], "who": who.id}).fetchone()
    return Choice(*found) if found else None


def _training(db: sqlite3.Connection, row: sqlite3.Row, who: Annotator) -> Choice | None:
    if who.role == "judge":
        return None
    return _first(db, f"SELECT id FROM item WHERE list = :list AND kind = 'training' AND NOT {MINE} ORDER BY id LIMIT 1",
                  "training", list=row["id"], who=who.id)


def _gold(db: sqlite3.Connection, row: sqlite3.Row, who: Annotator) -> Choice | None:
    """The next gold item, if its place in this person's order has come. Places are spread over the expected share."""
    number = count_of(db, row["id"], "gold")
    done = done_of(db, row["id"], who.id, "gold")
    if done >= number:
        return None
    place = int((done + unit(row["seed"], who.id, "gold", done)) * expected_share(db, row) / number)
    if done_of(db, row["id"], who.id, "normal") < place:
        return None
    left = db.execute(f"SELECT id FROM item WHERE list = :list AND kind = 'gold' AND NOT {MINE}",
                      {"list": row["id"], "who": who.id}).fetchall()
    return Choice(min((found[0] for found in left), key=lambda item: unit(row["seed"], who.id, item)), "gold", 1.0)


REPEAT = ("SELECT item.id FROM item JOIN ballot ON ballot.item = item.of AND ballot.annotator = :who AND ballot.kind = 'vote'"
          f" AND NOT ballot.settles WHERE item.list = :list AND item.kind = 'repeat' AND NOT {MINE}")


def _repeat(db: sqlite3.Connection, row: sqlite3.Row, who: Annotator) -> Choice | None:
    """A repeat whose first showing lies far enough back."""
    far = " AND (SELECT count(*) FROM ballot AS since WHERE since.annotator = :who AND since.event > ballot.event) >= :gap"
    return _first(db, f"{REPEAT}{far} ORDER BY ballot.event LIMIT 1", "repeat", list=row["id"], who=who.id, gap=REPEAT_GAP)


def _late_repeat(db: sqlite3.Connection, row: sqlite3.Row, who: Annotator) -> Choice | None:
    """At a list's end what is left to repeat comes back sooner."""
    return _first(db, f"{REPEAT} ORDER BY ballot.event LIMIT 1", "repeat", list=row["id"], who=who.id)


FREE = ("FROM item WHERE list = :list AND kind = 'normal' AND taken < needed AND NOT EXISTS"
        " (SELECT 1 FROM ballot WHERE ballot.item = item.id AND ballot.annotator = :who AND NOT ballot.settles)")
# A judge's ballots do not count, so it is asked everything that it has not answered.
JUDGED = FREE.replace(" AND taken < needed", "")


def _begun(db: sqlite3.Connection, row: sqlite3.Row, who: Annotator) -> Choice | None:
    if who.role == "judge":
        return _first(db, f"SELECT id {JUDGED} ORDER BY id LIMIT 1", "order", list=row["id"], who=who.id)
    found = db.execute(f"SELECT id {FREE} AND taken > 0", {"list": row["id"], "who": who.id}).fetchall()
    return Choice(_draw(db, row).choice(found)[0], "finish", 1 / len(found)) if found else None


def _new(db: sqlite3.Connection, row: sqlite3.Row, who: Annotator) -> Choice | None:
    """A new item: by chance in `random_share` of the cases, else by the strategy; the probability is that of both."""
    if who.role == "judge":
        return None
    values = {"list": row["id"], "who": who.id}
    size = db.execute(f"SELECT count(*) {FREE} AND taken = 0", values).fetchone()[0]
    if not size:
        return None
    draw, weights = _draw(db, row), _weights(row)
    rule = draw.choices(list(weights), list(weights.values()))[0]
    found = _by_rule(db, rule, values, size, draw)
    chance = sum(weight * _probability(db, name, found, values, size) for name, weight in weights.items())
    return Choice(found["id"], rule, chance)


def _weights(row: sqlite3.Row) -> dict[str, float]:
    """Which rule draws how often: the random share first, the rest for the strategy, in equal parts for a mix."""
    share = row["random_share"]
    if row["choose"] == "random" or share >= 1:
        return {"random": 1.0}
    rules = ("stratified", "disagreement", "gap") if row["choose"] == "mix" else (row["choose"],)
    return {"random": share, **{rule: (1 - share) / len(rules) for rule in rules}}


def _by_rule(db: sqlite3.Connection, rule: str, values: dict, size: int, draw: random.Random) -> sqlite3.Row:
    """One of the new items, drawn by a rule."""
    fields = "SELECT id, stratum, disagreement, gap"
    if rule == "stratified":
        counted = f"SELECT stratum, count(*) {FREE} AND taken = 0 GROUP BY stratum ORDER BY stratum"
        stratum, size = draw.choice(db.execute(counted, values).fetchall())
        values, order = {**values, "stratum": stratum}, "AND stratum = :stratum ORDER BY rank"
    elif rule in SCORED:
        order, size = f"ORDER BY {SCORED[rule]} DESC NULLS LAST, rank", _top(size)
    else:
        order = "ORDER BY rank"
    at = draw.randrange(size)
    return db.execute(f"{fields} {FREE} AND taken = 0 {order} LIMIT 1 OFFSET {at}", values).fetchone()


def _probability(db: sqlite3.Connection, rule: str, item: sqlite3.Row, values: dict, size: int) -> float:
    """How probable it was that a rule would draw this item."""
    if rule == "stratified":
        count, same = db.execute(
            f"SELECT count(DISTINCT stratum), sum(stratum = :stratum) {FREE} AND taken = 0",
            {**values, "stratum": item["stratum"]}).fetchone()
        return 1 / (count * same)
    if rule in SCORED:
        column = SCORED[rule]
        order = f"ORDER BY {column} DESC NULLS LAST, rank LIMIT {_top(size)}"
        best = db.execute(f"SELECT id {FREE} AND taken = 0 {order}", values).fetchall()
        return 1 / len(best) if any(row[0] == item["id"] for row in best) else 0.0
    return 1 / size


def _top(size: int) -> int:
    return max(1, int(size * TOP))


# ------------------------------------------------------------------------------------------------------------ the sides


def side(db: sqlite3.Connection, item: int, who: Annotator, seed: int) -> bool:
    """Whether the second answer is to be on the left."""
    if (before := _first_showing(db, item, who.id)) is not None:
        return not before
    swapped, shown = _shown(db, "item", item)
    if 2 * swapped != shown:
        return 2 * swapped < shown
    own = db.execute("SELECT swapped FROM assignment WHERE item = ? AND annotator = ? AND NOT settles ORDER BY id DESC LIMIT 1",
                     (item, who.id)).fetchone()
    if own is not None:  # given back before: the same sides again
        return bool(own[0])
    swapped, shown = _shown(db, "annotator", who.id)
    if abs(2 * swapped - shown) >= 2:
        return 2 * swapped < shown
    return unit(seed, who.id, "side", item) < 0.5


def _shown(db: sqlite3.Connection, column: str, value: int) -> tuple[int, int]:
    """How often swapped, of how often at all, over answers and open tasks of an item or a person."""
    asked = ("SELECT coalesce(sum(swapped), 0), count(*) FROM {} AS live JOIN assignment AS a ON a.id = live.assignment"
             f" WHERE live.{column} = ?")
    found = [db.execute(asked.format(table), (value,)).fetchone() for table in ("ballot", "lease")]
    return sum(one[0] for one in found), sum(one[1] for one in found)


def _first_showing(db: sqlite3.Connection, item: int, who: int) -> bool | None:
    """How this person saw the item that a repeat repeats; None where it is no repeat."""
    row = db.execute(
        "SELECT a.swapped FROM item JOIN ballot ON ballot.item = item.of AND ballot.annotator = ? AND NOT ballot.settles"
        " JOIN assignment AS a ON a.id = ballot.assignment WHERE item.id = ?", (who, item)).fetchone()
    return bool(row[0]) if row else None


# ------------------------------------------------------------------------------------------------------------- counting


def expected_share(db: sqlite3.Connection, row: sqlite3.Row) -> int:
    """How many normal items one person of a list is expected to get."""
    votes = count_of(db, row["id"], "normal") * row["overlap"]
    return -(-votes // max(1, len(people_of(db, row["id"]))))


def people_of(db: sqlite3.Connection, list_id: int) -> list[int]:
    """Active people (no judges) that a list is meant for."""
    rows = db.execute(
        "SELECT id FROM annotator WHERE active AND asked AND role <> 'judge' AND (NOT EXISTS (SELECT 1 FROM member"
        " WHERE list = :list) OR EXISTS (SELECT 1 FROM member WHERE list = :list AND annotator = annotator.id)) ORDER BY id",
        {"list": list_id})
    return [row[0] for row in rows]


def count_of(db: sqlite3.Connection, list_id: int, kind: str) -> int:
    """How many items of a kind a list has."""
    return db.execute("SELECT count(*) FROM item WHERE list = ? AND kind = ?", (list_id, kind)).fetchone()[0]


def done_of(db: sqlite3.Connection, list_id: int, who: int, kind: str) -> int:
    """How many items of a kind one person has answered or skipped."""
    return db.execute("SELECT count(*) FROM ballot JOIN item ON item.id = ballot.item WHERE ballot.annotator = ?"
                      " AND NOT ballot.settles AND item.list = ? AND item.kind = ?", (who, list_id, kind)).fetchone()[0]


def _draw(db: sqlite3.Connection, row: sqlite3.Row) -> random.Random:
    count = db.execute("SELECT coalesce(max(id), 0) FROM assignment").fetchone()[0]
    return random.Random(f"{row['seed']}:{count}")


def unit(*parts) -> float:
    """A number in [0, 1) that follows from its arguments, in any process."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
