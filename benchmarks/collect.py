"""How long a vote takes with many people at once, at the store and over the page.

    python benchmarks/collect.py --over store
    python benchmarks/collect.py --over page --pace 0.5

Each client is a thread that takes a task, votes, and takes the next, until all items have their votes. What is timed: the
vote until it is acknowledged (synced to the disk), and the claim of the next task. Over the page the server is a process of
its own (`align collect serve`), and each client a browser's worth of HTTP. At the end every acknowledged vote must be there
once, every item must have exactly its votes, and nobody may have voted twice on one; else the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from data_recipes.collect.model import Answer, Entry, Item, ListPlan, Plan
from data_recipes.collect.store import Store

PORT = 8799
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')
VOTE = {"choice": "left 2", "acceptable_left": "yes", "acceptable_right": "no", "visible_ms": "4000"}


def make(path: Path, count: int, clients: int, overlap: int) -> None:
    """A collection of `count` items with answers of some 60 words, for `clients` people."""
    words = "the answer goes on for a while and says what it has to say ".split()
    items = tuple(
        Item(({"role": "user", "content": f"Question {at}?"},), Answer(f"First {at}. " + " ".join(words * 5)),
             Answer(f"Second {at}. " + " ".join(words * 5)))
        for at in range(count)
    )
    people = tuple(f"p{number}" for number in range(clients))
    Store.create(path, Plan((ListPlan(items=items, overlap=overlap, repeats=0.0),), people, leads=("lead",))).close()


def at_the_store(store: Store, who: int, pace: float, times: dict[str, list[float]]) -> list[str]:
    """One client without a page; the ids of its acknowledged votes."""
    said = []
    while True:
        began = time.perf_counter()
        task = store.claim(who)
        times["claim"].append(time.perf_counter() - began)
        if task is None:
            return said
        entry = Entry(f"{who}-{task.item}", "vote", task.item, {"choice": "left", "strength": 2}, task.lease, 4000)
        began = time.perf_counter()
        said.append(store.record(who, entry)["event"])
        times["vote"].append(time.perf_counter() - began)
        time.sleep(pace)


def over_the_page(link: str, pace: float, times: dict[str, list[float]]) -> list[str]:
    """One client as a browser: the link's button, then page and vote in turn."""
    import httpx

    origin, token = link.split("/join/")
    with httpx.Client(base_url=origin, headers={"origin": origin}, timeout=30) as browser:
        browser.post("/join", data={"link": token})
        said = []
        while True:
            began = time.perf_counter()
            page = browser.get("/work")
            times["claim"].append(time.perf_counter() - began)
            form = next((found for block in re.findall(r"<form.*?</form>", page.text, re.DOTALL)
                         if (found := dict(HIDDEN.findall(block))).get("kind") == "vote"), None)
            if form is None:
                return said
            began = time.perf_counter()
            reply = browser.post("/entry", data={**form, **VOTE}, headers={"accept": "application/json"})
            times["vote"].append(time.perf_counter() - began)
            reply.raise_for_status()
            said.append(form["client_id"])
            time.sleep(pace)


def run(clients: list[Callable[[dict], list[str]]]) -> tuple[dict[str, list[float]], list[str], float]:
    """All clients at once; times in seconds, acknowledged votes, and how long it took in all."""
    times: dict[str, list[float]] = {"claim": [], "vote": []}
    said: list[str] = []
    threads = [threading.Thread(target=lambda client=client: said.extend(client(times))) for client in clients]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, said, time.perf_counter() - began


def check(path: Path, count: int, overlap: int, said: list[str]) -> bool:
    """Whether all that was acknowledged is there, once, and each item has exactly its votes."""
    with Store.open(path) as store:
        votes = store.votes()
    ids = Counter((vote.annotator, vote.client_id) for vote in votes)
    items = Counter(vote.item for vote in votes)
    twice = Counter((vote.item, vote.annotator) for vote in votes)
    return (len(said) == len(votes) == count * overlap and max(ids.values()) == max(twice.values()) == 1
            and set(items.values()) == {overlap} and set(said) == {vote.client_id for vote in votes})


def percentiles(times: list[float]) -> dict[str, float]:
    """Milliseconds: median, 99th percentile, worst."""
    ordered = sorted(times)
    return {name: round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)
            for name, share in (("median", 0.5), ("p99", 0.99), ("worst", 1.0))}


def serve(path: Path) -> tuple[subprocess.Popen, list[str]]:
    """The server as a process of its own, and its people's links."""
    command = [sys.executable, "-m", "alignment", "collect", "serve", str(path), "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    links = []
    for line in server.stdout:
        links += [word for word in line.split() if "/join/" in word and "lead" not in line]
        if len(links) == len([person for person in people_of(path) if person.role == "annotator"]):
            break
    wait_for(links[0].split("/join/")[0])
    return server, links


def people_of(path: Path) -> list:
    """Everybody in a collection."""
    with Store.open(path) as store:
        return store.annotators()


def wait_for(origin: str) -> None:
    """Waits until the server answers, at most ten seconds."""
    import httpx

    until = time.monotonic() + 10
    while True:
        try:
            httpx.get(f"{origin}/")
            return
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def main() -> int:
    """Parses, measures, prints; 1 where a vote is lost or counted twice."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--over", choices=("store", "page"), default="store")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--overlap", type=int, default=3)
    parser.add_argument("--pace", type=float, default=0.0, help="seconds that a client thinks between a vote and the next task")
    parser.add_argument("--folder", help="where the collection lies (its disk decides); by default a temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "votes.db"
        make(path, asked.items, asked.clients, asked.overlap)
        times, said, seconds = measured(path, asked)
        exact = check(path, asked.items, asked.overlap, said)
    shown = {**vars(asked), "votes": len(said), "seconds": round(seconds, 1), "votes_a_second": round(len(said) / seconds)}
    taken = {f"{name}_ms": percentiles(found) for name, found in times.items()}
    print(json.dumps({**shown, "exact": exact, **taken}, indent=2))
    return 0 if exact else 1


def measured(path: Path, asked: argparse.Namespace) -> tuple[dict[str, list[float]], list[str], float]:
    """Runs the clients at the store or over the page."""
    if asked.over == "store":
        with Store.open(path) as store:
            people = range(1, asked.clients + 1)
            return run([lambda times, who=who: at_the_store(store, who, asked.pace, times) for who in people])
    server, links = serve(path)
    try:
        return run([lambda times, link=link: over_the_page(link, asked.pace, times) for link in links])
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
