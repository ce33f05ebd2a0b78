"""Damaged files: what is said of them, and how much of a collection is saved from one."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from alignment.cli import run
from data_recipes.collect import leaves
from data_recipes.collect.log import entries_behind_damage
from data_recipes.collect.model import Damaged
from data_recipes.collect.salvage import salvage
from data_recipes.collect.store import Store
from data_recipes.errors import Failed, Refused
from tests.data_recipes.collect.made import Voter, items, made

OTHERS = ("event_item", "sqlite_autoindex_event_1", "event_undoes")
NOISE = random.Random(0).randbytes(4096)
EMPTY = bytes([13, 0, 0, 0, 0, 16, 0, 0])  # a table's page without rows: to SQLite nothing is wrong with it


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, list[str]]:
    """A closed collection in one file, with votes of two people; all client ids."""
    path = tmp_path_factory.mktemp("whole") / "v.db"
    with made(path, 120, overlap=2) as store:
        for who in (1, 2):
            while (task := store.claim(who)) is not None:
                Voter(store, who).send("vote", task, {"choice": "left"}, client_id=f"{who}-{task.item}")
        return path, [vote.client_id for vote in store.votes()]


@pytest.fixture
def voted(whole, tmp_path) -> tuple[Path, list[str]]:
    """A copy that may be spoilt."""
    return Path(shutil.copy(whole[0], tmp_path / "v.db")), whole[1]


def spoil(path: Path, start: int, size: int, bytes_there: bytes = b"") -> None:
    data = bytearray(path.read_bytes())
    data[start:start + size] = bytes_there or os.urandom(size)
    path.write_bytes(bytes(data))


def test_a_file_that_is_none_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "text.db").write_text("hello, this is no database at all")
    with pytest.raises(Damaged, match="first bytes"):
        Store.open(tmp_path / "text.db")
    sqlite3.connect(tmp_path / "other.db").executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    with pytest.raises(Refused, match="no collection"):
        Store.open(tmp_path / "other.db")
    with pytest.raises(Refused, match="no such collection"):
        Store.open(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def page_of(path: Path, table: str, which: int = 1) -> int:
    """The number of one of a table's pages."""
    db = sqlite3.connect(path)
    leaves = "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno"
    found = [row[0] for row in db.execute(leaves, (table,))]
    db.close()
    return found[which]


def has_dbstat() -> bool:
    try:
        sqlite3.connect(":memory:").execute("SELECT * FROM dbstat")
    except sqlite3.OperationalError:
        return False
    return True


@pytest.mark.skipif(not has_dbstat(), reason="this SQLite cannot say which page is whose")
@pytest.mark.parametrize("table, least", [
    ("event", 180), ("ballot", 240), ("item", 100), ("assignment", 240), ("response", 60)])
def test_damage_is_said_and_what_is_elsewhere_is_saved(voted, tmp_path, table, least):
    path, names = voted
    spoil(path, (page_of(path, table) - 1) * 4096, 4096)
    before = path.read_bytes()
    with pytest.raises(Damaged, match="damaged.*align collect salvage"):
        Store.open(path)
    done = salvage(path, tmp_path / "saved.db")
    assert path.read_bytes() == before
    with Store.open(tmp_path / "saved.db") as saved:
        votes = saved.votes()
        assert len(names) == 240 > len(votes) - 1 >= least - 1 and {vote.client_id for vote in votes} <= set(names)
        assert all(vote.verdict == ("second" if vote.swapped else "first") for vote in votes)
        assert bool(done["lost"]) == (table != "ballot")  # ballots are made anew
        assert done["votes"] == {"saved": len(votes), "before": 240, "complete": len(votes) == 240}
        Voter(saved, 1).all()  # what is lost can be asked again
        assert max(Counter((vote.item, vote.annotator) for vote in saved.votes()).values()) == 1


def test_a_lost_beginning_costs_no_vote(voted, tmp_path):
    path, names = voted
    spoil(path, 0, 4096)
    with pytest.raises(Damaged):
        Store.open(path)
    done = salvage(path, tmp_path / "saved.db")
    with Store.open(tmp_path / "saved.db") as saved:
        assert sorted(vote.client_id for vote in saved.votes()) == sorted(names)
        assert done["lost"] == [] and done["votes"] == {"saved": 240, "before": 240, "complete": True}


