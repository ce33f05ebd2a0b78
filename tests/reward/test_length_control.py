import numpy as np
import pytest
from scipy import optimize

from reward.calibration import sigmoid
from reward.length_control import RIDGE, extrapolated, fit, length_controlled, squash


def world(intercept, slope, n=4000, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.normal(20, 30, size=n)
    wins = rng.uniform(size=n) < sigmoid(intercept + slope * squash(lengths))
    return wins.astype(float), lengths


def test_by_hand_without_length_it_is_the_win_rate():
    found = length_controlled([1, 1, 1, 0] * 25, [7] * 100)
    # 100 (p - 0.75) + 0.1 ln(p / (1 - p)) = 0 at p = 0.7489
    assert found.value == pytest.approx(0.7489, abs=1e-4) and found.low < 0.75 < found.high


def test_a_win_by_length_alone_is_no_win():
    wins, lengths = world(0.0, 3.0)
    assert wins.mean() > 0.6
    found = length_controlled(wins, lengths, resamples=50)
    assert found.value == pytest.approx(0.5, abs=0.04) and found.low < 0.5 < found.high


def test_swapping_the_sides_mirrors_the_rate():
    wins, lengths = world(0.5, 1.0, n=300)
    ours = length_controlled(wins, lengths, resamples=10).value
    assert length_controlled(1 - wins, -lengths, resamples=10).value == pytest.approx(1 - ours)


def test_agrees_with_a_general_optimizer():
    wins, lengths = world(0.7, -1.2, n=500)
    inputs = squash(lengths)

    def objective(ab):
        logits = ab[0] + ab[1] * inputs
        return np.sum(np.logaddexp(0, logits) - wins * logits) + RIDGE / 2 * np.sum(ab**2)

    theirs = optimize.minimize(objective, np.zeros(2), tol=1e-12).x
    assert fit(wins[None], inputs[None])[0] == pytest.approx(theirs, abs=1e-5)


def test_separated_wins_stay_finite():
    found = length_controlled([1.0] * 50, np.arange(50), resamples=20)
    assert 0.9 < found.value < 1 and found.low == pytest.approx(0.929, abs=1e-3) and found.high == pytest.approx(1)
    both = length_controlled([0.0] * 25 + [1.0] * 25, np.r_[-np.ones(25), np.ones(25)], resamples=20)
    assert both.value == pytest.approx(0.5)


def test_extrapolation_is_seen():
    assert extrapolated([5] * 99 + [-5]) and not extrapolated([5, -5]) and not extrapolated([0, 0])
