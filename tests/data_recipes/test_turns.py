"""Chats as data sets write them, converted by hand and compared."""

import json

import pytest

from data_recipes import turns
from data_recipes.records import BadRow, Message

CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def reason(make) -> str:
    with pytest.raises(BadRow) as caught:
        make()
    return caught.value.reason


def test_sharegpt_turns_become_messages():
    found = turns.from_sharegpt("conversations", [
        {"from": "system", "value": "Be brief."}, {"from": "human", "value": "1+1?"},
        {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
        {"from": "observation", "value": "2"}, {"from": "gpt", "value": "Two."},
    ])
    assert found == (
        Message("system", "Be brief."), Message("user", "1+1?"), Message("assistant", "", (CALL,)),
        Message("tool", "2", name="add"), Message("assistant", "Two."),
    )


def test_observations_follow_the_order_of_the_calls():
    calls = json.dumps([{"name": "a", "arguments": {}}, {"name": "b", "arguments": {}}])
    found = turns.from_sharegpt("c", [{"from": "human", "value": "go"}, {"from": "function_call", "value": calls}]
                                + [{"from": "observation", "value": "x"}] * 3)
    assert [turn.name for turn in found[2:]] == ["a", "b", None]


def test_sharegpt_with_roles_in_place_of_from():
    assert turns.from_sharegpt("c", [{"role": "user", "content": "Hi"}]) == (Message("user", "Hi"),)


@pytest.mark.parametrize("turn, expected", [
    ({"from": "bot", "value": "x"}, "bad-role"), ({"from": "gpt"}, "missing-field"), ({"value": "x"}, "missing-field"),
    ({"from": "gpt", "value": None}, "empty-text"), ({"from": "gpt", "value": 5}, "wrong-type"), ("x", "wrong-type"),
    ({"from": "function_call", "value": "not JSON"}, "bad-tool-call"), ({"from": ["gpt"], "value": "x"}, "bad-role"),
    ({"from": "function_call", "value": '{"arguments": {}}'}, "bad-tool-call"),
    ({"from": "function_call", "value": "[]"}, "bad-tool-call"),
    ({"from": "function_call", "value": None}, "bad-tool-call"),
])
def test_sharegpt_turns_that_are_wrong(turn, expected):
    assert reason(lambda: turns.from_sharegpt("conversations", [turn])) == expected


def test_messages_with_calls_as_openai_writes_them():
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    found = turns.from_messages("messages", [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "c1", "name": "add"},
    ])
    result = Message("tool", "2", name="add", tool_call_id="c1")
    assert found == (Message("assistant", "", ({**CALL, "id": "c1"},)), result)


def test_nulls_of_parquet_are_fields_that_are_not_there():
    item = {"role": "user", "content": "Hi", "tool_calls": None, "name": None, "thinking": None}
    assert turns.from_messages("messages", [item]) == (Message("user", "Hi"),)


def test_text_parts_are_put_together_and_images_refused():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert turns.from_messages("m", [{"role": "user", "content": parts}]) == (Message("user", "ab"),)
    assert reason(lambda: turns.from_messages("m", [{"role": "user", "content": [{"type": "image"}]}])) == "wrong-type"


def test_three_names_of_thinking():
    for key in ("thinking", "reasoning_content", "reasoning"):
        assert turns.from_messages("m", {"role": "assistant", "content": "4", key: "2+2"})[0].thinking == "2+2"


def test_unknown_message_fields_are_named():
    ignored = set()
    turns.from_messages("m", [{"role": "user", "content": "Hi", "weight": 0}], ignored)
    turns.from_sharegpt("c", [{"from": "gpt", "value": "Hi", "loss": False}], ignored)
    assert ignored == {"weight", "loss"}


@pytest.mark.parametrize("value, expected", [
    ("Hi", "wrong-type"), (None, "wrong-type"), ([], "empty-text"), ([5], "wrong-type"),
    ([{"content": "x"}], "missing-field"),
    ([{"role": "user"}], "missing-field"), ([{"role": "user", "content": None}], "empty-text"),
    ([{"role": "assistant", "content": "", "tool_calls": "x"}], "wrong-type"),
    ([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": [1]}}]}], "bad-tool-call"),
])
def test_messages_that_are_wrong(value, expected):
    assert reason(lambda: turns.from_messages("messages", value)) == expected


def test_a_transcript_is_split_at_its_speakers():
    text = "\n\nHuman: Hi\n\nthere\n\nAssistant: Hello. Human: no.\n\nHuman: Bye\n\nAssistant: Bye"
    found = turns.from_transcript("chosen", text)
    assert [(turn.role, turn.content) for turn in found] == [
        ("user", "Hi\n\nthere"), ("assistant", "Hello. Human: no."), ("user", "Bye"), ("assistant", "Bye")]


def test_a_transcript_with_an_empty_turn_is_refused():
    assert reason(lambda: turns.from_transcript("chosen", "\n\nHuman: Hi\n\nAssistant:")) == "empty-text"
    assert reason(lambda: turns.from_transcript("chosen", "Hi")) == "wrong-format"


def test_conversations_are_split_at_the_last_turn():
    shared = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    one, other = (Message("assistant", "d"),), (Message("assistant", "e"),)
    assert turns.split_pair(shared + one, shared + other) == (shared, one, other)
    assert reason(lambda: turns.split_pair(shared + one, shared[:1] + other)) == "prompt-conflict"
    assert reason(lambda: turns.split_pair(shared, shared + other)) == "bad-order"
    assert reason(lambda: turns.split_pair(one, other)) == "bad-order"


def test_tools_come_as_a_list_or_as_text():
    plain = {"name": "add", "parameters": {}}
    whole = [{"type": "function", "function": plain}]
    assert turns.tools_of([plain]) == turns.tools_of(json.dumps([plain])) == turns.tools_of(whole) == whole
    assert turns.tools_of(None) is turns.tools_of("") is turns.tools_of("[]") is turns.tools_of([]) is None
    for bad in ("{", 5, [5], [{"parameters": {}}], {"name": "x"}):
        assert reason(lambda bad=bad: turns.tools_of(bad)) in ("bad-json", "wrong-type")


def test_openais_older_function_calls():
    asked = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a": 1}'}}
    called, answered = turns.from_messages("m", [asked, {"role": "function", "name": "f", "content": "2"}])
    assert called.tool_calls == ({"type": "function", "function": {"name": "f", "arguments": {"a": 1}}},)
    assert (answered.role, answered.name) == ("tool", "f")
    plain = {"role": "assistant", "content": "b", "function_call": None}
    assert turns.from_messages("m", [plain]) == (Message("assistant", "b"),)
