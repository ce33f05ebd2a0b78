"""Simulated people of known habits, who take tasks from a store and answer as the page's people do.

They show that `stats` tells them apart, and how a reward model's accuracy grows with votes. A simulated person sees only
the task: the conversation and two answers, left and right.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from data_recipes.collect.model import Entry, Task
from data_recipes.collect.store import Store

Judge = Callable[[tuple[dict, ...], str], float]  # conversation and answer -> how good it is
Habit = Callable[[Task, random.Random], dict[str, Any]]  # task -> body of a vote
READING = 240.0  # words a minute, the mean of Brysbaert, J. of Memory and Language 109 (2019)


def always_left(task: Task, rng: random.Random) -> dict[str, Any]:
    """Never reads."""
    return vote("left", rng)


def at_random(task: Task, rng: random.Random) -> dict[str, Any]:
    """A coin, and a tie now and then."""
    return vote(rng.choices(("left", "right", "tie"), (0.45, 0.45, 0.1))[0], rng)


def longer(task: Task, rng: random.Random) -> dict[str, Any]:
    """Takes the longer answer for the better one."""
    ahead = len(task.left) - len(task.right)
    return vote("left" if ahead > 0 or ahead == 0 and rng.random() < 0.5 else "right", rng)


@dataclass(frozen=True)
class Careful:
    """Knows which answer is better and errs with probability `error`; says tie where both are within `blur`."""

    judge: Judge
    error: float = 0.1
    blur: float = 1e-9

    def __call__(self, task: Task, rng: random.Random) -> dict[str, Any]:
        ahead = self.judge(task.messages, task.left) - self.judge(task.messages, task.right)
        if rng.random() < self.error:
            ahead = -ahead
        return vote("tie" if abs(ahead) <= self.blur else "left" if ahead > 0 else "right", rng)


def vote(choice: str, rng: random.Random) -> dict[str, Any]:
    """The body of a vote, with some strength for a side."""
    return {"choice": choice, "strength": rng.randint(1, 4) if choice in ("left", "right") else None}


class Person:
    """One simulated person at a store. pace: words a minute, on which the visible time depends, within a third."""

    def __init__(self, store: Store, name: str, habit: Habit, *, seed: int = 0, pace: float = READING) -> None:
        self.store, self.habit, self.pace, self.rng = store, habit, pace, random.Random(f"{seed}:{name}")
        self.who = next(person.id for person in store.annotators() if person.name == name)
        self.guideline = store.guidelines().version

    def answer(self) -> bool:
        """Takes a task and votes; False where nothing is left."""
        task = self.store.claim(self.who)
        if task is None:
            return False
        words = sum(len(text.split()) for text in (*(turn["content"] for turn in task.messages), task.left, task.right))
        visible_ms = round(words / (self.pace * self.rng.uniform(0.75, 1.33)) * 60_000)
        body = self.habit(task, self.rng)
        # the lease is a name of its own for each task, and so for the one vote on it
        self.store.record(self.who, Entry(task.lease, "vote", task.item, body, task.lease, visible_ms, self.guideline))
        return True


def answer_all(store: Store, habits: Mapping[str, Habit], *, seed: int = 0, most: int | None = None,
               paces: Mapping[str, float] | None = None) -> dict[str, int]:
    """Lets people answer in turns until nothing is left, or each has given `most` votes; how many each gave."""
    paces, done = paces or {}, dict.fromkeys(habits, 0)
    waiting = {name: Person(store, name, habit, seed=seed, pace=paces.get(name, READING)) for name, habit in habits.items()}
    while waiting:
        for name, person in list(waiting.items()):
            if done[name] == most or not person.answer():
                del waiting[name]
            else:
                done[name] += 1
    return done
