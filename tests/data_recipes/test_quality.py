"""Rules of quality and languages by example; sound answers pass all of them."""

from __future__ import annotations

import pytest

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


def test_languages():
    assert language("Das Paket verlässt morgens das Lager und kommt am zweiten Werktag danach an.") == "de"
    assert language("hello") == language("```\nprint('the quick brown fox jumps over the lazy dog')\n```") == ""
    assert {"en", "de", "fr"} <= set(known())
