"""Formats told by the keys of many rows, converted by hand, and refused where they are not clear."""

import pytest

from data_recipes import formats
from data_recipes.errors import Refused
from data_recipes.formats import Fields
from data_recipes.records import BadRow, Message

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
RUDE = {"role": "assistant", "content": "Go away"}
HH = "\n\nHuman: Hi\n\nAssistant: "
U, A, R = Message("user", "Hi"), Message("assistant", "Hello"), Message("assistant", "Go away")

DEMONSTRATIONS = [
    ("messages", {"messages": [USER, ANSWER]}),
    ("prompt-completion", {"prompt": "Hi", "completion": "Hello"}),
    ("prompt-completion", {"prompt": [USER], "completion": [ANSWER]}),
    ("prompt-completion", {"prompt": [USER], "completion": "Hello"}),
    ("alpaca", {"instruction": "Hi", "input": "", "output": "Hello"}),
    ("alpaca", {"instruction": "Hi", "output": "Hello"}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}),
    ("dolly", {"instruction": "Hi", "context": "", "response": "Hello"}),
    ("self-instruct", {"instruction": "Hi", "instances": [{"input": "", "output": "Hello"}]}),
]
COMPARISONS = [
    ("preference", {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}),
    ("preference", {"prompt": [USER], "chosen": "Hello", "rejected": "Go away"}),
    ("preference-messages", {"prompt": [USER], "chosen": [ANSWER], "rejected": [RUDE]}),
    ("preference-messages", {"prompt": "Hi", "chosen": [USER, ANSWER], "rejected": [USER, RUDE]}),
    ("preference-messages", {"prompt": "Hi", "chosen": ANSWER, "rejected": RUDE}),
    ("conversations-pair", {"chosen": [USER, ANSWER], "rejected": [USER, RUDE]}),
    ("hh", {"chosen": HH + "Hello", "rejected": HH + "Go away"}),
    ("hh", {"prompt": HH, "chosen": "Hello", "rejected": "Go away"}),
    ("sharegpt-pair", {"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "Hello"},
                       "rejected": {"from": "gpt", "value": "Go away"}}),
    ("openai-pair", {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [RUDE]}),
    ("alpaca-pair", {"instruction": "Hi", "input": "", "chosen": "Hello", "rejected": "Go away"}),
]
PROMPTS = [
    ("prompt", {"prompt": "Hi"}),
    ("prompt", {"prompt": [USER]}),
    ("prompt", {"prompt": "Hi", "completion": "Hello"}),
    ("prompt", {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}),
    ("messages", {"messages": [USER]}),
    ("messages", {"messages": [USER, ANSWER]}),
    ("alpaca", {"instruction": "Hi", "output": "Hello"}),
    ("alpaca", {"instruction": "Hi"}),
    ("sharegpt", {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}),
    ("turns", {"turns": ["Hi", "And now?"]}),
    ("conversations-pair", {"chosen": [USER, ANSWER], "rejected": [USER, RUDE]}),
    ("hh", {"chosen": HH + "Hello", "rejected": HH + "Go away"}),
]


def converted(row, kind, name=None, where="f:1"):
    name = name or formats.detect([row], kind)[0]
    ((_, found),) = formats.convert(formats.by_name(name, kind), kind, Fields(row, where))
    return found


def reason(row, kind, name=None) -> str:
    found = converted(row, kind, name)
    assert isinstance(found, BadRow) and found.row == row
    return found.reason


@pytest.mark.parametrize("name, row", DEMONSTRATIONS)
def test_demonstrations_are_told_and_converted(name, row):
    assert formats.detect([row], "demonstrations")[0] == name
    assert converted({**row, "id": 7}, "demonstrations").messages == (U, A)
    assert converted({**row, "id": 7}, "demonstrations").extra == {"id": 7}


@pytest.mark.parametrize("name, row", COMPARISONS)
def test_comparisons_are_told_and_converted(name, row):
    assert formats.detect([row], "comparisons")[0] == name
    found = converted({**row, "margin": 1, "id": 7}, "comparisons")
    assert (found.prompt, found.chosen, found.rejected) == ((U,), (A,), (R,))
    assert (found.margin, found.extra, found.where) == (1.0, {"id": 7}, "f:1")


@pytest.mark.parametrize("name, row", PROMPTS)
def test_prompts_are_told_and_converted(name, row):
    assert formats.detect([row], "prompts")[0] == name
    assert converted(row, "prompts").messages == (U,)


def test_context_and_tools_find_their_place():
    found = converted({"instruction": "Sum up.", "context": "Long.", "response": "Short."}, "demonstrations")
    assert found.messages[0].content == "Sum up.\n\nLong."
    tool = {"type": "function", "function": {"name": "f"}}
    row = {"input": {"messages": [USER], "tools": [tool], "parallel_tool_calls": True}, "preferred_output": [ANSWER],
           "non_preferred_output": [RUDE]}
    found = converted(row, "comparisons")
    assert found.tools == [tool] and found.extra == {"parallel_tool_calls": True}
    assert reason({**row, "input": "Hi"}, "comparisons") == "wrong-type"


def test_text_rows():
    assert formats.detect([{"text": "prose", "id": 1}], "demonstrations")[0] == "text"
    assert converted({"text": "prose", "id": 1}, "demonstrations").text == "prose"


def test_what_a_reward_may_need_stays_beside_a_prompt():
    assert converted({"messages": [USER, ANSWER], "gold": 4}, "prompts").extra == {"gold": 4, "completion": "Hello"}
    assert converted({"instruction": "Hi", "output": "Hello"}, "prompts").extra == {"output": "Hello"}
    assert converted({"turns": ["Hi", "More"]}, "prompts").extra == {"turns": ["Hi", "More"]}


