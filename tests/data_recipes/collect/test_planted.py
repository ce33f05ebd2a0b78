"""Planted people answer a real store, and `stats` tells who is who within 60 votes each.

The people see 48 items of the toy world (the better answer is as often the shorter one), 6 gold items and 6 hidden repeats.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from data_recipes.collect import concerns, simulate
from data_recipes.collect.model import Answer, Item, ListPlan, Plan
from data_recipes.collect.store import Store
from data_recipes.collect.stats_report import report
from data_recipes.toy import people, world, write

EACH = 60
TOLD_BY = {"left": "side", "random": "guessing apart", "longer": "length"}


def items(seed: int, count: int, kind: str = "normal") -> tuple[Item, ...]:
    """Pairs of the toy world; a coin says which answer stands first."""
    rng, made = random.Random(f"{seed}:{kind}"), []
    for request in world.draw_requests(rng, count, held_out=False):
        pair = write.pair(rng, request, 0.0)
        answers = [Answer(pair["chosen"][0]["content"]), Answer(pair["rejected"][0]["content"])]
        turned = rng.random() < 0.5
        expected = None if kind == "normal" else "second" if turned else "first"
        made.append(Item(tuple(request.prompt), *(reversed(answers) if turned else answers), kind, expected))
    return tuple(made)


def collected(folder: Path, seed: int, habits: dict, *, normal: int = 48, gold: int = 6, repeats: float = 0.125) -> list:
    """The votes of simulated people, each of whom gives 60."""
    rows = ListPlan("main", items(seed, normal) + items(seed, gold, "gold"), overlap=len(habits), repeats=repeats, seed=seed)
    with Store.create(folder / f"{seed}.db", Plan((rows,), tuple(habits), acceptable=False)) as store:
        assert set(simulate.answer_all(store, habits, seed=seed).values()) == {EACH}
        return store.votes()


def team(careful: int, error: float = 0.1) -> dict:
    """Three who are not careful, and some who are."""
    others = {f"careful {number}": simulate.Careful(people.judge, error) for number in range(careful)}
    return {"left": simulate.always_left, "random": simulate.at_random, "longer": simulate.longer, **others}


def told(votes: list) -> Counter:
    """Who was told for what they are: by a check of their own kind; the careful by none."""
    counts: Counter = Counter()
    for name, said in concerns.opinions(votes).items():
        kind, checks = name.split()[0], [concern.check for concern in said.concerns]
        right = not checks if kind == "careful" else any(check in TOLD_BY[kind] for check in checks)
        counts[kind, "told" if right else "open" if said.verdict == "open" else "wrong"] += 1
    return counts


def test_each_planted_person_is_told_apart_within_sixty_votes(tmp_path):
    counts: Counter = Counter()
    for seed in range(3):
        counts += told(collected(tmp_path, seed, team(3)))
    assert counts == {("left", "told"): 3, ("random", "told"): 3, ("longer", "told"): 3, ("careful", "told"): 9}


def test_the_report_has_a_reason_for_each_and_none_for_the_careful(tmp_path):
    found = report(collected(tmp_path, 7, team(3)))
    said = {one["name"]: (one["verdict"], [concern["text"] for concern in one["concerns"]]) for one in found["people"]}
    assert "prefers the left side: 100 %" in said["left"][1][0]
    assert any("prefers the longer answer: 100 %" in text for text in said["longer"][1])
    assert said["random"][0] == "talk"
    assert said["careful 0"] == ("fine", [])
    assert found["together"]["hours"] > 0


@pytest.mark.campaign
@pytest.mark.parametrize(("careful", "plan", "least"), [
    (3, {}, 0.95),  # among three careful people
    (1, {"normal": 40, "gold": 10, "repeats": 0.25}, 0.80),  # one of each: nobody to lean on, only gold and repeats
])
def test_planted_people_over_many_seeds(tmp_path, careful, plan, least):
    counts: Counter = Counter()
    for seed in range(200):
        counts += told(collected(tmp_path, seed, team(careful), **plan))
    shares = {kind: counts[kind, "told"] / sum(count for (other, _), count in counts.items() if other == kind)
              for kind in ("left", "random", "longer", "careful")}
    print(careful, plan, shares, dict(counts))
    assert min(shares.values()) >= least
    assert counts["careful", "wrong"] <= 0.03 * 200 * careful
