"""Simulated people of known habits, who take tasks from a store and answer as the page's people do.

They show that `stats` tells them apart, and how a reward model's accuracy grows with votes. A simulated person sees only
the task: the conversation and two answers, left and right.
"""

from __future__ import annotations

import random
from collections.abc import Callable
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


def answer_all(store: Store, name: str, habit: Habit, *, seed: int = 0, most: int | None = None, pace: float = READING) -> int:
    """Lets one person answer until nothing is left, or `most` votes are given; how many were.

    pace: words a minute, on which the visible time depends, within a third.
    """
    who = next(person for person in store.annotators() if person.name == name)
    rng, guideline = random.Random(f"{seed}:{name}"), store.guidelines().version
    done = 0
    while most is None or done < most:
        task = store.claim(who.id)
        if task is None:
            break
        words = sum(len(text.split()) for text in (*(turn["content"] for turn in task.messages), task.left, task.right))
        visible_ms = round(words / (pace * rng.uniform(0.75, 1.33)) * 60_000)
        store.record(who.id, Entry(task.lease, "vote", task.item, habit(task, rng), task.lease, visible_ms, guideline))
        done += 1
    return done
