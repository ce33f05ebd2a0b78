"""Answers called good or bad, and labelled texts: told from their neighbours, converted by hand, refused where wrong."""

import pytest

from data_recipes import formats
from data_recipes.errors import Refused
from data_recipes.formats import Fields
from data_recipes.readers import Reading, read, stream
from data_recipes.ledger import Ledger
from data_recipes.records import BadRow, Labelled, Message, Unpaired

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
TURNS = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
U, A = Message("user", "Hi"), Message("assistant", "Hello")


def converted(row, kind):
    name = formats.detect([row], kind)[0]
    ((_, found),) = formats.convert(formats.by_name(name, kind), kind, Fields(row, "f:1"))
    return found


@pytest.mark.parametrize("row", [
    {"prompt": "Hi", "completion": "Hello", "label": True}, {"prompt": [USER], "completion": [ANSWER], "label": "True"},
    {"messages": [USER, ANSWER], "label": True}, {"conversations": TURNS, "kto_tag": "true"},
    {"conversations": TURNS, "label": True},
])
def test_answers_called_good(row):
    assert formats.detect_kind([row])[0] == "unpaired"
    assert converted({**row, "id": 7}, "unpaired") == Unpaired((U,), (A,), True, None, "f:1", {"id": 7})


@pytest.mark.parametrize("row, reason", [
    ({"prompt": "Hi", "completion": "Hello", "label": None}, "wrong-type"),
    ({"prompt": "Hi", "completion": "Hello", "label": 1}, "wrong-type"),
    ({"prompt": "Hi", "completion": "", "label": True}, "empty-text"),
    ({"prompt": [USER], "completion": [ANSWER, USER, ANSWER], "label": True}, "bad-order"),
    ({"prompt": "Hi", "completion": "Hello"}, "missing-field"),
])
def test_what_is_no_verdict_is_refused(row, reason):
    ((_, found),) = formats.convert(formats.by_name("kto", "unpaired"), "unpaired", Fields(row))
    assert isinstance(found, BadRow) and found.reason == reason


def test_a_chat_that_waits_for_an_answer_has_none_to_judge():
    found = converted({"messages": [USER], "label": True}, "unpaired")
    assert found.reason == "bad-order"


@pytest.mark.parametrize("row, expected", [
    ({"text": "a", "label": "spam"}, ("a", None, "spam")), ({"sentence": "a", "label": 1}, ("a", None, 1)),
    ({"text": "a", "label": 0.5}, ("a", None, 0.5)), ({"text": "a", "label": False}, ("a", None, False)),
    ({"text": "a", "labels": ["x", "y"]}, ("a", None, ("x", "y"))), ({"text": "a", "labels": []}, ("a", None, ())),
    ({"premise": "a", "hypothesis": "b", "label": 2}, ("a", "b", 2)),
    ({"sentence1": "a", "sentence2": "b", "label": "0"}, ("a", "b", "0")),
    ({"text": "a", "text_pair": "b", "label": "0"}, ("a", "b", "0")),
    ({"question": "a", "sentence": "b", "label": "0"}, ("a", "b", "0")),
])
def test_labelled_texts(row, expected):
    assert formats.detect_kind([row])[:2] == ("labelled", "labels")
    found = converted({**row, "id": 7}, "labelled")
    assert (found.text, found.pair, found.label) == expected and found.extra == {"id": 7}
    assert type(found.label) is type(expected[2])


@pytest.mark.parametrize("row, reason", [
    ({"text": "", "label": 1}, "empty-text"), ({"text": 5, "label": 1}, "wrong-type"),
    ({"text": "a", "label": None}, "empty-text"), ({"text": "a", "label": " "}, "empty-text"),
    ({"text": "a", "label": {"a": 1}}, "wrong-type"), ({"text": "a", "labels": ["x", 0.5]}, "wrong-type"),
    ({"premise": "a", "hypothesis": "", "label": 1}, "empty-text"),
])
def test_labels_that_are_none(row, reason):
    assert converted(row, "labelled").reason == reason


def test_a_score_must_be_finite():
    with pytest.raises(BadRow, match="not-finite"):
        Labelled("a", float("nan"))


@pytest.mark.parametrize("row, kind", [
    ({"prompt": "Hi", "completion": "Hello", "label": "greeting"}, "demonstrations"),
    ({"messages": [USER, ANSWER], "label": 3}, "demonstrations"),
    ({"text": "once", "id": 1}, "demonstrations"), ({"prompt": "Hi", "label": True}, "prompts"),
    ({"messages": [USER, ANSWER], "chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "No"}],
      "prompt": "Hi"}, "comparisons"),
    ({"messages": [USER]}, "prompts"), ({"conversations": TURNS[:1]}, "prompts"), ({"instruction": "Hi"}, "prompts"),
])
def test_neighbours_are_told_apart(row, kind):
    assert formats.detect_kind([row] * 2)[0] == kind


def test_rows_of_two_kinds_at_once_are_refused_with_both():
    with pytest.raises(Refused, match=r"demonstrations \(messages\), labelled \(labels\)"):
        formats.detect_kind([{"messages": [USER, ANSWER], "text": "a", "label": "b"}], "f.jsonl")
    with pytest.raises(Refused, match="neither demonstrations.*--columns"):
        formats.detect_kind([{"foo": 1}])


def test_a_table_without_names_gets_them(tmp_path):
    path = tmp_path / "sst.tsv"
    path.write_text("so good\t1\nso 'bad\t0\n", encoding="utf-8")
    with pytest.raises(Refused, match="--columns"):
        read(path, "labelled")
    records = list(stream(path, "labelled", Ledger(), Reading(columns=("text", "label"))))
    found = [(row.text, row.label, row.where.rpartition(":")[2]) for row in records]
    assert found == [("so good", "1", "1"), ("so 'bad", "0", "2")]
    with pytest.raises(Refused, match="names its columns itself"):
        list(stream(_jsonl(tmp_path), "labelled", Ledger(), Reading(columns=("text", "label"))))


def _jsonl(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"review": "a", "label": 1, "n": 1}\n{"review": "b", "label": 0, "text": "c"}\n', encoding="utf-8")
    return path


def test_columns_are_renamed_and_left_out(tmp_path):
    ledger = Ledger()
    how = Reading(rename=(("review", "text"), ("n", ""), ("nothing", "")))
    records = list(stream(_jsonl(tmp_path), "labelled", ledger, how))
    assert [(row.text, row.extra) for row in records] == [("a", {})]
    assert ledger.rejected == {"column-clash": 1} and any("'nothing'" in note for note in ledger.notes)


def test_bad_answers_read_as_demonstrations_are_said(tmp_path):
    path = tmp_path / "kto.jsonl"
    path.write_text('{"prompt": "a", "completion": "b", "label": false}\n', encoding="utf-8")
    assert any("1 rows have the label false" in note for note in read(path, "demonstrations").ledger.notes)
    found = read(path, "unpaired")
    assert found.ledger.notes == [] and found.records[0].label is False
