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


def test_one_class_a_row_by_hand():
    # true a a a b b, called a a b b a: a has precision 2/3, recall 2/3; b has 1/2 and 1/2
    found = figures.from_confusion(figures.confusion([0, 0, 0, 1, 1], [0, 0, 1, 1, 0], 2))
    assert found["accuracy"] == pytest.approx(0.6)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["weighted_f1"] == pytest.approx(0.6 * 2 / 3 + 0.4 / 2)
    assert found["precision"] == found["recall"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["matthews"] == pytest.approx((2 * 1 - 1 * 1) / np.sqrt(3 * 3 * 2 * 2))


def test_right_in_all_is_one_and_one_class_alone_is_no_correlation():
    perfect = figures.from_confusion(figures.confusion(TRUTH, TRUTH, 4))
    assert all(value == pytest.approx(1) for value in perfect.values())
    constant = figures.from_confusion(figures.confusion(TRUTH, np.zeros(300, int), 4))
    assert constant["matthews"] == 0 and constant["recall"] == pytest.approx(0.25)


def test_one_class_a_row_agrees_with_scikit_learn():
    found = figures.from_confusion(COUNTS)
    assert COUNTS.tolist() == oracle.confusion_matrix(TRUTH, GUESS).tolist()
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(TRUTH, GUESS))
    assert found["macro_f1"] == pytest.approx(oracle.f1_score(TRUTH, GUESS, average="macro"))
    assert found["weighted_f1"] == pytest.approx(oracle.f1_score(TRUTH, GUESS, average="weighted"))
    assert found["precision"] == pytest.approx(oracle.precision_score(TRUTH, GUESS, average="macro"))
    assert found["recall"] == pytest.approx(oracle.recall_score(TRUTH, GUESS, average="macro"))
    assert found["matthews"] == pytest.approx(oracle.matthews_corrcoef(TRUTH, GUESS))


def test_leading_axes_are_many_tables_at_once_and_absent_classes_count_nothing():
    wide = np.zeros((5, 5), int)
    wide[:4, :4] = COUNTS
    several = figures.from_confusion(np.stack([wide, 2 * wide]))
    for name, value in figures.from_confusion(COUNTS).items():
        assert several[name] == pytest.approx([float(value)] * 2), name


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
    counts = figures.several_counts([[1, 1], [1, 0]], [[1, 1], [0, 1]]).sum(0)
    found = figures.from_several(counts, 2)
    assert found["micro_f1"] == pytest.approx(4 / 6) and found["macro_f1"] == pytest.approx(2 / 3)
    assert found["precision"] == pytest.approx(0.75) and found["recall"] == pytest.approx(0.75)


def test_several_labels_all_right_and_none_called():
    right = figures.from_several(figures.several_counts(MANY_TRUE, MANY_TRUE).sum(0), 200)
    assert all(value == pytest.approx(1) for value in right.values())
    none = figures.from_several(figures.several_counts(MANY_TRUE, np.zeros_like(MANY_TRUE)).sum(0), 200)
    assert all(value == 0 for value in none.values())


def test_several_labels_agree_with_scikit_learn():
    found = figures.from_several(figures.several_counts(MANY_TRUE, MANY_GUESSED).sum(0), 200)
    for name, average in (("micro_f1", "micro"), ("macro_f1", "macro"), ("weighted_f1", "weighted")):
        assert found[name] == pytest.approx(oracle.f1_score(MANY_TRUE, MANY_GUESSED, average=average)), name
    assert found["precision"] == pytest.approx(oracle.precision_score(MANY_TRUE, MANY_GUESSED, average="macro"))
    each = [oracle.matthews_corrcoef(MANY_TRUE[:, label], MANY_GUESSED[:, label]) for label in range(3)]
    assert found["matthews"] == pytest.approx(np.mean(each))


def test_numbers_by_hand():
    found = figures.regression_figures([1, 2, 3, 4], [1, 2, 3, 6])
    assert (found["mae"], found["rmse"], found["r2"]) == pytest.approx((0.5, 1.0, 1 - 4 / 5))
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
