"""Threads, kills, a full disk: what was acknowledged is there, once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from data_recipes.collect.database import Database
from data_recipes.collect.model import StorageFull
from data_recipes.collect.store import Store
from data_recipes.errors import Refused
from tests.data_recipes.collect.made import Voter, made

# A person in a process of their own, who says each vote only once it is acknowledged, and dies at a moment of nobody's
# choosing after the first one.
WORKER = """
import os, signal, sys, threading
from data_recipes.collect.model import Entry
from data_recipes.collect.store import Store
store, who, log = Store.open(sys.argv[1]), int(sys.argv[2]), open(sys.argv[3], "a")
death = threading.Timer(float(sys.argv[4]), os.kill, (os.getpid(), signal.SIGKILL))
death.daemon = True
while (task := store.claim(who)) is not None:
    name = f"{who}-{task.item}"
    entry = Entry(name, "vote", task.item, {"choice": "left"}, task.lease, 5)
    assert store.record(who, entry) == store.record(who, entry)
    print(name, file=log, flush=True)
    if not death.is_alive():
        death.start()
"""
ROOT = Path(__file__).parents[3]


def start(path: Path, who: int, log: Path, seconds: float) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", WORKER, str(path), str(who), str(log), str(seconds)], cwd=ROOT)


def check_exact(store: Store, count: int, overlap: int, acknowledged: list[str]) -> None:
    """Each acknowledged vote is there once, each item has exactly its votes, nobody voted twice on one."""
    votes = store.votes()
    names = Counter(vote.client_id for vote in votes)
    assert set(acknowledged) <= set(names) and max(names.values()) == 1
    assert Counter(vote.item for vote in votes if vote.counted) == dict.fromkeys(range(1, count + 1), overlap)
    assert max(Counter((vote.item, vote.annotator) for vote in votes).values()) == 1


def vote_under_kills(folder: Path, count: int, people: int, kills: int, longest: float) -> int:
    """Lets processes vote and die until there were so many kills or all is done, finishes the rest, checks; the kills."""
    path, draw, killed = folder / "v.db", random.Random(0), 0
    plan = {"lease_seconds": max(1.0, 10 * longest)}
    made(path, count, tuple(f"p{who}" for who in range(people)), overlap=3, plan=plan).close()
    logs = [folder / f"{who}.log" for who in range(1, people + 1)]
    while killed < kills:
        workers = [start(path, who, log, draw.uniform(0.005, longest)) for who, log in enumerate(logs, 1)]
        ended = [worker.wait() for worker in workers]
        killed += ended.count(-signal.SIGKILL)
        if not any(ended):
            break
    with Store.open(path) as store:
        store.sweep(store.clock() + 1000)
        for who in range(1, people + 1):
            Voter(store, who).all()
        check_exact(store, count, 3, [line for log in logs for line in log.read_text().split()])
    return killed


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_kills_lose_no_vote_that_was_acknowledged(tmp_path):
    assert vote_under_kills(tmp_path, 120, 4, kills=12, longest=0.05) >= 4


@pytest.mark.campaign
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_forty_kills_of_twenty_processes_on_two_thousand_items(tmp_path):
    killed = vote_under_kills(tmp_path, 2000, 20, kills=40, longest=2.0)
    print(f"{killed} kills, 2,000 items, 20 people: 6,000 votes, each acknowledged one there once")
    assert killed >= 40


def test_threads_of_one_process_share_a_store(tmp_path):
    store, acknowledged = made(tmp_path / "v.db", 100, tuple("abcdefgh"), overlap=3), []

    def work(who: int) -> None:
        voter = Voter(store, who)
        while (task := store.claim(who)) is not None:
            acknowledged.append(voter.vote(task)["event"])

    threads = [threading.Thread(target=work, args=(who,)) for who in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_exact(store, 100, 3, acknowledged)
    assert len(acknowledged) == 300


def test_two_retries_at_once_are_one_vote(tmp_path):
    store = made(tmp_path / "v.db", 1)
    task, replies = store.claim(1), []

    def send() -> None:
        replies.append(Voter(store, 1).send("vote", task, {"choice": "tie"}, client_id="x"))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(replies) == 8 and all(reply == replies[0] for reply in replies) and len(list(store.events())) == 1


def test_a_full_disk_refuses_votes_and_loses_none(tmp_path):
    store = made(tmp_path / "v.db", 200)
    ana = Voter(store, 1)
    kept = [ana.vote()["event"] for _ in range(5)]
    pages = store.database.reader().execute("PRAGMA page_count").fetchone()[0]
    store.database.reader().execute(f"PRAGMA max_page_count = {pages + 1}")
    task = store.claim(1)
    with pytest.raises(StorageFull, match="disk is full"):
        for _ in range(100):
            task = store.claim(1)
            kept.append(ana.vote(task)["event"])
    assert sorted(vote.client_id for vote in store.votes()) == sorted(kept)
    store.database.reader().execute("PRAGMA max_page_count = 1000000")
    again = store.claim(1)
    kept.append(ana.vote(again)["event"])
    assert sorted(vote.client_id for vote in Store.open(tmp_path / "v.db").votes()) == sorted(kept)


LIMITED = """
import resource, signal, sys
from data_recipes.collect.model import StorageFull
from data_recipes.collect.store import Store
from tests.data_recipes.collect.made import Voter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
while True:
    try:
        print(Voter(store, 1).vote()["event"], flush=True)
    except StorageFull as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
"""


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
def test_a_write_that_the_system_refuses_is_a_full_disk_too(tmp_path):
    path = tmp_path / "v.db"
    made(path, 300).close()
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path), str(path.stat().st_size + 60_000)], capture_output=True,
                          text=True, cwd=ROOT)
    assert done.returncode == 1 and "disk is full" in done.stderr, done.stderr
    kept = done.stdout.split()
    assert len(kept) > 3 and sorted(vote.client_id for vote in Store.open(path).votes()) == sorted(kept)


def test_a_backup_while_others_vote_is_whole(tmp_path):
    store, stop = made(tmp_path / "v.db", 400, ("ana", "ben")), threading.Event()

    def work() -> None:
        while not stop.is_set() and store.claim(1) is not None:
            Voter(store, 1).vote()

    thread = threading.Thread(target=work)
    thread.start()
    before = len(store.votes())
    store.backup(tmp_path / "copy.db")
    after = len(store.votes())
    stop.set()
    thread.join()
    assert [name.name for name in tmp_path.iterdir() if "copy" in name.name] == ["copy.db"]
    with Store.open(tmp_path / "copy.db") as copy:
        assert before <= len(copy.votes()) <= after
        Voter(copy, 2).vote()
    with pytest.raises(Refused, match="there already"):
        store.backup(tmp_path / "copy.db")


def test_closing_a_database_closes_every_thread_s_connection(tmp_path):
    made(tmp_path / "v.db").close()
    database = Database(tmp_path / "v.db")
    thread = threading.Thread(target=database.reader)
    thread.start()
    thread.join()
    database.close()
    with sqlite3.connect(tmp_path / "v.db") as db:  # the log is gone once nobody is left
        assert db.execute("SELECT count(*) FROM item").fetchone()[0] == 6
