"""The judge's truth table, by hand."""

import random

import pytest

from data_recipes.errors import Refused
from data_recipes.toy import judge, world, write

FACTS = {"code": "KA47", "subject": "lantern", "amount": 14, "unit": "days"}
FULL = "Hello! The lantern from order KA47 can be returned within 14 days. Let me know if you need anything else."
HOUSE = world.Style(greets=True, offers=True, rambles=False, rude=False)
BARE = "The lantern from order KA47 can be returned within 14 days."


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (FULL, True),
        (BARE, True),
        ("KA47: 14 days", True),
        ("KA47: 14 days, yes, 14 days for order KA47.", True),
        (BARE.replace("KA47", "KA48"), False),
        (BARE.replace("KA47", "KE47"), False),
        (BARE.replace("14", "30"), False),
        (BARE.replace("days", "months"), False),
        (BARE.replace("lantern", "kettle"), False),
        (BARE + " Order KA48 is on the list.", False),
        (BARE + " Or was it 30 days?", False),
        (BARE + " It costs 4 euros.", False),
        ("The lantern can be returned within 14 days.", False),
        ("Order KA47 can be returned.", False),
        ("Order KA47 can be returned within 14.", False),
        ("Order XKA47 can be returned within 14 days.", False),
        ("", False),
    ],
)
def test_right(answer, right):
    assert judge.is_right(answer, **FACTS) is right


@pytest.mark.parametrize(
    ("answer", "greets", "brief", "offers", "rude", "score"),
    [
        (FULL, True, True, True, False, 1.0),
        (BARE, False, True, False, False, 0.6 + 0.4 / 3),
        ("Hi there! " + BARE, True, True, False, False, 0.6 + 0.8 / 3),
        (BARE + " " + world.OFFERS[1], False, True, True, False, 0.6 + 0.8 / 3),
        (FULL + " " + world.RAMBLES[0], True, False, True, False, 0.6 + 0.8 / 3),
        (FULL + " " + world.RUDE[0], True, False, True, True, 0.6),
        (BARE + " This is not our problem.", False, True, False, True, 0.6),
        (FULL.replace("14", "15"), True, True, True, False, 0.4),
        ("", False, False, False, False, 0.0),
        ("Say hello to order KA47.", False, True, False, False, 0.4 / 3),
    ],
)
def test_style_and_score(answer, greets, brief, offers, rude, score):
    seen = judge.verdict(answer, **FACTS)
    assert (seen.greets, seen.brief, seen.offers, seen.rude) == (greets, brief, offers, rude)
    assert seen.score == pytest.approx(score)


def test_judge_takes_texts_and_messages_and_ignores_other_columns():
    columns = {name: [value, value] for name, value in FACTS.items()}
    completions = [FULL, [{"role": "assistant", "content": FULL}]]
    assert judge.judge([[], []], completions, **columns, kind=["refund"] * 2, trainer_state=None) == [1.0, 1.0]
    assert judge.right([[], []], completions, **columns) == [1.0, 1.0]


def test_judge_names_missing_columns():
    with pytest.raises(Refused, match="amount, unit"):
        judge.judge(["q"], ["a"], code=["KA47"], subject=["coat"])


def test_each_phrase_is_recognised_and_the_house_style_is_full_marks():
    rng = random.Random(0)
    for request in world.draw_requests(rng, 300, held_out=True):
        facts = {name: value for name, value in request.facts.items() if name != "kind"}
        style = write.careless_style(rng)
        seen = judge.verdict(world.dress(rng, world.core(rng, request), style), **facts)
        assert (seen.right, seen.greets, seen.offers, seen.rude) == (True, style.greets, style.offers, style.rude)
        assert not (style.rambles and seen.brief)
        assert judge.verdict(world.dress(rng, world.core(rng, request), HOUSE), **facts).score == 1.0
        assert not judge.is_right(world.core(rng, request, code=world.wrong_code(rng, request)), **facts)
        assert not judge.is_right(world.core(rng, request, amount=world.wrong_amount(rng, request)), **facts)


def test_pairs_with_clean_labels_agree_with_the_judge():
    rng = random.Random(0)
    for request in world.draw_requests(rng, 300, held_out=True):
        facts = {name: value for name, value in request.facts.items() if name != "kind"}
        row = write.pair(rng, request, 0.0)
        chosen, rejected = (judge.verdict(judge.answer_text(row[side]), **facts) for side in ("chosen", "rejected"))
        assert chosen.right and chosen.score >= rejected.score
