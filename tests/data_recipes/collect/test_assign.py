"""What to ask next: each rule draws what it should, and says how probable that was."""

from __future__ import annotations

from collections import Counter

import pytest

from data_recipes.collect import assign, people
from data_recipes.collect.model import STRATEGIES
from data_recipes.errors import Refused
from tests.data_recipes.collect.made import Voter, item, made


def scored(count: int):
    """Items whose disagreement falls and whose gap rises with their number, in two strata of unequal size."""
    return tuple(item(number, disagreement=float(count - number), gap=float(number), stratum="rare" if number < 4 else "often")
                 for number in range(count))


def first_choices(tmp_path, choose: str, share: float, *, seeds: int = 80, count: int = 40) -> list:
    """What the first person would be asked first, under many seeds."""
    found = []
    with made(tmp_path / f"{choose}.db", items=scored(count), choose=choose, random_share=share) as store:
        for seed in range(seeds):
            with store.database.write(durable=False) as db:
                db.execute("UPDATE list SET seed = ?", (seed,))
                found.append(assign.choose(db, people.by_id(db, 1)))
    return found


@pytest.mark.parametrize("choose, best", [("disagreement", range(1, 5)), ("gap", range(37, 41))])
def test_a_score_draws_from_its_best_tenth_but_for_the_random_share(tmp_path, choose, best):
    votes = first_choices(tmp_path, choose, 0.25)
    drawn = Counter(vote.strategy for vote in votes)
    assert drawn.keys() == {choose, "random"} and 8 <= drawn["random"] <= 32
    for vote in votes:
        assert vote.strategy == "random" or vote.item in best
        expected = 0.25 / 40 + (0.75 / 4 if vote.item in best else 0)
        assert vote.probability == pytest.approx(expected)


def test_strata_are_drawn_equally_often_whatever_their_size(tmp_path):
    votes = first_choices(tmp_path, "stratified", 0.1)
    rare = [vote for vote in votes if vote.item <= 4]
    assert 26 <= len(rare) <= 54
    assert {round(vote.probability, 9) for vote in rare} == {round(0.1 / 40 + 0.9 / 2 / 4, 9)}
    assert {round(vote.probability, 9) for vote in votes if vote.item > 4} == {round(0.1 / 40 + 0.9 / 2 / 36, 9)}


def test_a_mix_draws_by_all_rules_and_random_is_uniform(tmp_path):
    assert {vote.strategy for vote in first_choices(tmp_path, "mix", 0.2)} == {"random", "stratified", "disagreement", "gap"}
    votes = first_choices(tmp_path, "random", 0.2)
    assert {vote.probability for vote in votes} == {1 / 40} and len({vote.item for vote in votes}) > 28


def test_items_that_others_began_come_before_new_ones(tmp_path):
    store = made(tmp_path / "v.db", items=scored(20), choose="gap", overlap=2)
    begun = {Voter(store, 1).vote()["item"]}
    for _ in range(4):
        begun.add(Voter(store, 1).send("vote", task := store.claim(1), {"choice": "tie"}, client_id=str(task.item))["item"])
    ben = Voter(store, 2)
    assert {ben.vote()["item"] for _ in range(5)} == begun
    assert {vote.strategy for vote in store.votes() if vote.annotator == "ben"} == {"finish"}


def test_the_same_seed_gives_the_same_order_and_sides(tmp_path):
    runs = []
    for name in ("one", "two"):
        store = made(tmp_path / f"{name}.db", items=scored(30), choose="mix", overlap=2, repeats=0.2, seed=7)
        for turn in range(72):
            task = store.claim(who := 1 + turn % 2)
            Voter(store, who).send("vote", task, {"choice": "left"}, client_id=str(task.item))
        runs.append([(event["item"], event["swapped"], event["strategy"], event["probability"]) for event in store.events()])
    assert runs[0] == runs[1] and len(runs[0]) == 72


@pytest.mark.parametrize("wrong, message", [
    ({"choose": "best"}, "no way to choose"), ({"random_share": 0.0}, "random share"), ({"overlap": 3}, "the list has 2"),
    ({"overlap": 0}, "overlap"), ({"repeats": 2.0}, "repeats"), ({"choose": "gap"}, "needs scores")])
def test_a_plan_that_makes_no_sense_is_refused(tmp_path, wrong, message):
    with pytest.raises(Refused, match=message):
        made(tmp_path / "v.db", **wrong)
    assert "gap" in STRATEGIES and list(tmp_path.iterdir()) == []


def test_what_comes_back_keeps_the_probability_with_which_it_was_drawn(tmp_path):
    store = made(tmp_path / "v.db", items=scored(20), choose="gap")
    store.release(1, store.claim(1).lease)
    Voter(store, 1).vote()
    vote = store.votes()[0]
    assert vote.strategy in ("gap", "random") and vote.probability < 1
