import math

import pytest

from data_recipes.errors import Failed, Refused
from reward.scorers import Rule, checked, is_rule, load_rule

PROMPTS = [[{"role": "user", "content": "?"}]] * 3
COMPLETIONS = [[{"role": "assistant", "content": text}] for text in ("one", "two", "three")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current directory with a module of the user's."""
    (tmp_path / "house_rules.py").write_text(
        "LIMIT = 3\n"
        "def polite(prompts, completions, **columns):\n    return [len(c[0]['content']) for c in completions]\n"
        "def picky(prompts, completions, *, code, **columns):\n"
        "    return [1.0 if c != 'b' else 1 / 0 for c in code]\n"
        "async def later(prompts, completions, *, code, **columns):\n    return [c * c / c for c in code]\n"
    )
    (tmp_path / "broken_rules.py").write_text("import no_such_thing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_what_is_a_rule():
    assert is_rule("my_rules:polite") and is_rule("a.b:c") and is_rule("reward.rules:length_band(low=1)")
    for other in ("runs/reward", "owner/name", "hub:owner", "C:\\runs", "./a:b", "a:1"):
        assert not is_rule(other)


def test_the_current_directory_is_importable(folder):
    assert load_rule("house_rules:polite")(PROMPTS, COMPLETIONS) == [3.0, 3.0, 5.0]


def test_an_async_rule_is_awaited_and_its_row_named(folder):
    assert load_rule("house_rules:later")(PROMPTS, COMPLETIONS, code=[1, 2, 3]) == [1.0, 2.0, 3.0]
    with pytest.raises(Failed, match="ZeroDivisionError") as error:
        load_rule("house_rules:later")(PROMPTS, COMPLETIONS, code=[1, 0, 3])
    assert "row 2 ('two')" in error.value.where


def test_settings_in_brackets():
    rule = load_rule("reward.rules:length_band(low=1, high=1)")
    assert rule(PROMPTS, COMPLETIONS) == [1.0, 1.0, 1.0]
    assert load_rule("reward.rules:forbidden_words(words=['two'])")(PROMPTS, COMPLETIONS) == [1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("house_rules:polit", "expected|polite"),
        ("house_rules:LIMIT", "no function 'LIMIT'"),
        ("no_rules_here:f", "no module 'no_rules_here'"),
        ("broken_rules:f", "no_such_thing"),
        ("reward.rules:length_band", "makes a rule from settings"),
        ("reward.rules:length_band(wide=3)", "settings do not fit"),
        ("reward.rules:length_band(low=f())", "names no rule"),
        ("reward.rules:length_band(3)", "names no rule"),
        ("reward.rules:a b", "names no rule"),
    ],
)
def test_a_rule_that_cannot_be_had_is_one_paragraph(folder, text, says):
    with pytest.raises(Refused, match=says) as caught:
        load_rule(text)
    assert f"--reward {text}" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (None, "NoneType"),
        ("abc", "str"),
        (1.0, "float"),
        ([1.0, 2.0], "2 scores for 3"),
        ([1.0, None, 2.0], "None.*|row 2"),
        ([1.0, 2.0, math.nan], "row 3"),
        ([math.inf, 1, 1], "row 1"),
        ([1, "x", 1], "row 2"),
    ],
)
def test_bad_results_are_named_with_the_row(values, says):
    with pytest.raises(Failed, match=says):
        Rule("m:f", lambda **_: values)(PROMPTS, COMPLETIONS)


def test_whole_numbers_and_truths_are_scores():
    assert checked([1, True, 0.5], COMPLETIONS, name="x") == [1.0, 1.0, 0.5]


def test_a_raising_rule_is_named_with_the_row(folder):
    rule = load_rule("house_rules:picky")
    with pytest.raises(Failed, match="ZeroDivisionError.*") as caught:
        rule(PROMPTS, COMPLETIONS, code=["a", "b", "c"])
    assert "row 2 ('two')" in str(caught.value) and isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(Failed, match="whole batch"):
        Rule("m:f", lambda prompts, completions: [1 / (3 - len(prompts))] * 3)(PROMPTS, COMPLETIONS)


def test_a_refusal_of_the_rule_stays_one():
    with pytest.raises(Refused, match="no column 'answer'"):
        load_rule("reward.rules:exact_answer")(PROMPTS, COMPLETIONS)
