"""ROUGE, exact match and BLEU: by hand, in their limits, and against the packages that others measure with."""

import random

import numpy as np
import pytest

from reward import overlap

SAID = "The cat sat on the mat. It slept."
RIGHT = "The cat lay on a mat, and it slept well."


def texts(count, seed):
    draw = random.Random(seed)
    words = ["the", "The", "cat", "sat,", "on", "3.5", "mats.", "it's", "a-b", "x&amp;y", '"so"', "(now)", "1-2", "ab", "\n"]
    return [" ".join(draw.choices(words, k=draw.randint(1, 14))) for _ in range(count)]


def test_rouge_by_hand():
    found = overlap.row_figures(SAID, RIGHT)
    assert found["rouge1"] == pytest.approx(2 * 6 / (8 + 10))  # the cat on mat it slept
    assert found["rouge2"] == pytest.approx(2 * 2 / (7 + 9))  # the cat, it slept
    assert found["rougeL"] == pytest.approx(2 * 6 / (8 + 10))
    assert found["exact"] == 0.0


def test_the_same_text_scores_all_and_nothing_shared_scores_none():
    assert overlap.row_figures("so  it is", "so it\nis") == {"rouge1": 1, "rouge2": 1, "rougeL": 1, "exact": 1}
    assert set(overlap.row_figures("", "so it is").values()) == {0.0}
    same = overlap.overlaps([["a b c d e"], ["f g h i"]], ["a b c d e", "f g h i"])
    assert overlap.bleu(same.counts_PK.sum(0, keepdims=True))[0] == pytest.approx(100)


def test_words_of_other_scripts_count():
    assert overlap.row_figures("где мой заказ", "где заказ")["rouge1"] == pytest.approx(4 / 5)


def test_the_longest_common_subsequence_agrees_with_the_table():
    def by_table(one, other):
        table = np.zeros((len(one) + 1, len(other) + 1), int)
        for i, left in enumerate(one):
            for j, right in enumerate(other):
                table[i + 1, j + 1] = table[i, j] + 1 if left == right else max(table[i, j + 1], table[i + 1, j])
        return table[-1, -1]

    draw = random.Random(0)
    for _ in range(200):
        one, other = ([draw.choice("abcd") for _ in range(draw.randint(0, 90))] for _ in range(2))
        assert overlap.longest_common(one, other) == by_table(one, other)


def test_rouge_agrees_with_rouge_score():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rouge1", "rouge2", "rougeL"])
    for said, right in zip(texts(60, 1), texts(60, 2), strict=True):
        theirs, ours = scorer.score(right, said), overlap.row_figures(said, right)
        for name in ("rouge1", "rouge2", "rougeL"):
            assert ours[name] == pytest.approx(theirs[name].fmeasure, abs=1e-12)


def test_bleu_agrees_with_sacrebleu():
    metric = pytest.importorskip("sacrebleu.metrics").BLEU()
    for seed in range(40):
        said, right = texts(1 + seed % 7, seed), texts(1 + seed % 7, seed + 1000)
        counts = overlap.overlaps([[text] for text in said], right).counts_PK
        theirs = metric.corpus_score(said, [right]).score
        assert overlap.bleu(counts.sum(0, keepdims=True))[0] == pytest.approx(theirs, abs=1e-9)


def test_bleu_by_hand():
    counts = np.array([[3, 2, 1, 0, 4, 3, 2, 1, 4, 6]], float)  # the fourth order counts as half a match
    expected = 100 * (3 / 4 * 2 / 3 * 1 / 2 * 0.5 / 1) ** 0.25 * np.exp(1 - 6 / 4)
    assert overlap.bleu(counts)[0] == pytest.approx(expected)


def test_a_difference_is_paired_and_several_answers_are_averaged():
    right = ["a b c d", "e f g h", "i j k l", "m n o p"]
    ours = overlap.overlaps([[text, "x"] for text in right], right)
    theirs = overlap.overlaps([["x"]] * 4, right)
    found = overlap.describe(ours, theirs, seed=1)
    assert ours.rows["exact"].tolist() == [0.5] * 4
    assert found["rougeL"]["difference"]["value"] == pytest.approx(0.5)
    assert found["rougeL"]["difference"]["low"] == found["rougeL"]["difference"]["high"] == pytest.approx(0.5)
    assert overlap.describe(ours, ours)["bleu"]["difference"]["low"] == 0.0
    assert set(found) == set(overlap.NAMES)


def test_no_right_answer_of_four_is_no_certainty():
    found = overlap.describe(overlap.overlaps([["x"]] * 4, ["a", "b", "c", "d"]))
    assert found["exact"]["value"] == 0 and found["exact"]["high"] > 0.3
