import pytest

from alignment.evaluate.rows import as_prompts, kind_of, kind_of_rows
from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from data_recipes.records import Demonstration, Message, Text

USER, ANSWER = {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "?"}, "prompts"),
        ({"prompt": [USER], "code": "AB12"}, "prompts"),
        ({"prompt": "?", "text": "beside"}, "prompts"),
        ({"messages": [USER]}, "prompts"),
        ({"messages": [USER, ANSWER]}, "demonstrations"),
        ({"prompt": "?", "completion": "!"}, "demonstrations"),
        ({"instruction": "?", "output": "!"}, "demonstrations"),
        ({"instruction": "?"}, "prompts"),
        ({"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]}, "demonstrations"),
        ({"text": "once"}, "demonstrations"),
        ({"prompt": "?", "chosen": "a", "rejected": "b"}, "comparisons"),
        ({"conversations": [], "chosen": {}, "rejected": {}}, "comparisons"),
        ({"turns": ["?"]}, "prompts"),
    ],
)
def test_kinds_are_told_by_the_columns(row, kind):
    assert kind_of_rows([row, row]) == kind


def test_most_rows_decide(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [{"prompt": "?"}, {"messages": [USER, ANSWER]}, {"messages": [USER, ANSWER]}])
    assert kind_of(str(tmp_path / "rows.jsonl")) == "demonstrations"
    with pytest.raises(Refused, match="neither"):
        kind_of_rows([{"a": 1}])


@pytest.mark.parametrize(("text", "says"), [("", "there are no rows. Expected"), ("{no\n[1]\n", "none of the first 2 rows")])
def test_a_file_without_a_row_is_said_to_be_one(tmp_path, text, says):
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(Refused, match=says):
        kind_of(str(tmp_path / "rows.jsonl"))


def test_prompts_of_demonstrations():
    chat = Demonstration((Message("user", "?"), Message("assistant", "!")), where="f:1", extra={"a": 1})
    made = as_prompts([chat])[0]
    assert made.messages == chat.messages[:1] and made.extra == {"a": 1} and made.where == "f:1"
    with pytest.raises(Refused, match="no prompt"):
        as_prompts([Text("once", where="f:2")])
