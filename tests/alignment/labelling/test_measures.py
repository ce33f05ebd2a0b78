"""Figures with intervals, calibration, the trivial guess and the rates of groups."""

import numpy as np
import pytest

from alignment.labelling import measures
from alignment.labelling.measures import Answered
from data_recipes.intervals import wilson
from data_recipes.labels import Problem

THREE = Problem("single", ("a", "b", "c"))
TAGS = Problem("token", ("O", "B-X", "I-X"), "BIO")


def answered(rows: int = 300, noise: float = 1.0, sure: float = 3.0):
    rng = np.random.default_rng(4)
    truth = rng.integers(3, size=rows)
    return Answered(THREE, truth, sure * (np.eye(3)[truth] + noise * rng.normal(size=(rows, 3))))


def test_the_figures_are_those_of_the_formulas_and_accuracy_has_wilsons_interval():
    found = measures.with_intervals(answered())
    right = int((answered().guess == answered().truth).sum())
    assert found["accuracy"] == pytest.approx(measures.jsonable(wilson(right, 300)))
    assert all(value["low"] <= value["value"] <= value["high"] for value in found.values())
    assert measures.figures(answered())["macro_f1"] == pytest.approx(found["macro_f1"]["value"])


def test_a_bootstrap_of_a_mean_is_that_of_the_intervals_file():
    from data_recipes.intervals import bootstrap_mean

    values = np.random.default_rng(1).normal(size=50)
    found = measures.bootstrapped(lambda weights: {"mean": weights @ values / weights.sum(-1)}, 50, seed=3)["mean"]
    assert (found.low, found.high) == pytest.approx((bootstrap_mean(values, seed=3).low, bootstrap_mean(values, seed=3).high))


def test_calibration_mends_a_model_that_is_too_sure_and_ranks_nothing_anew():
    found = measures.calibrated(answered(noise=1.0, sure=8.0))
    assert found["temperature"] > 2 and found["ece_after"]["value"] < 0.5 * found["ece_before"]["value"]
    scaled = answered(sure=8.0).scaled(found["temperature"])
    assert (scaled.guess == answered(sure=8.0).guess).all()


def test_rows_that_are_all_answered_rightly_have_no_temperature():
    truth = np.array([0, 1, 2] * 4)
    assert measures.temperature_of(Answered(THREE, truth, np.eye(3)[truth])) == 1.0


def test_the_trivial_guess_is_that_of_the_training_rows():
    train = [2, 2, 1]
    words, said = measures.trivial(answered(), train)
    assert words == "always c, the commonest" and set(said.guess) == {2}
    numbers = Answered(Problem("regression"), np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    assert measures.trivial(numbers, [1.0, 5.0])[1].logits.tolist() == [3, 3]
    several = Answered(Problem("multi", ("a", "b")), np.array([[True, False]]), np.zeros((1, 2)))
    words, said = measures.trivial(several, [[1, 0], [1, 1], [1, 0]])
    assert words == "always a" and said.guess.tolist() == [[True, False]]


def test_groups_have_their_own_rates_and_rows_without_one_are_left_out():
    one = answered(6)
    found = measures.by_group(one, ["x", "x", "y", "y", "y", None])
    assert [(group["group"], group["rows"]) for group in found] == [("x", 2), ("y", 3)]
    part = one.part([False, False, True, True, True, False])
    assert found[1]["accuracy"]["value"] == pytest.approx((part.guess == part.truth).mean())
    assert sum(found[1][f"called {name}"]["value"] for name in "abc") == pytest.approx(1)


def test_words_are_drawn_by_sentence_and_a_part_numbers_them_anew():
    unit = np.array([0, 0, 1, 1, 2])
    truth = np.array([1, 2, 0, 1, 0])
    logits = 5 * np.eye(3)[np.array([1, 2, 0, 0, 0])]
    whole = Answered(TAGS, truth, logits, unit)
    assert measures.figures(whole)["entity_f1"] == pytest.approx(2 / 3)
    assert measures.figures(whole)["accuracy"] == pytest.approx(4 / 5)
    assert whole.part([False, True, True]).unit.tolist() == [0, 0, 1]
    assert measures.with_intervals(whole)["entity_f1"]["n"] == 3


def test_all_in_one_table_for_every_task():
    rng = np.random.default_rng(2)
    held = rng.random((40, 2)) < 0.5
    several = Answered(Problem("multi", ("a", "b")), held, 2.0 * held - 1 + rng.normal(size=(40, 2)))
    numbers = Answered(Problem("regression"), rng.normal(size=40), rng.normal(size=40))
    for one, train in ((answered(40), [0, 1, 2]), (several, held), (numbers, numbers.truth)):
        found = measures.measured(one, train, groups=["x", "y"] * 20)
        assert found["main"] in found["figures"] and len(found["groups"]) == 2
        assert found["baseline"]["figures"].keys() == found["figures"].keys()
        assert ("calibration" in found) == (one is not numbers)
    constant = measures.with_intervals(measures.trivial(numbers, numbers.truth)[1])
    assert constant["spearman"]["value"] is None  # a correlation with a constant is no number, and JSON has none
