"""Several votes as one: each rule by hand, and the limits in which they agree."""

from __future__ import annotations

import math

import pytest

from data_recipes.collect.aggregate import accepted, outcomes, weigh
from data_recipes.collect.model import Vote


def vote(item: int, who: str, signed: int, verdict: str | None = None, **more) -> Vote:
    verdict = verdict or ("second" if signed > 0 else "first" if signed < 0 else "tie")
    plain = {"acceptable": (None, None), "settles": False, **more}
    return Vote(who, "annotator", item, "main", "normal", None, None, "p", None, "a", "b", signed, verdict, plain["acceptable"],
                False, 1000, 3, 1, 0.0, f"{who}{item}", settles=plain["settles"])


def one(rule: str, *signed: int, **how):
    found = outcomes([vote(1, str(at), value) for at, value in enumerate(signed)], rule, **how)
    return found[0].better, found[0].strength, round(found[0].agreement, 3)


@pytest.mark.parametrize("rule, signed, expected", [
    ("majority", (3, 1, -2), (1, 2.0, 0.667)), ("majority", (3, -2), (None, 0.0, 0.5)), ("majority", (3, 0), (None, 0.0, 0.5)),
    ("majority", (-4, -1, 0), (0, 2.5, 0.667)), ("majority", (2,), (1, 2.0, 1.0)),
    ("unanimous", (3, 1), (1, 2.0, 1.0)), ("unanimous", (3, 1, 0), (None, 0.0, 0.667)),
    ("mean", (3, 1, -1), (1, 1.0, 0.667)), ("mean", (2, -1), (None, 0.0, 0.5)), ("mean", (-4, 1), (0, 1.5, 0.5))])
def test_a_rule_by_hand(rule, signed, expected):
    assert one(rule, *signed) == expected


def test_the_threshold_of_the_mean_is_inclusive():
    assert one("mean", 3, 1, threshold=2.0)[0] == 1 and one("mean", 3, 1, threshold=2.01)[0] is None


def test_each_vote_is_an_outcome_of_its_own():
    found = outcomes([vote(1, "a", 3), vote(1, "b", -1), vote(2, "a", 0, "both_bad")], "each")
    assert [(out.item, out.better, out.strength, out.why) for out in found] == [
        (1, 1, 3, ""), (1, 0, 1, ""), (2, None, 0, "both bad")]


def test_a_lead_who_settled_is_followed_by_every_rule_but_each():
    votes = [vote(1, "a", 3), vote(1, "b", 2), vote(1, "lead", -4, settles=True)]
    for rule in ("majority", "mean", "unanimous", "weighted"):
        assert (outcomes(votes, rule)[0].better, outcomes(votes, rule)[0].strength) == (0, 4)
    assert len(outcomes(votes, "each")) == 3


def test_weights_are_the_log_odds_of_siding_with_the_others():
    votes = [vote(item, who, 1) for item in range(8) for who in "ab"]
    votes += [vote(item, "c", 1 if item < 2 else -1) for item in range(8)]
    weights = weigh(votes)
    assert weights["c"] == 0.0  # agrees in 2 of 8
    # with a and c at odds the others' votes cancel, so that b is judged by items 0 and 1 alone: (2 + 2) / (2 + 3)
    assert weights["a"] == weights["b"] == pytest.approx(math.log(4))
    assert outcomes([*votes, vote(99, "a", 1), vote(99, "c", -1)], "weighted")[-1].better == 1


def test_where_nobody_shares_an_item_all_weigh_the_same_and_the_majority_decides():
    signs = [(1, 1, -1), (-2, -1, 1), (0, 1, 1)]
    votes = [vote(item, f"{who}{item}", sign) for item, cast in enumerate(signs) for who, sign in zip("abc", cast, strict=True)]
    assert weigh([vote(1, "a", 1), vote(2, "b", 1)]) == pytest.approx({"a": math.log(2), "b": math.log(2)})
    assert [out.better for out in outcomes(votes, "majority")] == [1, 0, 1]
    assert [out.better for out in outcomes(votes, "weighted")] == [1, 0, 1]


def test_what_is_acceptable_is_told_or_meant_and_needs_more_than_half():
    told = outcomes([vote(1, "a", 2, acceptable=(False, True)), vote(1, "b", 0, "both_good")], "majority")[0]
    assert told.acceptable == (None, True)
    assert outcomes([vote(1, "a", 0, "both_bad")], "each")[0].acceptable == (False, False)
    assert outcomes([vote(1, "a", 0, "tie")], "each")[0].acceptable == (None, None)
    assert (accepted([True, None, True, False]), accepted([True, False]), accepted([None])) == (True, None, None)
    assert accepted([True, True, False], unanimous=True) is None


def test_why_there_is_no_better_one():
    for votes, why in (((0, 0), "tie"), ((1, -1), "no agreement")):
        assert outcomes([vote(1, str(at), sign) for at, sign in enumerate(votes)], "majority")[0].why == why
    both = [vote(1, "a", 0, "both_bad"), vote(1, "b", 0, "both_bad")]
    assert outcomes(both, "unanimous")[0].why == "both bad"
