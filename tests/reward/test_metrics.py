import math

import numpy as np
import pytest

from reward.metrics import (
    ExpectedCalibrationError,
    LengthControlledWinRate,
    LongerWins,
    PairwiseAccuracy,
    Perplexity,
    WinRate,
    mean_by,
)


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
    ours, theirs = [1, 1, 0, 0], [0, 0, 1, 0]
    assert WinRate().compute(predictions=ours, references=theirs)["win_rate"] == 2.5 / 4
    by_prompt = WinRate().compute(predictions=ours, references=theirs, prompts=["a", "a", "b", "b"])
    assert by_prompt["n"] == 2 and by_prompt["win_rate"] == pytest.approx((1 + 0.25) / 2)
    assert WinRate().compute(predictions=ours, references=ours)["win_rate"] == 0.5


def test_perplexity_by_hand():
    found = Perplexity().compute(predictions=[2.0, 4.0], references=[1, 2])
    assert found["loss"] == 2.0 and found["perplexity"] == pytest.approx(math.exp(2)) and found["tokens"] == 3
    assert found["low"] == found["high"] == pytest.approx(math.exp(2))


def test_calibration_error():
    found = ExpectedCalibrationError().compute(predictions=[math.log(3)] * 4, references=[0.0] * 4)
    assert found["ece"] == pytest.approx(0.25) and found["reliability"][0]["count"] == 4


def test_length_controlled_metric():
    wins, lengths = [1, 0, 1, 0] * 10, [1, 1, -1, -1] * 10
    assert LengthControlledWinRate().compute(predictions=wins, references=lengths)["win_rate"] == pytest.approx(0.5)


def test_mean_by_keeps_the_order():
    assert mean_by([1, 2, 3], ["b", "a", "b"]).tolist() == [2, 2]
    assert np.isclose(mean_by([1.0], ["x"]), 1.0)
