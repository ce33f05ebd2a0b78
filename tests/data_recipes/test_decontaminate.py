"""Overlaps by hand, with their spans."""

from __future__ import annotations

import numpy as np
import pytest

from data_recipes.decontaminate import Index, Item, covered, ngrams, overlaps

ITEM = "The quick brown fox jumps over the lazy dog near the river bank"  # 13 words


def index(*texts: str, **settings) -> Index:
    return Index([Item(f"eval.jsonl:{number}", "prompt", text) for number, text in enumerate(texts, 1)], **settings)


def test_a_span_by_hand():
    """Seven of the thirteen words stand in a row, so three n-grams of five cover seven words."""
    text = "He said: the QUICK, brown fox jumps over the hedge."
    (span,) = overlaps(text, index(ITEM))
    assert span.share == pytest.approx(7 / 13) and span.text == "the QUICK, brown fox jumps over the"
    assert text[span.start:span.end] == span.text and span.item.where == "eval.jsonl:1"
    assert overlaps(text, index(ITEM, share=0.6)) == [] and overlaps("the quick brown fox runs on", index(ITEM)) == []


def test_the_share_is_that_of_one_item_and_the_most_covered_is_first():
    held = index("brown fox jumps over the lazy dog or two walls of old grey stones", ITEM, "other words down")
    found = overlaps(ITEM, held)
    assert [(span.item.where, round(span.share, 2)) for span in found] == [("eval.jsonl:2", 1.0), ("eval.jsonl:1", 0.5)]


def test_one_ngram_of_a_short_question_is_not_enough():
    """Five of eleven words are less than half of it and fewer than seven."""
    assert overlaps(ITEM, index("quick brown fox jumps over a wall of old grey stones")) == []


def test_words_count_once_however_often_they_are_repeated():
    (span,) = overlaps(f"{ITEM}. {ITEM}. {ITEM}", index(ITEM))
    assert span.share == 1.0


def test_a_short_item_counts_only_as_a_whole_message():
    short = index("Who wrote Faust?", ITEM)
    (span,) = overlaps("who wrote  FAUST", short)
    assert span.share == 1.0 and overlaps("Tell me: who wrote Faust?", short) == [] and overlaps("", short) == []


def test_allowed_phrases_are_neither_common_nor_the_item_s():
    phrase = "the quick brown fox jumps over"
    allowed = index(ITEM, allowed=[phrase, ""])
    assert overlaps(f"{phrase} the hedge", allowed) == []
    (span,) = overlaps(ITEM, allowed)
    assert span.share == 1.0 and allowed.counted[0] == 7
    assert overlaps("q", index(phrase, allowed=[phrase])) == overlaps(phrase, index(phrase, allowed=[phrase])) == []


def test_an_index_of_nothing():
    assert overlaps(ITEM, Index([])) == []


def test_ngrams_differ_by_order_and_place():
    hashes = ngrams(np.array([1, 2, 3, 1, 2, 3, 2, 1, 3]), 3)
    assert hashes[0] == hashes[3] and len(set(hashes.tolist())) == 6


def test_covered():
    words = "a b c a b".split()
    assert covered(words, frozenset({("a", "b")})).tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("seed", range(4))
def test_shares_by_another_way(seed):
    """Covered words counted one by one over all n-grams of text and item, as plain sets of words."""
    import random

    rng = random.Random(seed)
    items = [" ".join(rng.choices("abcdef", k=rng.randint(5, 30))) for _ in range(20)]
    text = " ".join(rng.choices("abcdef", k=60))
    held = index(*items, ngram=4, share=0.2)
    words = text.split()
    grams = {tuple(words[at:at + 4]) for at in range(len(words) - 3)}
    for number, item in enumerate(items):
        own = item.split()
        hit = {at + step for at in range(len(own) - 3) if tuple(own[at:at + 4]) in grams for step in range(4)}
        share = len(hit) / len(own)
        found = [span.share for span in overlaps(text, held) if span.item.where == f"eval.jsonl:{number + 1}"]
        assert found == ([pytest.approx(share)] if share >= 0.2 and (share > 0.5 or len(hit) >= 7) else [])
