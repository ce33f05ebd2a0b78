import math

import pytest

from data_recipes.errors import Refused
from reward.report_card import report_card, score_pairs
from tests import tiny
from tests.reward.test_scalar import scorer


def test_report_card_by_hand():
    card = report_card([2.0, 1.0, 0.0, 3.0], [1.0, 1.0, 1.0, 1.0], [(9, 1), (2, 8), (5, 5), (9, 2)])
    assert card["pairs"] == 4 and card["accuracy"]["accuracy"] == 2.5 / 4 and card["longer_wins"]["accuracy"] == 2.5 / 4
    assert card["loss"] == pytest.approx(sum(math.log1p(math.exp(-m)) for m in (1, 0, -1, 2)) / 4)
    assert card["scores"]["margin_mean"] == 0.5 and card["scores"]["chosen_mean"] == 1.5
    by_name = {part["slice"]: part for part in card["slices"]}
    assert by_name["chosen is longer"]["accuracy"] == 1.0 and by_name["chosen is shorter"]["accuracy"] == 0.5
    assert by_name["same length"]["pairs"] == 1 and sum(part["pairs"] for part in card["slices"]) == 8


def test_a_head_that_knows_nothing():
    card = report_card([0.0, 0.0], [0.0, 0.0], [(3, 1), (1, 3)])
    assert card["accuracy"]["accuracy"] == 0.5 and card["loss"] == pytest.approx(math.log(2))
    assert card["length_correlation"] is None and card["calibration"]["ece"] == 0


def test_sizes_have_to_agree():
    for arguments in (([], [], []), ([1.0], [1.0, 2.0], [(1, 1)])):
        with pytest.raises(Refused):
            report_card(*arguments)


def test_pairs_are_scored_side_by_side():
    model = scorer(tiny.llama())
    chosen, rejected = score_pairs(model, [([5, 2], [6, 2]), ([7, 7, 2], [8, 2])], pad_id=0)
    again, _ = score_pairs(model, [([7, 7, 2], [8, 2])], pad_id=0)
    assert len(chosen) == len(rejected) == 2 and chosen[1] == pytest.approx(again[0], abs=1e-6)
