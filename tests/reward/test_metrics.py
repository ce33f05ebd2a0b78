import math

import pytest

from reward.metrics import ExpectedCalibrationError, LongerWins, PairwiseAccuracy, Perplexity, WinRate


def test_pairwise_accuracy_counts_a_tie_half():
    found = PairwiseAccuracy().compute(predictions=[2.0, 0.0, 1.0, 5.0], references=[1.0, 1.0, 1.0, 1.0])
    assert found["accuracy"] == 2.5 / 4 and found["ties"] == 1 and found["low"] < 0.625 < found["high"]


def test_longer_wins_takes_lengths():
    assert LongerWins().compute(predictions=[10, 2, 3], references=[1, 5, 3])["accuracy"] == 0.5


def test_batches_may_be_added():
    metric = PairwiseAccuracy()
    metric.add_batch(predictions=[1.0, 1.0], references=[0.0, 2.0])
    metric.add(prediction=3.0, reference=0.0)
    assert metric.compute()["accuracy"] == pytest.approx(2 / 3)


def test_win_rate_is_over_prompts():
    found = WinRate().compute(predictions=[1.0, 0.25, 0.5, 1.0], references=[3, -2, 0, 1])
    assert found["win_rate"]["value"] == 2.75 / 4 and found["win_rate"]["n"] == 4
    assert found["win_rate"]["low"] < 2.75 / 4 < found["win_rate"]["high"] and not found["length_controlled_extrapolates"]


def test_forty_of_forty_prompts_are_no_certainty():
    found = WinRate().compute(predictions=[1.0] * 40, references=[0.0] * 40)["win_rate"]
    assert found["value"] == found["high"] == 1.0 and found["low"] == pytest.approx(1 / (1 + 1.959964**2 / 40), abs=1e-6)


def test_a_win_rate_at_equal_length_by_hand():
    """Of the longer answers half win, of the shorter ones too: length explains nothing, and both rates are a half."""
    found = WinRate().compute(predictions=[1, 0, 1, 0] * 10, references=[1, 1, -1, -1] * 10)
    assert found["win_rate"]["value"] == 0.5 and found["length_controlled"]["value"] == pytest.approx(0.5)
    longer = WinRate().compute(predictions=[1, 0] * 20, references=[5, 4] * 20)
    assert longer["length_controlled_extrapolates"]


def test_perplexity_by_hand():
    found = Perplexity().compute(predictions=[2.0, 4.0], references=[1, 2])
    assert found["loss"] == 2.0 and found["perplexity"] == pytest.approx(math.exp(2)) and found["tokens"] == 3
    assert found["low"] == found["high"] == pytest.approx(math.exp(2))


def test_calibration_error():
    found = ExpectedCalibrationError().compute(predictions=[math.log(3)] * 4, references=[0.0] * 4)
    assert found["ece"] == pytest.approx(0.25) and found["reliability"][0]["count"] == 4
