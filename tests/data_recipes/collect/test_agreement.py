"""Agreement: published examples, arithmetic by hand, limits, and loops in plain Python."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from data_recipes.collect import agreement as measured
from data_recipes.collect.agreement import VERDICT_VALUES, nominal, squared
from tests.data_recipes.collect.made_votes import vote

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: four observers, twelve units, missing data
PUBLISHED = """1 2 3 3 2 1 4 1 2 . . .
               1 2 3 3 2 2 4 1 2 5 . 3
               . 3 3 3 2 3 4 2 2 5 1 .
               1 2 3 3 2 4 4 1 2 5 1 ."""
FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)


def ratings(text: str) -> np.ndarray:
    """Lines are raters and columns items; returns (items, raters) with NaN for a dot."""
    return np.array([[np.nan if word == "." else float(word) for word in line.split()] for line in text.splitlines()]).T


def noisy(seed: int = 0, items: int = 40, raters: int = 4, missing: float = 0.3) -> np.ndarray:
    """Random verdicts with some agreement and with gaps."""
    rng = np.random.default_rng(seed)
    truth_U = rng.integers(-1, 2, size=items)
    values_UA = np.where(rng.random((items, raters)) < 0.6, truth_U[:, None], rng.integers(-1, 2, size=(items, raters)))
    return np.where(rng.random((items, raters)) < missing, np.nan, values_UA.astype(float))


# --------------------------------------------------------------------------------------------------- Krippendorff's alpha


def test_alpha_is_krippendorffs_published_example():
    values_UA = ratings(PUBLISHED)
    assert measured.alpha_of(values_UA, FIVE, nominal)["value"] == pytest.approx(0.743, abs=5e-4)
    assert measured.alpha_of(values_UA, FIVE, squared)["value"] == pytest.approx(0.849, abs=5e-4)
    assert measured.alpha_of(values_UA, FIVE, nominal)["n"] == 11  # the twelfth unit has one rating


def test_alpha_by_hand():
    # two raters, items (1, 1), (1, 2): o_11 = 2, o_12 = o_21 = 1; n_1 = 3, n_2 = 1, n = 4
    # alpha = 1 - (4 - 1) * 2 / (3 * 1 * 2) = 0
    assert measured.alpha_of(ratings("1 1\n1 2"), (1.0, 2.0), nominal)["value"] == pytest.approx(0.0)


def test_alpha_of_full_agreement_is_one_and_of_full_disagreement_below_zero():
    assert measured.alpha_of(ratings("1 2 1\n1 2 1"), (1.0, 2.0), nominal)["value"] == 1.0
    assert measured.alpha_of(ratings("1 2 1 2\n2 1 2 1"), (1.0, 2.0), nominal)["value"] < 0


def loop_alpha(values_UA: np.ndarray, distance) -> float:
    """Alpha from its definition: mean distance within items over mean distance of all values that are paired."""
    within, everything = [], []
    for row in values_UA:
        told = [value for value in row if not np.isnan(value)]
        if len(told) > 1:
            everything += told
            within += [(distance(one, other), 1 / (len(told) - 1)) for one, other in permutations(told, 2)]
    observed = sum(d * weight for d, weight in within) / len(everything)
    apart = [distance(one, other) for one, other in permutations(everything, 2)]
    return 1 - observed / (sum(apart) / len(apart))


@pytest.mark.parametrize("seed", range(4))
def test_alpha_is_that_of_a_loop(seed):
    values_UA = noisy(seed)
    found = measured.alpha_of(values_UA, VERDICT_VALUES, nominal)["value"]
    assert found == pytest.approx(loop_alpha(values_UA, lambda one, other: float(one != other)), rel=1e-12)
    found = measured.alpha_of(values_UA, VERDICT_VALUES, squared)["value"]
    assert found == pytest.approx(loop_alpha(values_UA, lambda one, other: (one - other) ** 2), rel=1e-12)


# ----------------------------------------------------------------------------------------------------------- Cohen, Fleiss


def test_cohens_kappa_by_hand():
    # table yes/no: 20, 5, 10, 15: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4
    ours = np.repeat([1.0, 1.0, 0.0, 0.0], [20, 5, 10, 15])
    theirs = np.repeat([1.0, 0.0, 1.0, 0.0], [20, 5, 10, 15])
    found = measured.cohen_of(ours, theirs, (0.0, 1.0), nominal)
    assert found["value"] == pytest.approx(0.4)
    assert found["low"] < 0.4 < found["high"]
    # with two values squared weights are the same thing
    assert measured.cohen_of(ours, theirs, (0.0, 1.0), squared)["value"] == pytest.approx(0.4)


@pytest.mark.parametrize("seed", range(4))
def test_cohens_kappa_is_scikit_learns(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    ours = rng.integers(-4, 5, size=60).astype(float)
    theirs = np.where(rng.random(60) < 0.5, ours, rng.integers(-4, 5, size=60))
    for metric, weights in ((nominal, None), (squared, "quadratic")):
        found = measured.cohen_of(ours, theirs, measured.STRENGTHS, metric)["value"]
        assert found == pytest.approx(metrics.cohen_kappa_score(ours, theirs, weights=weights), rel=1e-12)


def test_cohens_kappa_of_a_rater_with_itself_is_one_and_with_its_opposite_minus_one():
    ours = np.array([1.0, -1.0] * 10)
    assert measured.cohen_of(ours, ours, VERDICT_VALUES, nominal)["value"] == 1.0
    assert measured.cohen_of(ours, -ours, VERDICT_VALUES, nominal)["value"] == -1.0


def test_fleiss_kappa_is_the_published_example_of_its_formula():
    # ten subjects, fourteen raters, five categories: P = 0.378, P_e = 0.213, kappa = 0.210
    counts_UK = np.array([[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
                          [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]])
    values_UA = np.array([np.repeat(FIVE, row) for row in counts_UK])
    found = measured.fleiss_of(values_UA, FIVE)
    assert found["value"] == pytest.approx(0.210, abs=5e-4)
    assert found["raters"] == 14 and found["left_out"] == 0


def loop_fleiss(values_UA: np.ndarray) -> float:
    n, shares, total = values_UA.shape[1], [], Counter()
    for row in values_UA.tolist():
        seen = Counter(row)
        total.update(seen)
        shares.append((sum(count * count for count in seen.values()) - n) / (n * (n - 1)))
    chance = sum((count / values_UA.size) ** 2 for count in total.values())
    return (sum(shares) / len(shares) - chance) / (1 - chance)


@pytest.mark.parametrize("seed", range(4))
def test_fleiss_kappa_is_that_of_a_loop_and_one_where_all_agree(seed):
    values_UA = noisy(seed, missing=0.0)
    assert measured.fleiss_of(values_UA, VERDICT_VALUES)["value"] == pytest.approx(loop_fleiss(values_UA), rel=1e-12)
    alike_UA = np.repeat(values_UA[:, :1], 3, axis=1)
    assert measured.fleiss_of(alike_UA, VERDICT_VALUES)["value"] == 1.0


def test_fleiss_kappa_takes_the_items_with_the_most_common_number_of_votes():
    found = measured.fleiss_of(ratings("1 2 1 1 2\n1 2 2 . 1\n. . . . 2"), (1.0, 2.0))
    assert (found["raters"], found["n"], found["left_out"]) == (2, 3, 1)


# ---------------------------------------------------------------------------------------------------------- raw agreement


def test_raw_agreement_by_hand_with_and_without_ties():
    # items: (1, 1) agree; (1, 0) differ; (0, 0) agree; (1, -1) differ
    values_UA = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0], [1.0, -1.0]])
    assert measured.raw_of(values_UA, ties=True)["value"] == pytest.approx(0.5)
    assert measured.raw_of(values_UA, ties=False)["value"] == pytest.approx(0.5)  # of two items that have two votes for a side
    assert measured.raw_of(values_UA, ties=False)["n"] == 2


@pytest.mark.parametrize("seed", range(3))
def test_raw_agreement_is_that_of_a_loop(seed):
    values_UA = noisy(seed)
    by_item = []
    for row in values_UA:
        told = [value for value in row if not np.isnan(value)]
        pairs = list(permutations(told, 2))
        if pairs:
            by_item.append(sum(one == other for one, other in pairs) / len(pairs))
    assert measured.raw_of(values_UA, ties=True)["value"] == pytest.approx(sum(by_item) / len(by_item), rel=1e-12)


# ----------------------------------------------------------------------------------------------- what is undefined is said


def test_undefined_is_said_and_never_printed_as_one():
    same_UA = np.ones((10, 3))
    for found in (measured.alpha_of(same_UA, VERDICT_VALUES, nominal), measured.fleiss_of(same_UA, VERDICT_VALUES),
                  measured.cohen_of(same_UA[:, 0], same_UA[:, 1], VERDICT_VALUES, nominal)):
        assert "value" not in found
        assert "chance" in found["undefined"] or "throughout" in found["undefined"]
    alone_UA = np.array([[1.0, np.nan], [np.nan, 1.0]])
    assert measured.alpha_of(alone_UA, VERDICT_VALUES, nominal)["undefined"] == measured.NO_PAIR
    assert measured.raw_of(alone_UA, ties=True)["undefined"] == measured.NO_PAIR
    assert "undefined" in measured.cohen_of(np.zeros(0), np.zeros(0), VERDICT_VALUES, nominal)


def test_one_item_has_no_interval_and_flat_draws_are_marked():
    found = measured.alpha_of(np.array([[1.0, -1.0]]), VERDICT_VALUES, nominal)
    assert found["low"] is None and found["n"] == 1
    assert measured.alpha_of(ratings("1 2 1 2\n1 2 1 2"), (1.0, 2.0), nominal)["flat"]


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Kappa of a known table, 200 samples of 60 items: a percentile bootstrap of 95 % covers a little less."""
    rng = np.random.default_rng(5)
    covered, truth = 0, 0.6  # two values, half each, the second rater repeats the first in 80 % of the cases
    for seed in range(200):
        ours = rng.integers(0, 2, size=60) * 2.0 - 1
        theirs = np.where(rng.random(60) < 0.8, ours, -ours)
        found = measured.cohen_of(ours, theirs, VERDICT_VALUES, nominal, seed=seed)
        covered += found["low"] <= truth <= found["high"]
    assert 0.89 <= covered / 200 <= 0.99


