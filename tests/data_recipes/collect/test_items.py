"""Files of items, ours and other tools': pairs, histories, and rows that cannot be used."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from alignment.generation.candidates import joined
from alignment.generation.resumable import meta_file
from data_recipes.collect.effort import DECIDE_SECONDS, effort, seconds_of
from data_recipes.collect.items import as_rows, read_items, word_count
from data_recipes.collect.model import Answer, Item, ListPlan
from data_recipes.errors import Refused
from data_recipes.records import Message


def written(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(*responses, **more):
    return {"prompt": "q", "responses": list(responses), **more}


def texts(path, **how):
    return [(item.first.text, item.second.text) for item in read_items(path, **how).items]


@pytest.mark.parametrize("plan, expected", [
    ("all", ["ab", "ac", "bc"]), ("ring", ["ab", "bc", "ca"]), ("first", ["ab", "ac"]), ("across", ["ac", "bc"])])
def test_more_than_two_responses_become_pairs_by_plan(tmp_path, plan, expected):
    path = written(tmp_path / "i.jsonl", row("a", "b", "c", sources=["m", "m", "n"]))
    assert ["".join(pair) for pair in texts(path, pairs=plan)] == expected
    two = written(tmp_path / "two.jsonl", row("a", "b", sources=["m", "n"]))
    assert texts(two, pairs=plan) == [("a", "b")]


def test_pairs_that_nobody_could_tell_apart_are_left_out_and_counted(tmp_path):
    found = read_items(written(tmp_path / "i.jsonl", row("a", "b", "a ", "c"), row("b", "a")))
    assert [(item.first.text, item.second.text) for item in found.items] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert found.left_out == {"pairs of equal answers": 1, "pairs that stand there twice": 3}


def test_what_align_generate_writes_is_read_with_run_hash_decoding_and_seeds(tmp_path):
    chat = (Message("system", "Be brief."), Message("user", "q"))
    prompt = SimpleNamespace(messages=chat, tools=None, extra={"topic": "x"})
    same = {"stopped": [True, False], "tokens": [3, 4], "seeds": [11, 12]}
    parts = [{"responses": [f"{name}1", f"{name}2"], **same} for name in "ab"]
    path = tmp_path / "candidates.jsonl"
    written(path, joined(prompt, ["runs/sft", "runs/dpo"], parts))
    models = [{"name": f"runs/{name}", "kind": "run", "content": f"hash-{name}"} for name in ("sft", "dpo")]
    request = {"models": models, "decoding": {"temperature": 0.8}, "loading": {"dtype": "auto"}, "system": None}
    meta_file(path).write_text(json.dumps({"format": 1, "state": "completed", "request": request}), encoding="utf-8")
    found = read_items(path, pairs="across")
    assert len(found.items) == 4 and found.items[0].messages[0] == {"role": "system", "content": "Be brief."}
    assert found.items[0].extra == {"topic": "x"}
    last = found.items[-1]
    assert (last.first.source, last.second.source) == ("runs/sft", "runs/dpo")
    assert last.second.made == {"seed": 12, "stopped": False, "tokens": 4, "model": {"kind": "run", "content": "hash-dpo"},
                                "decoding": {"temperature": 0.8}, "loading": {"dtype": "auto"}}


def test_a_broken_record_beside_the_answers_is_refused(tmp_path):
    path = written(tmp_path / "c.jsonl", row("a", "b"))
    meta_file(path).write_text("{", encoding="utf-8")
    with pytest.raises(Refused, match="cannot be read"):
        read_items(path)


def test_scores_become_spread_and_gap_of_each_pair(tmp_path):
    rows = row("a", "b", scores=[[1.0, 2.0], [1.0, 4.0]], topic="x"), row("c", "d", scores=[3, 1])
    path = written(tmp_path / "i.jsonl", *rows)
    one, two = read_items(path, stratify="topic").items
    assert (one.disagreement, one.gap, one.stratum) == (1.0, 2.0, "x")  # differences 1 and 3
    assert (two.disagreement, two.gap, two.stratum) == (None, 2.0, "")


@pytest.mark.parametrize("bad, reason", [
    ({"responses": ["a", "b"]}, "missing-field"), ({"prompt": "q"}, "missing-field"), (row("a"), "wrong-type"),
    (row("a", 3), "wrong-type"), (row("a", "b", sources=["m"]), "wrong-type"), (row("a", "b", scores=[1.0]), "wrong-type"),
    (row("a", "b", generation={"seeds": [1]}), "wrong-type"), ({**row("a", "b"), "prompt": " "}, "empty-text"),
    ({**row("a", "b"), "prompt": [{"role": "assistant", "content": "x"}]}, "bad-order")])
def test_bad_rows_are_refused_with_their_place_or_let_pass_by_share(tmp_path, bad, reason):
    found = read_items(written(tmp_path / "i.jsonl", row("a", "b"), bad))
    assert [entry[:2] for entry in found.refused] == [(f"{tmp_path / 'i.jsonl'}:2", reason)]
    with pytest.raises(Refused, match=f"i.jsonl:2: 1 of 2 rows cannot be used: .*{reason}"):
        found.check()
    found.check(0.5)


def test_gold_and_training_items_say_what_is_expected(tmp_path):
    rows = row("a", "b", expected="first", why="because"), row("c", "d"), row("e", "f", "g", expected="tie")
    path = written(tmp_path / "g.jsonl", *rows)
    found = read_items(path, kind="gold")
    assert [(item.kind, item.expected, item.why) for item in found.items] == [("gold", "first", "because")]
    assert len(found.refused) == 2


def test_an_empty_file_and_one_of_equal_answers_are_nothing_to_ask(tmp_path):
    for rows in ((), (row("a", "a"),)):
        with pytest.raises(Refused, match="nothing to ask"):
            read_items(written(tmp_path / "i.jsonl", *rows)).check()


ARGILLA = {"id": "r1", "status": "completed", "fields": {"instruction": "q", "response-1": "a", "response-2": "b"},
           "metadata": {"topic": "x", "model1": "m", "model2": "n"}, "suggestions": {}, "responses": {"pref": [{"value": "a"}]}}
ARGILLA_COLUMNS = {"id": "r1", "prompt": "q", "response1": "a", "response2": "b", "pref.responses": [["a"]],
                   "pref.responses.users": ["u"], "pref.suggestion": "a"}
LABEL_STUDIO = {"id": 7, "annotations": [], "data": {"prompt": "q", "answer1": "a", "answer2": "b", "topic": "x"}}
DIALOGUE = {"id": 8, "annotations": [], "data": {
    "conversation": [{"author": "User", "text": "q"}], "text_a": "a", "text_b": "b"}}


@pytest.mark.parametrize("raw, form", [(ARGILLA, "argilla"), (ARGILLA_COLUMNS, "argilla"), (LABEL_STUDIO, "label-studio"),
                                       (DIALOGUE, "label-studio")])
def test_items_of_other_tools_are_read(tmp_path, raw, form):
    path = tmp_path / "other.json"
    path.write_text(json.dumps([raw]), encoding="utf-8")
    found = read_items(path)
    item = found.items[0]
    assert found.formats == {form: 1}
    assert (item.messages, item.first.text, item.second.text) == (({"role": "user", "content": "q"},), "a", "b")
    assert item.extra["id"] == raw["id"] and not any("pref" in key for key in item.extra)
    assert item.first.source == ("m" if raw is ARGILLA else None)
    rows, _ = as_rows(path)
    assert texts(written(tmp_path / "ours.jsonl", *rows)) == [("a", "b")]


@pytest.mark.parametrize("raw, reason", [
    ({"data": {"prompt": "q", "image": "x.png"}}, "missing-field"),
    ({"fields": {"response1": "a", "response2": "b"}}, "missing-field"),
    ({"data": {"conversation": [{"author": "Kim", "text": "q"}], "text_a": "a", "text_b": "b"}}, "bad-role")])
def test_other_tools_items_that_are_no_comparison_are_refused(tmp_path, raw, reason):
    assert read_items(written(tmp_path / "o.jsonl", raw)).refused[0][1] == reason


def test_a_table_of_numbered_answers_is_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("prompt,answer_a,answer_b\nq,a,b\n", encoding="utf-8")
    assert texts(path) == [("a", "b")]


def test_effort_is_counted_before_anything_is_made():
    item = Item(({"role": "user", "content": "w " * 38},), Answer("w " * 100), Answer("w " * 100))
    assert seconds_of(item) == pytest.approx(60 + DECIDE_SECONDS)  # 238 words at 238 a minute
    gold = Item(item.messages, item.first, item.second, "gold", "first")
    asked = effort(ListPlan(items=(item,) * 100 + (gold,) * 6, overlap=2, repeats=0.1), 4)
    assert (asked["pairs"], asked["votes"], asked["repeats"], asked["gold"], asked["votes_each"]) == (100, 200, 20, 6, 61)
    assert asked["hours_each"] == round((220 + 24) * 70 / 3600 / 4, 2)
    assert word_count("一二三四五六七八九十一二") == 2 and word_count("one two") == 2
