import pytest

from data_recipes.errors import Refused
from reward import rules

PROMPTS = [[{"role": "user", "content": "?"}]]


def said(*texts):
    return [[{"role": "assistant", "content": text}] for text in texts]


def call(rule, *texts, **columns):
    return rule(prompts=PROMPTS * len(texts), completions=said(*texts), **columns)


def test_text_of_takes_texts_and_messages():
    turns = [
        {"role": "assistant", "content": None},
        {"role": "tool", "content": "x"},
        {"role": "assistant", "content": "hi"},
    ]
    assert rules.text_of("plain") == "plain" and rules.text_of(turns) == "\nhi"


def test_length_band():
    rule = rules.length_band(low=2, high=4)
    assert call(rule, "a b", "a b c d", "a", "", "a b c d e", "x " * 8, "x " * 20) == [1, 1, 0.5, 0, 0.75, 0, 0]
    assert call(rules.length_band(low=3, high=3, unit="characters"), "abc", "ab") == [1, pytest.approx(2 / 3)]
    for settings in ({"low": 0}, {"low": 5, "high": 4}, {"unit": "lines"}):
        with pytest.raises(Refused):
            rules.length_band(**settings)


def test_format():
    assert call(rules.format_matches(r"<a>.*</a>"), "<a>x\ny</a>", "b<a></a>") == [1, 0]
    assert call(rules.format_matches(r"\d", whole=False), "no", "n0") == [0, 1]
    with pytest.raises(Refused, match="regular expression"):
        rules.format_matches("(")


def test_forbidden_words_are_whole_words():
    rule = rules.forbidden_words(words=["ass", "shut up", "c++"])
    assert call(rule, "a class", "Shut UP!", "I like c++.", "fine") == [1, 0, 0, 1]
    assert call(rules.forbidden_words(["Bad"], ignore_case=False), "bad", "Bad") == [1, 0]
    for words in ([], "bad"):
        with pytest.raises(Refused):
            rules.forbidden_words(words)


def test_exact_answer():
    assert call(rules.exact_answer, " The  Answer. ", "other", "7", answer=["the answer", "x", 7]) == [1, 0, 1]
    with pytest.raises(Refused, match="answer"):
        call(rules.exact_answer, "x")
    with pytest.raises(Refused, match="rows.jsonl:7"):
        call(rules.exact_answer, "x", "none", answer=["x", None], where=["rows.jsonl:3", "rows.jsonl:7"])


def test_stop():
    assert call(rules.stop, "a", "b", stopped=[True, False]) == [1, 0]
    with pytest.raises(Refused, match="stopped"):
        call(rules.stop, "a")
