"""The turn of the held-out loss, and what is noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alignment.overfitting import Turning, advice, describe, paired_change


def test_the_change_by_hand():
    # ten rows of two tokens: five lose 0.2 nats a token, five gain 0.1: mean +0.05, spread of +-0.15 a token
    before = np.full(10, 4.0)
    now = before + np.array([0.4, -0.2] * 5)
    change, error = paired_change(now, before, np.full(10, 2.0))
    assert change == pytest.approx(0.05)
    assert error == pytest.approx(math.sqrt(10 / 9 * 10 * 0.3**2) / 20)


def test_rows_that_all_change_alike_leave_no_noise_and_few_rows_no_verdict():
    before, counts = np.arange(1.0, 13.0), np.arange(1.0, 13.0)
    change, error = paired_change(before + 0.5 * counts, before, counts)
    assert change == pytest.approx(0.5) and error == pytest.approx(0.0, abs=1e-9)
    assert paired_change([1.0, 2.0], [1.0, 1.0], [1, 1]) == (0.5, None)


def test_the_error_is_that_of_the_bootstrap():
    random = np.random.default_rng(0)
    counts = random.integers(2, 20, 400).astype(float)
    before = counts * random.gamma(4.0, 0.5, 400)
    now = before + counts * random.normal(0.05, 0.3, 400)
    change, error = paired_change(now, before, counts)
    draws = random.integers(400, size=(4000, 400))
    again = (now - before)[draws].sum(1) / counts[draws].sum(1)
    assert change == pytest.approx((now - before).sum() / counts.sum())
    assert error == pytest.approx(again.std(), rel=0.05)


def test_shapes_are_asserted():
    with pytest.raises(ValueError, match="same rows"):
        paired_change([1.0], [1.0], [1.0, 2.0])


def test_the_change_is_from_the_least_so_far():
    turning, counts = Turning(), [1.0] * 8
    assert turning.advance([3.0] * 8, counts) == {}
    assert turning.advance([2.0] * 8, counts)["eval_loss_change"] == -1.0
    assert turning.advance([2.5] * 8, counts)["eval_loss_change"] == 0.5
    assert turning.advance([2.25] * 8, counts) == {"eval_loss_change": 0.25, "eval_loss_change_error": 0.0}
    assert Turning(turning.best).advance([2.25] * 8, counts)["eval_loss_change"] == 0.25  # after a resume


def held(step, loss, change=None, error=None):
    return {"step": step, "eval_loss": loss, **({} if change is None else {"eval_loss_change": change}),
            **({} if error is None else {"eval_loss_change_error": error})}


@pytest.mark.parametrize(("rows", "turned", "words"), [
    ([held(1, 2.0)], False, "measured once"),
    ([held(1, 2.0), held(2, 1.5, -0.5, 0.1)], False, "least at the end"),
    ([held(1, 1.5), held(2, 1.9, 0.4, 0.1)], True, "learned by heart"),
    ([held(1, 1.5), held(2, 1.6, 0.1, 0.1)], False, "within the noise"),
    ([held(1, 1.5), held(2, 1.6, 0.1)], None, "too few"),
])
def test_what_is_said(rows, turned, words):
    found = describe([{"step": 1, "loss": 1.0}, *rows])
    assert found["turned"] is turned and words in found["sentence"]
    assert bool(advice(found, "last")) == bool(turned) and advice(found, "best") == ""


def test_the_gap_is_to_the_training_loss_just_before_the_last_evaluation():
    train = [{"step": step, "loss": float(step)} for step in range(1, 31)]
    found = describe([*train, held(20, 40.0)])
    assert found["gap"] == {"training": 19.5, "held_out": 40.0, "value": 20.5}
    assert describe(train) == {}
