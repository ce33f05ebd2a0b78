"""What the page refuses: other hosts and sites, forged forms, too much, too often; and the headers of every answer."""

from __future__ import annotations

import re

import pytest

from data_recipes.collect.model import StorageFull
from data_recipes.collect.web.security import Buckets
from tests.data_recipes.collect import web_world as world
from tests.data_recipes.collect.web_world import JSON, ORIGIN, URL, fields, signed_in, vote

@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:8765.evil.example", "127.0.0.1:9", "", "votes.db"])
def test_other_host_names_are_refused(store, host):
    assert world.client_of(store).get("/health", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("headers", [
    {}, {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": URL + ".evil.example"},
    {"origin": "https://127.0.0.1:8765"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, {"referer": URL + "/work"},
])  # fmt: skip
def test_a_form_of_another_site_is_refused(store, ana, headers):
    data = {**fields(ana.get("/work").text), "choice": "tie", "acceptable_left": "yes", "acceptable_right": "no"}
    for path in ("/entry", "/release", "/leave", "/join"):
        assert ana.post(path, data=data, headers=headers).status_code == 403
    assert not list(store.events())


def test_our_origin_without_the_forms_token_is_refused(store, ana):
    ben = signed_in(store, "ben")
    data = {**fields(ana.get("/work").text), "choice": "tie", "acceptable_left": "yes", "acceptable_right": "no"}
    theirs = fields(ben.get("/work").text)["token"]
    for token in ("", "x", theirs, "é"):
        assert ana.post("/entry", data={**data, "token": token}, headers=JSON).status_code == 403
    assert not list(store.events())


def test_bodies_are_forms_of_a_limited_size(store, ana):
    assert ana.post("/entry", json={"kind": "vote"}, headers=ORIGIN).status_code == 415
    form = {**ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    assert ana.post("/entry", content=b"text=" + b"x" * 3_000_000, headers=form).status_code == 413
    chunks = (b"x" * 100_000 for _ in range(30))
    assert ana.post("/entry", content=chunks, headers=form).status_code == 413
    assert ana.post("/entry", content=b"&".join(b"a%d=1" % n for n in range(100)), headers=form).status_code == 400
    assert ana.post("/entry", content=b"text=\xff\xfe", headers=form).status_code == 400


@pytest.mark.parametrize("changed", [
    {"kind": "admin"}, {"item": "x"}, {"item": "-1"}, {"item": "9" * 40}, {"visible_ms": "1e9"}, {"choice": "left 9"},
    {"choice": "drop table"}, {"lease": "x"}, {"guideline": "77"}, {"client_id": ""}, {"client_id": "x" * 200},
])  # fmt: skip
def test_an_entry_that_makes_no_sense_is_refused(store, ana, changed):
    data = {**fields(ana.get("/work").text), "choice": "left 3", "acceptable_left": "yes", "acceptable_right": "no", **changed}
    reply = ana.post("/entry", data=data, headers=JSON)
    stored = list(store.events())
    assert reply.status_code == 400 and reply.json()["error"]["text"] and not stored


def test_too_many_requests_are_slowed_down_each_person_apart(store):
    client = signed_in(store, "ana", page_rate=(0.001, 5))
    assert [client.get("/guidelines").status_code for _ in range(7)] == [200] * 5 + [429] * 2
    assert int(client.get("/guidelines").headers["retry-after"]) >= 1
    token = store.new_token("ben")
    assert client.post("/join", data={"link": token}, headers=ORIGIN).status_code == 303
    assert client.get("/guidelines").status_code == 200


def test_guessing_links_is_slowed_down(store):
    client = world.client_of(store, join_rate=(0.001, 5))
    codes = [client.post("/join", data={"link": f"guess {n}"}, headers=ORIGIN).status_code for n in range(7)]
    assert codes == [403] * 5 + [429] * 2


def test_buckets_fill_again_and_stay_bounded():
    now = [0.0]
    buckets = Buckets(2.0, 3, clock=lambda: now[0])
    assert [buckets.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] = 0.5
    assert buckets.wait("a") == 0 and buckets.wait("a") == 0.5
    for number in range(10_000):
        buckets.wait(number)
    assert len(buckets._kept) <= 4096


PATHS = ("/work", "/mine", "/guidelines", "/join/x", "/nothing", "/static/page.js", "/health", "/entry")


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_headers(ana, path):
    headers = ana.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "*" not in policy and "data:" not in policy
    assert "frame-ancestors 'none'" in policy and "require-trusted-types-for 'script'" in policy
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
    assert "immutable" in headers["cache-control"] if "static" in path else headers["cache-control"] == "no-store"


def test_refusals_of_the_guard_have_the_headers_too(store):
    reply = world.client_of(store).get("/work", headers={"host": "evil.example"})
    assert "default-src 'none'" in reply.headers["content-security-policy"]


def test_pages_load_nothing_from_elsewhere_and_hold_no_inline_script(ana):
    for path in ("/work", "/mine", "/guidelines", "/join/x"):
        page = ana.get(path).text
        assert not re.search(r"""\s(?:src|href|action)\s*=\s*["'](?!/|\#main)""", page), path
        assert "<script>" not in page and "<style" not in page and not re.search(r"\son\w+\s*=", page) and " style=" not in page
        for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
            assert ana.get(address).status_code == 200


def test_a_full_disk_is_said_clearly(tmp_path):
    class Full(type(world.collection(tmp_path / "votes.db"))):
        def record(self, annotator_id, entry):
            raise StorageFull("the disk is full, so the last entry was not kept; all earlier ones are", where="votes.db")

    with Full.open(tmp_path / "votes.db") as store:
        client = signed_in(store, "ana")
        told = vote(client)
        assert told.status_code == 507 and "all earlier ones are" in told.json()["error"]["text"]
        page = client.post("/entry", data={**fields(client.get("/work").text), "choice": "both_bad"}, headers=ORIGIN)
        assert page.status_code == 507 and "The disk is full" in page.text


def test_an_entry_needs_a_person_who_takes_part(store, ana):
    data = {**fields(ana.get("/work").text), "choice": "left 3", "acceptable_left": "yes", "acceptable_right": "no"}
    store.revoke("ana")
    assert ana.post("/entry", data=data, headers=JSON).status_code == 401
    assert not list(store.events())