def roots(path: Path, *names: str) -> list[int]:
    db = sqlite3.connect(path)
    found = [db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0] for name in names]
    db.close()
    return found


def all_pages(path: Path, *names: str) -> list[int]:
    """Every page of these tables and indexes."""
    db = sqlite3.connect(path)
    found = [row[0] for name in names for row in db.execute("SELECT pageno FROM dbstat WHERE name = ?", (name,))]
    db.close()
    return found


@pytest.mark.parametrize("gone, page, sure", [
    (("event",), NOISE, True), (("event",), EMPTY.ljust(4096, b"\0"), True), (("event", *OTHERS, "ballot"), NOISE, False),
    (("event", "assignment", "item", "response", "prompt"), NOISE, True),
], ids=("root", "emptied", "indexes", "tables"))
def test_rows_behind_a_lost_first_page_are_saved(voted, tmp_path, capsys, gone, page, sure):
    path, names = voted
    for number in roots(path, *gone):
        spoil(path, (number - 1) * 4096, 4096, page)
    before = path.read_bytes()
    code = run(["collect", "salvage", str(path), "--output", str(tmp_path / "saved.db"), "--json"])
    done = json.loads(capsys.readouterr().out)
    assert path.read_bytes() == before and code == (0 if sure else 1)  # without its index nobody knows that there was no more
    assert done["votes"] == {"saved": 240, "before": 240, "complete": sure} and done["tables"]["event"]["saved"] == 240
    with Store.open(tmp_path / "saved.db") as saved:
        assert sorted(vote.client_id for vote in saved.votes()) == sorted(names)
        assert all(vote.verdict == ("second" if vote.swapped else "first") for vote in saved.votes())


@pytest.mark.parametrize("children", [2, 3])
def test_a_large_table_is_linked_over_several_levels(voted, tmp_path, monkeypatch, children):
    monkeypatch.setattr(leaves, "CHILDREN", children)
    path, names = voted
    for number in roots(path, "event", "assignment"):
        spoil(path, (number - 1) * 4096, 4096, NOISE)
    assert salvage(path, tmp_path / "saved.db")["votes"] == {"saved": 240, "before": 240, "complete": True}


@pytest.mark.skipif(not has_dbstat(), reason="this SQLite cannot say which page is whose")
def test_of_a_lost_first_page_and_a_lost_page_of_rows_the_rest_is_saved(voted, tmp_path):
    path, _ = voted
    for number in (page_of(path, "event"), *roots(path, "event")):
        spoil(path, (number - 1) * 4096, 4096, NOISE)
    done = salvage(path, tmp_path / "saved.db")
    lost = 240 - done["votes"]["saved"]
    assert 0 < lost < 60 and not done["votes"]["complete"]
    assert any(line.startswith(f"event: {lost} of 240 rows are lost") for line in done["lost"])


def test_a_lost_list_costs_no_vote(voted, tmp_path):
    path, names = voted
    spoil(path, (roots(path, "list")[0] - 1) * 4096, 4096, NOISE)
    done = salvage(path, tmp_path / "saved.db")
    assert done["votes"] == {"saved": 240, "before": 240, "complete": True} and "list: 1 of 1 rows are lost" in done["lost"]
    with Store.open(tmp_path / "saved.db") as saved:
        assert [(row["name"], row["votes"]) for row in saved.lists()] == [("lost-1", 240)]


@pytest.mark.skipif(not has_dbstat(), reason="this SQLite cannot say which page is whose")
@pytest.mark.parametrize("gone, words", [
    ((), "event: 240 of 240 rows are lost"), (OTHERS, "event: 240 of 240 rows are lost, and perhaps more"),
    ((*OTHERS, "ballot"), "event: part of the table cannot be read, and nothing tells"),
], ids=("pages", "indexes", "ballots"))
def test_lost_votes_are_counted_by_what_survives_and_said(voted, tmp_path, capsys, gone, words):
    path, _ = voted
    for number in all_pages(path, "event", *gone):
        spoil(path, (number - 1) * 4096, 4096, NOISE)
    assert run(["collect", "salvage", str(path), "--output", str(tmp_path / "saved.db"), "--json"]) == 1
    said = capsys.readouterr()
    done = json.loads(said.out)
    assert "240 of 240 votes are lost at least" in said.err and words in said.err and "backup" in said.err
    assert done["votes"] == {"saved": 0, "before": 240, "complete": False} and words in done["error"]["message"]
    with Store.open(tmp_path / "saved.db") as saved:  # what was saved is kept
        assert saved.votes() == [] and len(saved.annotators()) == 2


