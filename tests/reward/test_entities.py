"""Exact spans: by hand, limits, and a count by plain loops over characters of the tags."""

import numpy as np
import pytest

from reward.entities import from_spans, span_counts, span_types

TYPES = ["LOC", "PER"]
TRUTH = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC", "B-LOC"]]
GUESS = [["B-PER", "I-PER", "O", "B-PER"], ["O", "B-LOC", "I-LOC"]]


def test_by_hand():
    counts = span_counts(TRUTH, GUESS, TYPES)
    # found: the person. True: 3 places and 1 person. Guessed: 1 place (too long), 2 persons
    assert counts.sum(0).tolist() == [[0, 3, 1], [1, 1, 2]]
    found = from_spans(counts.sum(0))
    assert found["entity_precision"] == pytest.approx(1 / 3) and found["entity_recall"] == pytest.approx(1 / 4)
    assert found["entity_f1"] == pytest.approx(2 / 7) and found["entity_macro_f1"] == pytest.approx((0 + 2 / 3) / 2)


def test_all_found_is_one_and_o_alone_is_zero():
    assert from_spans(span_counts(TRUTH, TRUTH, TYPES).sum(0))["entity_f1"] == 1
    nothing = [["O"] * len(tags) for tags in TRUTH]
    assert set(map(float, from_spans(span_counts(TRUTH, nothing, TYPES).sum(0)).values())) == {0.0}


def test_an_i_that_continues_nothing_begins_no_span():
    assert span_counts([["O", "O"]], [["I-PER", "I-LOC"]], TYPES).sum() == 0
    assert span_types(["O", "I-PER", "B-PER", "B-LOC"]) == TYPES


def plain_spans(tags):
    """Another way to read IOB2: word by word, ending a span where its next word is no continuation."""
    found = set()
    for start, tag in enumerate(tags):
        if tag.startswith("B-"):
            stop = start + 1
            while stop < len(tags) and tags[stop] == f"I-{tag[2:]}":
                stop += 1
            found.add((tag[2:], start, stop))
    return found


def test_agrees_with_a_plain_loop_on_random_tags():
    rng = np.random.default_rng(2)
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    truth, guess = ([list(rng.choice(tags, size=9)) for _ in range(60)] for _ in range(2))
    true = [plain_spans(one) for one in truth]
    guessed = [plain_spans(one) for one in guess]
    hits = sum(len(a & b) for a, b in zip(true, guessed, strict=True))
    f1 = 2 * hits / (sum(map(len, true)) + sum(map(len, guessed)))
    assert from_spans(span_counts(truth, guess, TYPES).sum(0))["entity_f1"] == pytest.approx(f1)
