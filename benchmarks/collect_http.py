"""A crowd that votes over HTTP on a served collection whose server is killed again and again: what is lost, and how long a vote
takes.

    python benchmarks/collect_http.py --clients 20 --items 2000 --overlap 3 --kills 40
    python benchmarks/collect_http.py --clients 20 --items 400 --overlap 3 --kills 0 --pause 0.5

Each client does what the page's script does: it opens the item, sends the vote with an id of its own, and repeats that very
request until it is acknowledged. Latency is that of acknowledged first tries, from the first byte sent to the last received,
measured beside the server on the same cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).parents[1]
CHOICES = ("left 4", "left 2", "right 1", "right 3", "tie", "both_bad", "both_good")
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')
FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json", "sec-fetch-site": "same-origin"}


@dataclass
class Told:
    """What one client was told. acknowledged: (client id, item) of each vote. seconds: of votes acknowledged at the first try.
    page_seconds: until an item was there, kills and all. repeats: of one act; unequal: those that got another reply."""

    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    page_seconds: list[float] = field(default_factory=list)
    tries: int = 0
    repeats: int = 0
    unequal: list[str] = field(default_factory=list)
    faults: Counter = field(default_factory=Counter)


class Over(Exception):
    """Everything is answered and the server has ended, so a request that was under way needs no answer."""


class Client(threading.Thread):
    """One person with a browser. done: set when nobody has anything left to answer."""

    def __init__(self, link: str, seed: int, pause: float, done: threading.Event) -> None:
        super().__init__(daemon=True)
        parts = urlsplit(link)
        self.host, self.port, self.token = parts.hostname, parts.port, parts.path.rpartition("/")[2]
        self.random, self.pause, self.done, self.told = random.Random(seed), pause, done, Told()
        self.connection: http.client.HTTPConnection | None = None
        self.cookie = ""
        self.idle = False
        self.error: BaseException | None = None

    def run(self) -> None:
        """Signs in and answers until everything is answered; what goes wrong is kept for the caller."""
        try:
            self._join()
            while not self.done.is_set():
                self._one()
        except Over:
            return
        except BaseException as error:
            self.error = error

    def _join(self) -> None:
        status, headers, _ = self._patiently("POST", "/join", {"link": self.token})
        assert status == 303, status
        self.cookie = headers["set-cookie"].split(";")[0]

    def _one(self) -> None:
        begun = time.perf_counter()
        _, _, page = self._patiently("GET", "/work")
        self.told.page_seconds.append(time.perf_counter() - begun)
        form = page[page.find('id="vote"'):] if 'id="vote"' in page else ""
        self.idle = not form
        if not form:
            self.done.wait(0.05)
            return
        if self.pause:
            time.sleep(self.random.uniform(0.5, 1.5) * self.pause)
        self._vote(dict(HIDDEN.findall(form[: form.find("</form>")])))

    def _vote(self, hidden: dict[str, str]) -> None:
        said = {"choice": self.random.choice(CHOICES), "acceptable_left": "yes", "acceptable_right": "no", "visible_ms": "2000"}
        fields = {**hidden, **said, "client_id": str(uuid.UUID(int=self.random.getrandbits(128)))}
        before, begun = self.told.tries, time.perf_counter()
        status, _, reply = self._patiently("POST", "/entry", fields)
        if status == 200:
            if self.told.tries == before + 1:
                self.told.seconds.append(time.perf_counter() - begun)
            self.told.acknowledged.append((fields["client_id"], hidden["item"]))
        else:
            self.told.faults[f"{status} {reply[:120]}"] += 1
        if self.random.random() < 0.05:  # a double click, or a reply that was lost
            self.told.repeats += 1
            again = self._patiently("POST", "/entry", fields)
            if again[0] != status or again[2] != reply:
                self.told.unequal.append(f"{reply} / {again[2]}")

    def _patiently(self, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, dict[str, str], str]:
        """Repeats one request until the server has answered it."""
        while True:
            self.told.tries += 1
            try:
                status, headers, body = self._request(method, path, fields)
            except (OSError, http.client.HTTPException):  # the server is gone, or went in between
                if self.done.is_set():
                    raise Over from None
                self.connection = None
                time.sleep(0.02)
                continue
            if status not in (429, 503):
                return status, headers, body
            time.sleep(float(headers.get("retry-after", 0.05)))

    def _request(self, method: str, path: str, fields: dict[str, str] | None) -> tuple[int, dict[str, str], str]:
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.host, self.port, timeout=20)
        headers = {"cookie": self.cookie} if self.cookie else {}
        self.connection.request(method, path, urlencode(fields) if fields else None, {**headers, **(FORM if fields else {})})
        response = self.connection.getresponse()
        body = response.read().decode()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, body


class Server:
    """`align collect serve` as a process that can be killed and started again on the same port."""

    def __init__(self, path: Path, people: int) -> None:
        self.path, self.people, self.port = path, people, 0
        self.start()

    def start(self) -> None:
        """Starts it and waits for its links."""
        command = [sys.executable, "-m", "alignment", "collect", "serve", str(self.path), "--port", str(self.port)]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)
        self.links = {}
        while len(self.links) < self.people:
            name, _, link = self.process.stdout.readline().strip().partition("  ")
            if not link:
                raise RuntimeError(f"align collect serve ended with {self.process.wait()}")
            self.links[name] = link
        self.port = urlsplit(link).port

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def make(path: Path, clients: int, items: int, overlap: int) -> None:
    """A collection of short texts."""
    from data_recipes.collect.model import Answer, Item, ListPlan, Plan
    from data_recipes.collect.store import Store

    rows = [Item(({"role": "user", "content": f"Question {n}: what is **best**, and why?"},),
                 Answer(f"The first answer to {n}.\n\n- It has a list.\n- And `code`."),
                 Answer(f"The second answer to {n}, plain."))
            for n in range(items)]  # fmt: skip
    one = ListPlan(items=tuple(rows), overlap=overlap, repeats=0.0)
    Store.create(path, Plan(lists=(one,), people=tuple(f"p{n}" for n in range(clients)), leads=("lead",))).close()


def campaign(path: Path, *, clients: int, items: int, overlap: int, kills: int, pause: float = 0.0, seed: int = 0) -> dict:
    """Lets a crowd answer everything while the server is killed; then compares what was acknowledged with what is stored.

    Returns:
        Figures: votes, kills, lost, double, items not at exactly `overlap` votes, people twice on an item, and latency in
        milliseconds. Raises what a client raised.
    """
    make(path, clients, items, overlap)
    server, done, begun = Server(path, clients + 1), threading.Event(), time.perf_counter()
    crowd = [Client(server.links[f"p{n}"], seed * 1000 + n, pause, done) for n in range(clients)]
    try:
        for one in crowd:
            one.start()
        killed = _kill_and_wait(server, crowd, items * overlap, kills, random.Random(seed))
    finally:
        done.set()
        server.kill()
    for one in crowd:
        one.join(60)
        if one.error is not None:
            raise one.error
    seconds = time.perf_counter() - begun
    asked = {"clients": clients, "items": items, "overlap": overlap, "kills": killed, "pause": pause}
    return {**asked, "seconds": round(seconds, 1), **_compare(path, crowd, overlap), **_latency(crowd)}


def _kill_and_wait(server: Server, crowd: list[Client], votes: int, kills: int, draw: random.Random) -> int:
    """Kills at random moments, evenly over the votes, until all is answered; how often."""
    killed = 0
    while True:
        count = sum(len(one.told.acknowledged) for one in crowd)
        if any(one.error is not None for one in crowd) or count >= votes and all(one.idle for one in crowd):
            return killed
        if killed < kills and count >= votes * (killed + 0.5) / (kills + 0.5):
            time.sleep(draw.uniform(0, 0.05))
            server.kill()
            server.start()
            killed += 1
        time.sleep(0.005)


def _compare(path: Path, crowd: list[Client], overlap: int) -> dict:
    from data_recipes.collect.store import Store

    with Store.open(path) as store:
        stored = Counter(event["client_id"] for event in store.events() if event["kind"] == "vote")
        votes = store.votes()
    told = Counter(client_id for one in crowd for client_id, _ in one.told.acknowledged)
    people = Counter((vote.annotator, vote.item) for vote in votes)
    per_item = Counter(vote.item for vote in votes)
    return {
        "acknowledged": sum(told.values()),
        "stored": sum(stored.values()),
        "lost": len(told - stored),
        "double": sum(count > 1 for count in stored.values()),
        "not_acknowledged": len(stored - told),
        "wrong_overlap": sum(count != overlap for count in per_item.values()),
        "items_with_votes": len(per_item),
        "twice": sum(count > 1 for count in people.values()),
        "repeats": sum(one.told.repeats for one in crowd),
        "unequal_repeats": [line for one in crowd for line in one.told.unequal],
        "faults": dict(sum((one.told.faults for one in crowd), Counter())),
    }


def _latency(crowd: list[Client]) -> dict:
    found = {}
    for name, values in (("vote_ms", [x for one in crowd for x in one.told.seconds]),
                         ("page_ms", [x for one in crowd for x in one.told.page_seconds])):
        ordered = sorted(values)
        at = {share: 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95, 0.99)}
        found[name] = {f"p{share * 100:.0f}": round(value, 1) for share, value in at.items()}
    return found


def main() -> None:
    """Prints the figures of one campaign as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name, kind, default in (("clients", int, 20), ("items", int, 2000), ("overlap", int, 3), ("kills", int, 40),
                                ("pause", float, 0.0), ("seed", int, 0)):
        parser.add_argument(f"--{name}", type=kind, default=default)
    asked = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(campaign(Path(folder) / "votes.db", **asked), indent=2))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
