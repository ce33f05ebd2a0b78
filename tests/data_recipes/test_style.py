import pytest

from data_recipes.errors import Refused
from data_recipes.records import Comparison, Demonstration, Message, Prompt
from data_recipes.style import audit, load_guide, taught
from reward.scorers import load_rule

GUIDE = r"""
name: support desk
greeting: {any_of: [Hello, Good day]}
closing: {any_of: [Kind regards]}
length: {low: 5, high: 10, unit: words}
use: {any_of: [order, parcel], all_of: [please]}
avoid: {words: [obviously, C++], patterns: ['\b\d{16}\b']}
tone: {exclamation_marks: 1, shouting: false, emoji: false}
format: {lists: false, bold: false}
weights: {avoid: 3}
"""
GOOD = "Hello, please send the order number. Kind regards"


@pytest.fixture
def guide(tmp_path):
    (tmp_path / "guide.yaml").write_text(GUIDE)
    return load_guide(tmp_path / "guide.yaml")


def rules(guide, text: str) -> list[str]:
    return [breach.rule for breach in guide.check(text)]


@pytest.mark.parametrize(("text", "broken"), [
    (GOOD, []), ("  hello, please send the order number. Kind regards!", []),
    (GOOD.replace("Hello", "Hi"), ["greeting"]), (GOOD.replace("Hello", "Helloween"), ["greeting"]),
    (GOOD.replace("Kind regards", "Bye"), ["closing"]), (GOOD + " and more", ["closing"]),
    (GOOD.replace("send the order number", "order"), []), (GOOD.replace("send the order number.", "order"), []),
    (GOOD.replace("send", "do kindly and very soon send"), ["length"]),
    (GOOD.replace("order", "thing"), ["use"]), (GOOD.replace("please ", ""), ["use"]),
    (GOOD.replace("please", "please, OBVIOUSLY,"), ["avoid", "tone"]), (GOOD.replace("the", "C++"), ["avoid"]),
    (GOOD.replace("number", "1234567812345678"), ["avoid"]), (GOOD.replace("number", "number!!"), ["tone"]),
    (GOOD.replace("number", "number \U0001f600"), ["tone"]), (GOOD.replace(" Kind", "\n- a\nKind"), ["format"]),
    (GOOD.replace("please", "**please**"), ["format"]),
])
def test_each_rule_finds_what_breaks_it(guide, text, broken):
    assert rules(guide, text) == broken


def test_the_score_is_the_weighted_share_of_what_rules_pay(guide):
    assert guide.score(GOOD) == 1.0
    assert guide.score(GOOD.replace("Hello", "Hi")) == pytest.approx(8 / 9)
    assert guide.score(GOOD.replace("number", "1234567812345678")) == pytest.approx(6 / 9)
    two_words = "Hello order"  # pays 2/5 for its length; greeting, avoid (3), tone and format are kept
    assert guide.score(two_words) == pytest.approx((1 + 0 + 2 / 5 + 0 + 3 + 1 + 1) / 9)


def test_sentences_and_characters(tmp_path):
    (tmp_path / "g.yaml").write_text("length: {high: 2, unit: sentences}")
    guide = load_guide(tmp_path / "g.yaml")
    assert rules(guide, "One. Two?") == [] and rules(guide, "One. Two... Three!") == ["length"]
    (tmp_path / "g.yaml").write_text("length: {high: 4, unit: characters}")
    assert rules(load_guide(tmp_path / "g.yaml"), "12345 ") == ["length"]


@pytest.mark.parametrize(("text", "said"), [
    ("greting: {any_of: [Hello]}", "g.yaml:1.*no 'greting'.*greeting"),
    ("length:\n  hihg: 5", "g.yaml:2.*no 'length.hihg'.*high"),
    ("length: {low: 9, high: 5}", "g.yaml:1: 'length.high' cannot be 5"),
    ("length: {low: -1}", "0 or more"), ("length: {unit: pages}", "words, sentences, characters"),
    ("avoid: {patterns: ['(']}", "regular expressions"), ("avoid: {}", "words or patterns"),
    ("greeting: Hello", "a mapping with any_of"), ("use: {any_of: please}", "a list of words"),
    ("tone: {emoji: no}", "true or false"), ("greeting: {any_of: []}", "one phrase or more"),
    ("greeting: {any_of: [Hi]}\nweights: {greeting: 0}", "g.yaml:2.*above 0"), ("name: x", "has no rule"),
    ("greeting: {any_of: [Hi]}\nweights: {closing: 2}", "no 'weights.closing'"),
])
def test_a_wrong_guide_is_refused_at_its_line(tmp_path, text, said):
    (tmp_path / "g.yaml").write_text(text)
    with pytest.raises(Refused, match=said):
        load_guide(tmp_path / "g.yaml")
    with pytest.raises(Refused, match="cannot be read"):
        load_guide(tmp_path / "none.yaml")


def test_one_guide_as_audit_and_reward(guide, tmp_path):
    user, bad = (Message("user", "Where?"),), "Hi. " + GOOD
    rows = [Demonstration((*user, Message("assistant", GOOD)), where="a:1"),
            Demonstration((*user, Message("assistant", bad)), where="a:2"),
            Comparison(user, (Message("assistant", bad),), (Message("assistant", GOOD),), where="a:3"), Prompt(user)]
    assert [taught(row) for row in rows] == [GOOD, bad, bad, ""]
    found = audit(rows, guide)
    assert (found["rows"], found["broken"], found["rules"]["greeting"]) == (3, 2, 2)
    assert found["rejected_better"] == ["a:3"] and found["findings"][0] == {
        "where": "a:2", "rule": "greeting", "detail": "greeting: does not begin with 'Hello' or 'Good day'"}
    rule = load_rule(f"reward.rules:style(guide={str(tmp_path / 'guide.yaml')!r})")
    assert rule([user] * 2, [GOOD, [{"role": "assistant", "content": bad}]]) == [guide.score(GOOD), guide.score(bad)]
