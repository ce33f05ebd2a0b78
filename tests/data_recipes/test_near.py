"""What counts as nearly the same text: the measure, its bar for short texts, candidates that are found, groups."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

from data_recipes import near
from data_recipes.dedup import clusters

LONG = ("The order left our warehouse on Monday and the carrier says that it will reach you before the end of the week; "
        "if it does not, write to us again with the number on your receipt and we send another one without any charge")


def edited(text: str, share: float, seed: int = 0) -> str:
    rng = random.Random(seed)
    return " ".join(f"other{rng.randrange(999)}" if rng.random() < share else word for word in text.split())


def test_the_measure_by_hand():
    # a b, b c, c d against a b, b c, c x: two of four pairs are shared
    assert near.jaccard(near.shingles("a b c d"), near.shingles("a b c x")) == 2 / 4


def test_case_spaces_and_punctuation_do_not_count():
    assert near.similar("Where is  my ORDER?", "where is my order") == 1.0
    assert near.normal("Where is  my ORDER?") == "where is my order"


def test_scripts_without_spaces_count_by_the_character():
    assert near.words("私は学生です ok") == ["私", "は", "学", "生", "で", "す", "ok"]
    one = "この文章は長いので少しだけ違っていても同じと見なされます"
    assert near.similar(one, one.replace("ます", "た")) > 0.7


@pytest.mark.parametrize("text", ["", "!", "word", "😀"])
def test_a_text_without_pairs_is_like_itself_alone(text: str):
    assert near.similar(text, text) == 1.0
    assert near.similar(text, "something else altogether") == 0.0
    assert near.similar("!!", "??") == 0.0


def test_the_bar_falls_with_length_from_short_to_long():
    bars = [near.bar(size) for size in (1, 6, 12, 24, 100)]
    assert bars == sorted(bars, reverse=True) and bars[-1] == bars[-2] == near.THRESHOLD
    assert near.bar(1) == pytest.approx(0.75 - 0.35 / 24)
    assert near.bar(3, 0.9) == 0.9  # a threshold above the bar of short texts is never lowered


def test_short_prompts_of_one_template_are_not_the_same():
    assert not near.similar("Explain the concept of e-commerce.", "Explain the concept of sentiment analysis.")
    assert near.similar("Can you please order a pizza for me tonight?", "Can you please order a pizza for me tonight")


def test_signatures_are_equal_in_every_process_and_estimate_the_measure():
    line = f"from data_recipes import near; print(near.signature({LONG!r}).tobytes().hex())"
    other = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True).stdout.strip()
    assert near.signature(LONG).tobytes().hex() == other
    changed = edited(LONG, 0.1)
    share = float(np.mean(near.signature(LONG) == near.signature(changed)))
    assert share == pytest.approx(near.jaccard(near.shingles(LONG), near.shingles(changed)), abs=0.15)


def test_the_index_gives_the_nearest_first_and_only_true_ones():
    index = near.Index()
    held = {"far": "nothing of the sort is said here at all", "two": LONG.replace("Monday and", "Friday but"), "same": LONG}
    for key, text in held.items():
        index.add(key, text)
    assert [key for key, _ in index.near(LONG)] == ["same", "two"]
    assert len(index) == 3


def test_groups_resemble_their_first_member():
    texts = [LONG, "quite another text", edited(LONG, 0.05), "Quite another TEXT!", "a third one", LONG.upper()]
    groups = clusters(texts)
    assert [group.members for group in groups] == [(0, 2, 5), (1, 3)]
    assert groups[0].similarities[0] == groups[0].similarities[2] == 1.0