def test_alpaca_with_input_system_and_history():
    row = {"instruction": "Sum.", "input": "1 2", "output": "3", "system": "Be brief.", "history": [["a", "b"]]}
    found = [turn.content for turn in converted(row, "demonstrations").messages]
    assert found == ["Be brief.", "a", "b", "Sum.\n\n1 2", "3"]
    assert reason({**row, "history": ["a"]}, "demonstrations") == "wrong-type"


def test_a_system_column_comes_first_and_only_once():
    turn = {"from": "system", "value": "s"}
    row = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}], "system": "s"}
    assert converted(row, "demonstrations").messages[0] == Message("system", "s")
    assert reason({**row, "conversations": [turn, *row["conversations"]]}, "demonstrations") == "bad-order"
    assert converted({**row, "system": ""}, "demonstrations").messages == (U, A)


@pytest.mark.parametrize("row, kind, choices", [
    ({"messages": [USER, ANSWER], "text": "x"}, "demonstrations", ("messages", "text")),
    ({"messages": [USER, ANSWER], "prompt": "Hi", "completion": "x"}, "demonstrations",
     ("messages", "prompt-completion")),
    ({"instruction": "a", "output": "b", "text": "c"}, "demonstrations", ("alpaca", "text")),
    ({"messages": [USER], "prompt": "Hi"}, "prompts", ("prompt", "messages")),
])
def test_what_fits_twice_is_refused_with_the_choices(row, kind, choices):
    with pytest.raises(Refused) as caught:
        formats.detect([row] * 3, kind, "rows.jsonl")
    assert all(choice in str(caught.value) for choice in choices) and "data.format" in str(caught.value)
    assert converted(row, kind, choices[0]).where == "f:1"


def test_most_rows_decide_and_an_odd_one_does_not():
    good, odd = {"messages": [USER, ANSWER]}, {"text": "x"}
    for rows in ([odd, good, good], [good, good, odd], [{"foo": 1}, good, good]):
        assert formats.detect(rows, "demonstrations") == ("messages", "2 of the first 3 rows have messages")
    with pytest.raises(Refused, match="several formats: messages, text"):
        formats.detect([good, odd], "demonstrations")


def test_an_odd_row_is_of_the_wrong_format():
    assert reason({"text": "x"}, "demonstrations", "messages") == "wrong-format"
    pair = {"prompt": "a", "chosen": [ANSWER], "rejected": [RUDE]}
    assert reason(pair, "comparisons", "preference") == "wrong-format"
    assert reason({"foo": "x"}, "demonstrations", "messages") == "missing-field"


def test_nothing_fits_names_the_columns_and_the_other_kind():
    with pytest.raises(Refused, match="columns foo.*prompt-completion"):
        formats.detect([{"foo": 1}], "demonstrations")
    with pytest.raises(Refused, match="These rows are comparisons, not demonstrations"):
        formats.detect([{"prompt": "a", "chosen": "b", "rejected": "c"}], "demonstrations")


def test_chosen_and_rejected_as_plain_text_need_a_prompt():
    with pytest.raises(Refused, match="no format"):
        formats.detect([{"chosen": "a", "rejected": "b"}], "comparisons")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(Refused, match="Did you mean sharegpt?"):
        formats.by_name("sharegtp", "demonstrations")


def test_a_prompt_that_contradicts_its_conversations():
    row = {"prompt": "Bye", "chosen": [USER, ANSWER], "rejected": [USER, RUDE]}
    assert reason(row, "comparisons") == "prompt-conflict"
    other = [{**USER, "content": "Bye"}, RUDE]
    assert reason({"chosen": [USER, ANSWER], "rejected": other}, "comparisons") == "prompt-conflict"


@pytest.mark.parametrize("row, kind, expected", [
    ({"prompt": "Hi", "completion": None}, "demonstrations", "empty-text"),
    ({"prompt": 5, "completion": "x"}, "demonstrations", "wrong-type"),
    ({"prompt": "Hi", "completion": [USER]}, "demonstrations", "bad-order"),
    ({"prompt": [USER, ANSWER], "completion": "x"}, "demonstrations", "bad-order"),
    ({"instruction": "", "output": "x"}, "demonstrations", "empty-text"),
    ({"instruction": "x", "output": "  "}, "demonstrations", "empty-text"),
    ({"instruction": "x", "input": 5, "output": "y"}, "demonstrations", "wrong-type"),
    ({"messages": []}, "demonstrations", "empty-text"),
    ({"messages": "Hi"}, "demonstrations", "wrong-type"),
    ({"text": 5}, "demonstrations", "wrong-type"),
    ({"prompt": "Hi", "chosen": "a", "rejected": "a"}, "comparisons", "identical-pair"),
    ({"prompt": "Hi", "chosen": "a", "rejected": None}, "comparisons", "empty-text"),
    ({"prompt": "Hi", "chosen": "a", "rejected": "b", "margin": "much"}, "comparisons", "wrong-type"),
    ({"prompt": "Hi", "chosen": [ANSWER, USER, ANSWER], "rejected": [RUDE]}, "comparisons", "bad-order"),
    ({"chosen": HH + "Hello", "rejected": HH}, "comparisons", "empty-text"),
    ({"prompt": [USER, ANSWER]}, "prompts", "bad-order"),
    ({"turns": []}, "prompts", "wrong-type"),
])
def test_rows_that_are_wrong(row, kind, expected):
    assert reason(row, kind) == expected
