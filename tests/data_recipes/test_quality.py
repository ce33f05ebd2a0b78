"""Rules of quality and languages by example; sound answers pass all of them."""

from __future__ import annotations

import random

import pytest

from data_recipes.audit import answers
from data_recipes.languages import known, language
from data_recipes.quality import RULES

SOUND = ["Yes.", "42", "Your parcel leaves in the morning and arrives on the second working day.", "👍", "```\nx = 1\n```",
         "| a | b |\n|---|---|\n| one | two |", "1. Wash\n2. Cut\n3. Cook", "I'm sorry to hear that. Please send it back."]
BROKEN = {
    "repetition": "and so on and so on and so on and so on and so on and so on",
    "refusal": "I'm sorry, but I can't help with that.",
    "encoding": "The cafÃ© is closed \ufffd today",
    "degenerate": "<no output>",
    "placeholder": "Dear [insert name], thank you.",
    "symbols": "=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=-=- ab",
    "unfinished": "The parcel leaves the warehouse in the morning, " * 5 + "and then it is taken to the",
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_what_it_found_and_passes_sound_answers(name):
    assert RULES[name](BROKEN[name])
    assert [text for text in SOUND if RULES[name](text)] == []


def test_the_quick_look_for_loops_overlooks_none():
    rng, found = random.Random(0), 0
    for _ in range(4000):
        phrase = rng.choices("ab12", k=rng.randint(1, 14))
        words = [phrase[at % len(phrase)] if rng.random() < 0.93 else rng.choice("abc") for at in range(rng.randint(5, 60))]
        text = "".join(words) + rng.choice(["", "xyz" * 9, "abcd" * 10])
        if answers._loop_size(words):
            assert answers._words_may_loop(words)
            found += 1
        if answers.LETTER_LOOP.search(text):
            assert answers._letters_may_loop(text)
            found += 1
    assert found > 1000


def test_languages():
    assert language("Das Paket verlässt morgens das Lager und kommt am zweiten Werktag danach an.") == "de"
    assert language("hello") == language("```\nprint('the quick brown fox jumps over the lazy dog')\n```") == ""
    assert {"en", "de", "fr"} <= set(known())