# ------------------------------------------------------------------------------------------------------------- from votes


def test_agreement_is_that_of_peoples_own_first_votes():
    votes = [vote(name, item, value) for item, pair in enumerate([(2, 1), (-1, 1), (-3, -3), (0, 0)])
             for name, value in zip(("ana", "ben"), pair, strict=True)]
    beside = [vote("ana", 9, 1, kind="gold", gold="second"), vote("ben", 9, 1, kind="gold", gold="second"),
              vote("ana", 0, -4, kind="repeat", of=1), vote("model", 0, -4, role="judge"),
              vote("lea", 0, 4, role="lead", settles=True)]
    found = measured.agreement([*votes, *beside])
    assert (found["people"], found["items"], found["shared_items"]) == (2, 4, 4)
    assert found["raw_with_ties"]["value"] == 0.75
    assert found["raw_without_ties"]["value"] == pytest.approx(2 / 3)
    assert [pair["people"] for pair in found["cohen"]] == [["ana", "ben"]]


def test_both_good_and_both_bad_count_as_neither():
    votes = [vote("ana", 1, 0, verdict="both_good"), vote("ben", 1, 0, verdict="both_bad"),
             vote("ana", 2, 1), vote("ben", 2, 1)]
    assert measured.agreement(votes)["raw_with_ties"]["value"] == 1.0
