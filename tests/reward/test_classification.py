"""Figures of classifiers: arithmetic by hand, an identity or limit, and an independent implementation of each."""

import numpy as np
import pytest
from sklearn import metrics as oracle

from reward import classification as figures

RNG = np.random.default_rng(5)
TRUTH, GUESS = RNG.integers(4, size=300), RNG.integers(4, size=300)
GUESS[::2] = TRUTH[::2]
COUNTS = figures.confusion(TRUTH, GUESS, 4)
MANY_TRUE, MANY_GUESSED = RNG.random((200, 3)) < 0.4, RNG.random((200, 3)) < 0.3


def of_rows(truth, guess, classes=4):
    return figures.single_figures(figures.class_counts(truth, guess, classes).sum(0))


def several(truth, guess):
    return figures.multi_figures(figures.label_counts(truth, guess).sum(0), len(truth))



def test_one_class_a_row_by_hand():
    # true a a a b b, called a a b b a: a has precision 2/3, recall 2/3; b has 1/2 and 1/2
    found = of_rows([0, 0, 0, 1, 1], [0, 0, 1, 1, 0], 2)
    assert found["accuracy"] == pytest.approx(0.6)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["weighted_f1"] == pytest.approx(0.6 * 2 / 3 + 0.4 / 2)
    assert found["precision"] == found["recall"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["matthews"] == pytest.approx((2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2))


def test_right_in_all_is_one_and_one_class_alone_is_no_correlation():
    perfect = of_rows(TRUTH, TRUTH)
    assert all(value == pytest.approx(1) for value in perfect.values())
    constant = of_rows(TRUTH, np.zeros(300, int))
    assert constant["matthews"] == 0 and constant["recall"] == pytest.approx(0.25)


def test_one_class_a_row_agrees_with_scikit_learn():
    found = of_rows(TRUTH, GUESS)
    assert COUNTS.tolist() == oracle.confusion_matrix(TRUTH, GUESS).tolist()
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(TRUTH, GUESS))
    assert found["macro_f1"] == pytest.approx(oracle.f1_score(TRUTH, GUESS, average="macro"))
    assert found["weighted_f1"] == pytest.approx(oracle.f1_score(TRUTH, GUESS, average="weighted"))
    assert found["precision"] == pytest.approx(oracle.precision_score(TRUTH, GUESS, average="macro"))
    assert found["recall"] == pytest.approx(oracle.recall_score(TRUTH, GUESS, average="macro"))
    assert found["matthews"] == pytest.approx(oracle.matthews_corrcoef(TRUTH, GUESS))


def test_weights_are_rows_that_count_several_times_and_absent_classes_count_nothing():
    weights = RNG.integers(3, size=(2, 300))
    sums = np.tensordot(weights, figures.class_counts(TRUTH, GUESS, 5), axes=1)
    scores, truth, guess = RNG.random(300).round(1), RNG.normal(size=300).round(1), RNG.normal(size=300)
    numbers = figures.regression_figures(truth, guess, weights)
    for draw, often in enumerate(weights):
        rows = np.repeat(np.arange(300), often)
        for name, value in figures.single_figures(sums).items():
            assert value[draw] == pytest.approx(float(of_rows(TRUTH[rows], GUESS[rows])[name])), name
        assert figures.auroc(scores, TRUTH == 0, weights)[draw] == pytest.approx(
            float(figures.auroc(scores[rows], TRUTH[rows] == 0)))
        for name, value in figures.regression_figures(truth[rows], guess[rows]).items():
            assert numbers[name][draw] == pytest.approx(float(value)), name


def test_area_by_hand_with_a_tie():
    # of the four pairs of a positive and a negative: two won, one tied, one lost
    assert figures.auroc([0.9, 0.4, 0.4, 0.6], [1, 1, 0, 0]) == pytest.approx(2.5 / 4)


def test_area_of_a_perfect_order_of_its_reverse_and_of_a_constant():
    assert figures.auroc([3, 2, 1, 0], [1, 1, 0, 0]) == 1 and figures.auroc([0, 1, 2, 3], [1, 1, 0, 0]) == 0
    assert figures.auroc([1, 1, 1], [1, 0, 0]) == 0.5 and np.isnan(figures.auroc([1, 2], [1, 1]))


def test_areas_agree_with_scikit_learn():
    scores = RNG.random((300, 4)).round(2)  # rounded, so that there are ties
    scores[np.arange(300), TRUTH] += 0.2
    scores /= scores.sum(1, keepdims=True)
    assert figures.mean_auroc(scores, np.eye(4)[TRUTH]) == pytest.approx(
        oracle.roc_auc_score(TRUTH, scores, multi_class="ovr", average="macro"))
    assert figures.auroc(scores[:, 0], TRUTH == 0) == pytest.approx(oracle.roc_auc_score(TRUTH == 0, scores[:, 0]))


def test_several_labels_a_row_by_hand():
    # label 1: rightly called once of two true, one call; label 2: rightly once of one true, two calls
    found = several([[1, 1], [1, 0]], [[1, 1], [0, 1]])
    assert found["micro_f1"] == pytest.approx(4 / 6) and found["macro_f1"] == pytest.approx(2 / 3)
    assert found["precision"] == pytest.approx(0.75) and found["recall"] == pytest.approx(0.75)


def test_several_labels_all_right_and_none_called():
    right = several(MANY_TRUE, MANY_TRUE)
    assert all(value == pytest.approx(1) for value in right.values())
    none = several(MANY_TRUE, np.zeros_like(MANY_TRUE))
    assert all(value == 0 for value in none.values())


def test_several_labels_agree_with_scikit_learn():
    found = several(MANY_TRUE, MANY_GUESSED)
    for name, average in (("micro_f1", "micro"), ("macro_f1", "macro"), ("weighted_f1", "weighted")):
        assert found[name] == pytest.approx(oracle.f1_score(MANY_TRUE, MANY_GUESSED, average=average)), name
    assert found["precision"] == pytest.approx(oracle.precision_score(MANY_TRUE, MANY_GUESSED, average="macro"))
    each = [oracle.matthews_corrcoef(MANY_TRUE[:, label], MANY_GUESSED[:, label]) for label in range(3)]
    assert found["matthews"] == pytest.approx(np.mean(each))


def test_numbers_by_hand():
    found = figures.regression_figures([1, 2, 3, 4], [1, 2, 3, 6])
    assert [found[name] for name in ("mae", "rmse", "r2")] == pytest.approx([0.5, 1.0, 1 - 4 / 5])
    assert found["spearman"] == pytest.approx(1)


def test_guessing_the_mean_explains_nothing_and_a_straight_line_correlates():
    assert figures.regression_figures([1, 2, 3], [2, 2, 2])["r2"] == pytest.approx(0)
    assert np.isnan(figures.pearson([1, 2, 3], [2, 2, 2]))
    assert figures.pearson([1, 2, 3], [5, 3, 1]) == pytest.approx(-1) and figures.ranks([3, 1, 3]).tolist() == [2.5, 1, 2.5]


def test_numbers_agree_with_scipy_and_scikit_learn():
    from scipy import stats

    truth = RNG.normal(size=200).round(1)
    guess = truth + RNG.normal(size=200).round(1)
    found = figures.regression_figures(truth, guess)
    assert found["pearson"] == pytest.approx(stats.pearsonr(truth, guess)[0])
    assert found["spearman"] == pytest.approx(stats.spearmanr(truth, guess)[0])
    assert found["rmse"] == pytest.approx(oracle.root_mean_squared_error(truth, guess))
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(truth, guess))
    assert found["r2"] == pytest.approx(oracle.r2_score(truth, guess))
