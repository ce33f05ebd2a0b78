"""A crowd over HTTP while the server is killed: each acknowledged vote is there once, each item has exactly its votes."""

from __future__ import annotations

import json
import os
import sys

import pytest

from tests.data_recipes.collect import web_world as world
from tests.data_recipes.collect.browser import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import collect_http as crowd  # noqa: E402  (a script beside the package, which has no name to import it by)


def check(found: dict, votes: int) -> None:
    """Nothing lost, nothing double, exact overlap."""
    assert found["acknowledged"] == found["stored"] == votes and not found["not_acknowledged"]
    assert not (found["lost"] or found["double"] or found["wrong_overlap"] or found["twice"] or found["faults"])
    assert not found["unequal_repeats"] and found["items_with_votes"] == found["items"]


def test_votes_survive_kills_of_the_server(tmp_path):
    found = crowd.campaign(tmp_path / "votes.db", clients=5, items=30, overlap=3, kills=3)
    check(found, 90)
    assert found["kills"] == 3


@pytest.mark.campaign
def test_six_thousand_votes_survive_forty_kills(tmp_path):
    kills = int(os.environ.get("ALIGN_KILLS", "40"))
    found = crowd.campaign(tmp_path / "votes.db", clients=20, items=2000, overlap=3, kills=kills)
    print(json.dumps(found))
    check(found, 6000)
    assert found["kills"] == kills


@pytest.mark.campaign
def test_a_vote_takes_less_than_fifty_milliseconds(tmp_path):
    """Twenty people who answer twice a second each, ten times as fast as people do, on the same cores."""
    found = crowd.campaign(tmp_path / "votes.db", clients=20, items=400, overlap=3, kills=0, pause=0.5)
    print(json.dumps(found))
    check(found, 1200)
    assert found["vote_ms"]["p99"] < 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of file sizes are POSIX's")
def test_a_full_disk_refuses_votes_and_loses_none(tmp_path):
    """The server may write no file beyond a size, which SQLite meets as it meets a full disk; then it may again."""
    path = tmp_path / "votes.db"
    world.collection(path, [world.item(number) for number in range(60)], people=("ana",), overlap=1).close()
    acknowledged, refused = votes_until_refused(path)
    assert refused[0] == 507 and "acknowledged before is kept" in refused[1]
    with world.Store.open(path) as store:
        assert [event["client_id"] for event in store.events()] == acknowledged and acknowledged
        assert world.vote(world.signed_in(store, "ana")).status_code == 200


def votes_until_refused(path) -> tuple[list[str], tuple[int, str]]:
    """Votes and long comments until one is refused; the client ids that were acknowledged before."""
    import resource

    # Inherited by the server alone: a process may lower its soft limit and raise it again.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 300_000, hard))
    try:
        server = crowd.Server(path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    try:
        return _fill(server)
    finally:
        server.kill()


def _fill(server) -> tuple[list[str], tuple[int, str]]:
    import threading

    client = crowd.Client(server.links["ana"], 0, 0.0, threading.Event())
    client._join()
    acknowledged: list[str] = []
    for number in range(60):
        page = client._request("GET", "/work", None)[2]
        if 'id="vote"' not in page:  # no lease could be written
            return acknowledged, (507, page)
        for kind, more in (("edit", {"side": "left", "text": "word " * 8000}), ("vote", {"choice": "both_bad"})):
            fields = {**world.fields(page, kind), **more, "client_id": f"{kind}-{number}"}
            status, _, reply = client._request("POST", "/entry", fields)
            if status != 200:
                return acknowledged, (status, reply)
            acknowledged.append(fields["client_id"])
    raise AssertionError("the limit was never met")
