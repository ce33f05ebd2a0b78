"""A small collection, its page, and a browser's manners over httpx: shared by the web tests."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from starlette.testclient import TestClient

from data_recipes.collect.model import Answer, Item, ListPlan, Plan
from data_recipes.collect.store import Store
from data_recipes.collect.web.app import make_app
from data_recipes.collect.web.settings import plan as plan_settings

URL = "http://127.0.0.1:8765"
ORIGIN = {"origin": URL}
JSON = {**ORIGIN, "accept": "application/json"}


def item(number: int, *, prompt: str = "", first: str = "", second: str = "", **other) -> Item:
    """One item with texts of its own unless they are given."""
    asked = prompt or f"Question {number}?"
    return Item(({"role": "user", "content": asked},), Answer(first or f"First answer {number}."),
                Answer(second or f"Second answer {number}."), **other)  # fmt: skip


def collection(path: Path, items: list[Item] | None = None, *, people=("ana", "ben"), overlap: int = 2, **other) -> Store:
    """A new collection with a lead called `lead`."""
    rows = items if items is not None else [item(number) for number in range(6)]
    one = ListPlan(items=tuple(rows), overlap=overlap, repeats=other.pop("repeats", 0.0))
    values = {"guidelines": "# Be fair\n\nPrefer what is *right*.", "tags": ("correct", "clear"), "acceptable": True, **other}
    return Store.create(path, Plan(lists=(one,), people=tuple(people), leads=("lead",), **values))


def client_of(store: Store, **changed) -> TestClient:
    """A browser without a cookie. changed: settings other than the usual ones."""
    settings = replace(plan_settings("127.0.0.1", 8765), **changed)
    return TestClient(make_app(store, settings), base_url=URL, follow_redirects=False)


def signed_in(store: Store, name: str, **changed) -> TestClient:
    """A browser that has used a person's link."""
    client = client_of(store, **changed)
    reply = client.post("/join", data={"link": store.new_token(name)}, headers=ORIGIN)
    assert reply.status_code == 303, reply.text
    return client


def fields(html: str, form: str = "vote") -> dict[str, str]:
    """The hidden fields of one form of a page, by the form's kind."""
    for block in re.findall(r"<form.*?</form>", html, re.DOTALL):
        found = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', block))
        if found.get("kind") == form:
            return found
    raise AssertionError(f"no form {form}")


def vote(client: TestClient, choice: str = "left 3", **other):
    """Opens the item and votes, as the page's script does."""
    page = client.get("/work")
    said = {"choice": choice, "acceptable_left": "yes", "acceptable_right": "no", "visible_ms": "4000"}
    data = {**fields(page.text), **said, **other}
    return client.post("/entry", data=data, headers={**ORIGIN, "accept": "application/json"})
