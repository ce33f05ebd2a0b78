"""What a row may be, stated one fault at a time."""

import pickle

import pytest

from data_recipes.records import BadRow, Comparison, Demonstration, Message, Prompt, Text

CALL = ({"type": "function", "function": {"name": "add", "arguments": {"a": 1}}},)
SYSTEM, USER, ANSWER = Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Hello")
CALLS, RESULT = Message("assistant", "", CALL), Message("tool", "2", name="add")


def reason(make) -> str:
    with pytest.raises(BadRow) as caught:
        make()
    return caught.value.reason


@pytest.mark.parametrize("role, content, expected", [
    ("human", "Hi", "bad-role"), (None, "Hi", "bad-role"), (["user"], "Hi", "bad-role"),
    ("user", 5, "wrong-type"), ("user", None, "wrong-type"), ("user", ["Hi"], "wrong-type"),
    ("user", "", "empty-text"), ("assistant", " \n\t", "empty-text"), ("system", "", "empty-text"),
])
def test_a_message_needs_a_known_role_and_text(role, content, expected):
    assert reason(lambda: Message(role, content)) == expected


def test_empty_text_is_taken_beside_calls_and_as_a_tools_result():
    assert CALLS.as_dict() == {"role": "assistant", "content": "", "tool_calls": [CALL[0]]}
    assert Message("tool", "").content == ""


def test_only_an_assistant_calls_tools():
    assert reason(lambda: Message("user", "Hi", CALL)) == "bad-role"


def test_as_dict_leaves_out_what_is_not_there():
    assert USER.as_dict() == {"role": "user", "content": "Hi"}
    assert Message("assistant", "4", thinking="2+2").as_dict()["thinking"] == "2+2"
    assert RESULT.as_dict() == {"role": "tool", "content": "2", "name": "add"}


@pytest.mark.parametrize("chat", [
    (USER, ANSWER), (SYSTEM, USER, ANSWER), (USER, ANSWER, USER, ANSWER), (USER, CALLS, RESULT, ANSWER),
    (USER, CALLS, RESULT, RESULT, ANSWER), (USER, CALLS), (USER, CALLS, RESULT, CALLS, RESULT, ANSWER),
])
def test_orders_that_are_right(chat):
    assert Demonstration(chat).messages == chat


@pytest.mark.parametrize("chat", [
    (), (SYSTEM,), (ANSWER,), (USER,), (USER, USER, ANSWER), (USER, ANSWER, ANSWER), (USER, SYSTEM, ANSWER),
    (SYSTEM, SYSTEM, USER, ANSWER), (USER, RESULT, ANSWER), (USER, ANSWER, RESULT, ANSWER), (SYSTEM, ANSWER),
    (USER, CALLS, RESULT), (USER, CALLS, RESULT, USER, ANSWER), (RESULT, ANSWER),
])
def test_orders_that_are_wrong(chat):
    assert reason(lambda: Demonstration(chat)) == "bad-order"


def test_a_prompt_waits_for_the_assistant():
    assert Prompt((USER, CALLS, RESULT)).messages[-1].role == "tool"
    assert reason(lambda: Prompt((USER, ANSWER))) == "bad-order"
    assert reason(lambda: Prompt(())) == "bad-order"


def test_a_comparison_is_two_different_answers():
    other = Message("assistant", "Hey")
    assert Comparison((USER,), (ANSWER,), (other,), margin=2).margin == 2
    assert reason(lambda: Comparison((USER,), (ANSWER,), (Message("assistant", "Hello "),))) == "identical-pair"
    assert reason(lambda: Comparison((USER,), (USER,), (other,))) == "bad-order"
    assert reason(lambda: Comparison((USER,), (ANSWER, USER, ANSWER), (other,))) == "bad-order"
    assert reason(lambda: Comparison((USER, ANSWER), (ANSWER,), (other,))) == "bad-order"


def test_calls_that_differ_are_no_identical_pair():
    other = ({"type": "function", "function": {"name": "add", "arguments": {"a": 2}}},)
    assert Comparison((USER,), (CALLS,), (Message("assistant", "", other),))


@pytest.mark.parametrize("margin, expected", [("1", "wrong-type"), (True, "wrong-type"), (float("nan"), "not-finite")])
def test_a_margin_is_a_finite_number(margin, expected):
    pair = ((USER,), (ANSWER,), (Message("assistant", "Hey"),))
    assert reason(lambda: Comparison(*pair, margin=margin)) == expected


def test_text_has_something_in_it():
    assert reason(lambda: Text(" ")) == "empty-text"
    assert reason(lambda: Text(5)) == "wrong-type"
    assert reason(lambda: Text(None)) == "empty-text"


def test_a_bad_row_pickles():
    error = pickle.loads(pickle.dumps(BadRow("empty-text", "no words", {"a": 1})))
    assert (error.reason, error.detail, error.row) == ("empty-text", "no words", {"a": 1})
    assert str(error) == "empty-text: no words"
