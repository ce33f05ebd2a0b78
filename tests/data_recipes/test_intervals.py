"""Each formula by hand, at a limit or identity, and against an independent float64 implementation."""

import math

import numpy as np
import pytest
from scipy import stats

from data_recipes.intervals import (
    bootstrap,
    bootstrap_mean,
    bootstrap_ratio,
    bounds_text,
    mean_or_share,
    paired_difference,
    share_difference,
    wilson,
)

VALUES = np.random.default_rng(1).normal(size=200)


def test_wilson_by_hand():
    # p = 1/2, n = 4, z = 1.96: centre 1/2, half = z / (1 + z^2/4) * sqrt(1/16 + z^2/64)
    z = 1.959963984540054
    half = z / (1 + z * z / 4) * math.sqrt(1 / 16 + z * z / 64)
    found = wilson(2, 4)
    assert (found.low, found.high) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))


def test_wilson_keeps_inside_and_is_symmetric():
    nothing, all_of_them = wilson(0, 40), wilson(40, 40)
    assert nothing.low == pytest.approx(0) and 0 < nothing.high < 0.1
    assert all_of_them.high == pytest.approx(1) and all_of_them.low == pytest.approx(1 - nothing.high)
    wide, narrow = wilson(50, 100), wilson(5_000_000, 10_000_000)
    assert wide.high - wide.low > 100 * (narrow.high - narrow.low)


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (3, 7), (7, 7), (61, 100)])
def test_wilson_agrees_with_scipy(successes, n):
    theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
    ours = wilson(successes, n)
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=1e-12), pytest.approx(theirs.high, abs=1e-12))


def test_wilson_refuses_nonsense():
    for successes, n in ((1, 0), (3, 2), (-1, 5)):
        with pytest.raises(ValueError):
            wilson(successes, n)


def test_bootstrap_by_hand():
    # Two values: a draw's mean is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4, so the 95 % bounds are the ends.
    found = bootstrap_mean([0.0, 1.0])
    assert (found.value, found.low, found.high, found.n) == (0.5, 0.0, 1.0, 2)


def test_bootstrap_of_a_constant_is_a_point_and_seeded():
    assert (bootstrap_mean([3.0] * 5).low, bootstrap_mean([3.0] * 5).high) == (3.0, 3.0)
    assert bootstrap_mean(VALUES, seed=4) == bootstrap_mean(VALUES, seed=4) != bootstrap_mean(VALUES, seed=5)


def test_bootstrap_agrees_with_scipy():
    theirs = stats.bootstrap((VALUES,), np.mean, n_resamples=20_000, method="percentile", random_state=0)
    ours = bootstrap_mean(VALUES, resamples=20_000)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.005)


def test_bootstrap_covers_the_truth():
    draws = np.random.default_rng(0).normal(size=(200, 50))
    hits = [interval.low <= 0 <= interval.high for interval in (bootstrap_mean(row, resamples=400) for row in draws)]
    assert 0.88 <= np.mean(hits) <= 0.99


def test_paired_difference_is_narrower_than_unpaired():
    ours = VALUES + 0.1
    found = paired_difference(ours, VALUES)
    assert (found.value, found.low, found.high) == tuple(pytest.approx(0.1) for _ in range(3))
    assert paired_difference(VALUES, VALUES).value == 0
    with pytest.raises(ValueError):
        paired_difference(VALUES, VALUES[:-1])


def test_equal_on_every_prompt_is_no_certainty():
    same = np.array([1.0, 0.0] * 20)
    found = paired_difference(same, same)
    assert found.value == 0 and found.high == -found.low == wilson(0, 40).high == pytest.approx(0.0876, abs=1e-4)
    assert paired_difference(same, 1 - same).high > 0.2
    apart = paired_difference(np.ones(40), np.zeros(40))
    assert apart.value == apart.high == 1 and apart.low == pytest.approx(1 - 0.0876 * 2**0.5, abs=1e-3)


def test_bounds_that_are_one_point_are_said_as_what_they_are():
    assert bootstrap_mean([3.0] * 5).text() == "3.00 (all 5 alike)" and bootstrap_mean([3.0]).text() == "3.00 (of one)"
    assert bootstrap_mean([0.1] * 7).text(percent=True) == "10.0 % (all 7 alike)"
    assert wilson(0, 4).text(percent=True) == "0.0 % [0.0, 49.0]" and bounds_text(0.5, 0.5, None, ".1f", "tied") == "(all tied)"


def test_ratio_by_hand_and_against_a_loop():
    sums, counts = np.array([1.0, 2.0, 9.0]), np.array([1.0, 4.0, 3.0])
    found = bootstrap_ratio(sums, counts, resamples=3000)
    assert found.value == 12 / 8
    rng = np.random.default_rng(0)
    loop = []
    for _ in range(3000):
        draw = rng.integers(3, size=3)
        loop.append(sum(sums[i] for i in draw) / sum(counts[i] for i in draw))
    assert found.low == pytest.approx(np.quantile(loop, 0.025)) and found.high == pytest.approx(
        np.quantile(loop, 0.975)
    )
    equal = bootstrap_ratio([2.0, 4.0], [1.0, 2.0])
    assert equal.low == equal.high == 2.0


def test_chunks_change_nothing(monkeypatch):
    whole = bootstrap_mean(VALUES, resamples=100)
    seen = []
    monkeypatch.setattr("data_recipes.intervals.CHUNK_CELLS", 200 * 7)
    bootstrap(VALUES.mean, lambda draw: seen.append(draw.shape) or VALUES[draw].mean(1), 200, resamples=100)
    assert sum(rows for rows, _ in seen) == 100 and max(rows for rows, _ in seen) == 7
    assert bootstrap_mean(VALUES, resamples=100) == whole


def test_shares_get_wilson_and_numbers_the_bootstrap():
    assert mean_or_share([0, 0, 0, 0]) == wilson(0, 4)
    assert mean_or_share([0, 0.5, 1]).value == 0.5 and mean_or_share([0, 0.5, 1]) != wilson(1.5, 3)


def test_not_finite_is_refused():
    with pytest.raises(ValueError):
        bootstrap_mean([1.0, float("nan")])
    with pytest.raises(ValueError):
        bootstrap_mean([])


def test_newcombes_own_example_of_two_shares():
    found = share_difference(wilson(56, 70), wilson(48, 80))  # Newcombe 1998, table II, method 10
    assert found.value == pytest.approx(0.2) and (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_equal_shares_differ_by_nothing_and_the_order_turns_the_sign():
    same = share_difference(wilson(10, 40), wilson(10, 40))
    assert same.value == 0 and same.low == pytest.approx(-same.high)
    one, other = share_difference(wilson(3, 20), wilson(9, 30)), share_difference(wilson(9, 30), wilson(3, 20))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_the_difference_of_shares_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    ours, theirs = random.binomial(40, 0.3, 2000), random.binomial(60, 0.1, 2000)
    found = [share_difference(wilson(int(a), 40), wilson(int(b), 60)) for a, b in zip(ours, theirs, strict=True)]
    assert 0.93 < np.mean([interval.low <= 0.2 <= interval.high for interval in found]) < 0.975
