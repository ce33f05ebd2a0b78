"""Held-out rows: the same prompt never on both sides, the same choice always."""

import pytest

from data_recipes.records import Comparison, Demonstration, Message, Prompt, Text
from data_recipes.split import by_prompt, prompt_key


def rows(prompts) -> list[Demonstration]:
    answers = (Message("assistant", f"Answer {number}") for number in range(10_000))
    return [Demonstration((Message("user", text), answer)) for text, answer in zip(prompts, answers, strict=False)]


@pytest.mark.parametrize("seed", range(5))
def test_no_prompt_is_on_both_sides_and_no_row_is_lost(seed):
    given = rows(f"Question {number % 40}" for number in range(200))
    train, held = by_prompt(given, 0.2, seed)
    assert not {prompt_key(row) for row in train} & {prompt_key(row) for row in held}
    assert sorted(map(given.index, train + held)) == list(range(200)) and train == sorted(train, key=given.index)


def test_the_same_seed_chooses_the_same_prompts_in_any_order_and_another_others():
    given = rows(map(str, range(300)))
    held = {prompt_key(row) for row in by_prompt(given, 0.1, 7)[1]}
    assert held == {prompt_key(row) for row in by_prompt(given[::-1], 0.1, 7)[1]}
    assert held != {prompt_key(row) for row in by_prompt(given, 0.1, 8)[1]}
    assert 10 <= len(held) <= 55


def test_more_rows_move_no_row():
    given = rows(map(str, range(300)))
    before = {prompt_key(row) for row in by_prompt(given[:200], 0.2, 0)[1]}
    assert before == {prompt_key(row) for row in by_prompt(given, 0.2, 0)[1]} & {prompt_key(row) for row in given[:200]}


def test_the_choice_is_pinned():
    assert [row.messages[0].content for row in by_prompt(rows("abcdefgh"), 0.6, 0)[1]] == ["c", "d", "e"]


@pytest.mark.parametrize("share", [0.001, 0.999])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_both_sides_get_a_row(share, count):
    train, held = by_prompt(rows(map(str, range(count))), share, 0)
    assert train and held and len(train) + len(held) == count


def test_edges():
    assert by_prompt([], 0.5, 0) == ([], [])
    one = rows(["same"] * 3)
    assert by_prompt(one, 0.5, 0) == (one, []) and by_prompt(one, 0.0, 0) == (one, [])
    with pytest.raises(ValueError):
        by_prompt(one, 1.0, 0)


def test_what_the_prompt_of_each_kind_is():
    user, answer, other = Message("user", "Hi  there"), Message("assistant", "a"), Message("assistant", "b")
    more = Demonstration((user, answer, Message("user", "More"), other))
    same = [Demonstration((user, other)), more, Prompt((user,)), Comparison((user,), (answer,), (other,)),
            Prompt((Message("user", " Hi there"),))]
    assert len({prompt_key(row) for row in same}) == 1
    assert prompt_key(Prompt((Message("system", "s"), user))) != prompt_key(same[0])
    assert prompt_key(Text("Hi there")) != prompt_key(same[0]) and prompt_key(Text("a")) == prompt_key(Text("a "))

