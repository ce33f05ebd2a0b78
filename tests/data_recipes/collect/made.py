"""Small collections for tests: made-up items, a clock that stands still until it is moved, and people who vote."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from data_recipes.collect.model import Answer, Entry, Item, ListPlan, Plan, Task
from data_recipes.collect.store import Store

NUMBERS = itertools.count(1)


@dataclass
class Clock:
    """Seconds, moved by hand."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def item(number: int, kind: str = "normal", **more) -> Item:
    """An item whose texts tell which it is."""
    chat = ({"role": "user", "content": f"question {number}"},)
    return Item(chat, Answer(f"first {number}", "runs/a", {"seed": 1}), Answer(f"second {number}", "runs/b"), kind, **more)


def items(count: int, **more) -> tuple[Item, ...]:
    return tuple(item(number, **more) for number in range(count))


def made(path: Path, count: int = 6, people: tuple[str, ...] = ("ana", "ben"), *, clock=None, plan: dict | None = None,
         **of_list) -> Store:
    """A collection. of_list: settings of its list; plan: of the collection."""
    of_list.setdefault("items", items(count))
    of_list.setdefault("repeats", 0.0)
    whole = Plan((ListPlan(**of_list),), people, guidelines="Be fair.", **(plan or {}))
    return Store.create(path, whole, clock=clock or Clock())


class Voter:
    """One person at the page, with client ids of their own."""

    def __init__(self, store: Store, who: int) -> None:
        self.store, self.who = store, who

    def name(self) -> str:
        return f"p{self.who}-{next(NUMBERS)}"

    def send(self, kind: str, task: Task, body: dict, *, client_id: str | None = None, ms: int = 2000) -> dict:
        entry = Entry(client_id or self.name(), kind, task.item, body, task.lease, ms)
        return self.store.record(self.who, entry)

    def vote(self, task: Task | None = None, choice: str = "left", strength: int | None = 2, acceptable=None, tags=()) -> dict:
        task = task or self.store.claim(self.who)
        body = {"choice": choice, "strength": strength, "acceptable": acceptable, "tags": list(tags)}
        return self.send("vote", task, body)

    def for_text(self, text: str, strength: int = 2) -> dict:
        """Votes for the answer whose text begins with `text`, wherever it stands."""
        task = self.store.claim(self.who)
        return self.vote(task, "left" if task.left.startswith(text) else "right", strength)

    def undo(self, reply: dict) -> dict:
        return self.store.record(self.who, Entry(self.name(), "undo", reply["item"], {"event": reply["event"]}))

    def all(self) -> int:
        """Votes until nothing is left."""
        count = 0
        while (task := self.store.claim(self.who)) is not None:
            self.vote(task)
            count += 1
        return count