def test_a_flipped_letter_inside_a_text_is_found_by_its_hash(voted, tmp_path):
    path, _ = voted
    data = path.read_bytes()
    assert data.count(b"second 77") == 1
    path.write_bytes(data.replace(b"second 77", b"sekond 77"))
    done = salvage(path, tmp_path / "saved.db")
    assert done["tables"]["response"]["dropped"] == 1 and len(done["lost"]) > 0


def test_a_file_cut_short_keeps_what_is_left_and_nothing_at_all_is_said(voted, tmp_path):
    path, _ = voted
    path.write_bytes(path.read_bytes()[: 3 * path.stat().st_size // 4])
    with pytest.raises(Damaged):
        Store.open(path)
    done = salvage(path, tmp_path / "saved.db")
    assert not done["votes"]["complete"] and any(line.startswith("event:") for line in done["lost"])
    with Store.open(done["output"]) as saved:
        assert saved.votes()
    path.write_bytes(os.urandom(50_000))
    with pytest.raises(Failed):
        salvage(path, tmp_path / "nothing.db")
    assert not (tmp_path / "nothing.db").exists()


def test_a_damaged_log_is_said(tmp_path, capsys):
    with made(tmp_path / "v.db", 20, ("ana",)) as store:
        Voter(store, 1).all()
        for name in ("", "-wal"):  # as a copy of a running server's files has them
            shutil.copy(tmp_path / f"v.db{name}", tmp_path / f"copy.db{name}")
    wal = tmp_path / "copy.db-wal"
    entries = (wal.stat().st_size - 32) // 4120
    assert entries_behind_damage(wal) == 0 and entries > 40
    spoil(wal, 32 + 4120 * (entries - 10) + 500, 8, b"spoilt..")
    assert entries_behind_damage(wal) == 10
    assert run(["collect", "salvage", str(tmp_path / "copy.db"), "--output", str(tmp_path / "saved.db"), "--json"]) == 1
    done = json.loads(capsys.readouterr().out)
    said = "the log copy.db-wal is damaged: its last 10 entries could not be taken in"
    assert done["lost"][-1].startswith(said) and said in done["error"]["message"]
    assert 0 < done["votes"]["saved"] < 20 and not done["votes"]["complete"]


def test_a_log_that_a_kill_cut_short_is_whole_and_one_without_a_beginning_is_not(tmp_path):
    with made(tmp_path / "v.db", 20, ("ana",)) as store:
        Voter(store, 1).all()
        data = (tmp_path / "v.db-wal").read_bytes()
    wal = tmp_path / "log"
    assert entries_behind_damage(wal) == 0
    wal.write_bytes(data[:-100])  # the last entry was not finished, so its commit was not acknowledged
    assert entries_behind_damage(wal) == 0
    wal.write_bytes(os.urandom(32) + data[32:])
    assert entries_behind_damage(wal) > 0


def test_salvage_of_a_whole_file_gives_the_same_votes(tmp_path):
    with made(tmp_path / "v.db", people=("ana", "ben"), items=items(20), overlap=2, repeats=0.2) as store:
        ana = Voter(store, 1)
        task = store.claim(1)
        ana.send("comment", task, {"text": "hm"})
        ana.undo(ana.vote(task))
        ana.all()
        Voter(store, 2).send("skip", store.claim(2), {"reason": ""})
        done = salvage(tmp_path / "v.db", tmp_path / "saved.db")  # while it is open: its log is read too
        assert done["lost"] == [] and done["votes"]["complete"]
        with Store.open(tmp_path / "saved.db") as saved:
            assert saved.votes() == store.votes() and saved.events_hash() == store.events_hash()
            assert saved.lists() == store.lists()
            assert json.dumps(saved.questions()) == json.dumps(store.questions())
