"""Rows that give several records, and rows that make one together: converted by hand, counted, and refused alone."""

import json

import pytest

from data_recipes import formats
from data_recipes.errors import Refused
from data_recipes.formats import Fields, PassedOver
from data_recipes.ledger import Ledger
from data_recipes.readers import Reading, read, stream
from data_recipes.records import BadRow


def written(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def made(tmp_path, kind, *rows, ranked=""):
    ledger = Ledger()
    return list(stream(written(tmp_path, *rows), kind, ledger, Reading(ranked=ranked))), ledger


def texts(records) -> list[tuple[str, str]]:
    return [(row.chosen[0].content, row.rejected[0].content) for row in records]


def places(records) -> list[str]:
    return [row.where.rpartition("/")[2] for row in records]


# ------------------------------------------------------------------------------------------------------- self-instruct

SEED = {"id": "s1", "instruction": "Add.", "instances": [{"input": "1 2", "output": "3"}, {"input": "", "output": "0"}]}


def test_each_instance_is_a_demonstration_and_a_prompt(tmp_path):
    records, ledger = made(tmp_path, "demonstrations", SEED)
    assert [[turn.content for turn in row.messages] for row in records] == [["Add.\n\n1 2", "3"], ["Add.", "0"]]
    assert places(records) == ["rows.jsonl:1#1", "rows.jsonl:1#2"] and records[0].extra == {"id": "s1"}
    assert (ledger.read, ledger.kept, ledger.totals()["rows"]["read"]) == (2, 2, 1)
    prompts, _ = made(tmp_path, "prompts", SEED)
    assert [row.messages[0].content for row in prompts] == ["Add.\n\n1 2", "Add."]


def test_one_bad_instance_leaves_the_others(tmp_path):
    bad = {**SEED, "instances": [{"input": "", "output": ""}, *SEED["instances"], {"input": ""}]}
    records, ledger = made(tmp_path, "demonstrations", bad, {**SEED, "instances": []}, {**SEED, "instances": "x"})
    assert len(records) == 2 and ledger.rejected == {"empty-text": 2, "missing-field": 1, "wrong-type": 1}
    assert [row["where"].rpartition("/")[2] for row in ledger.rejected_rows] == [
        "rows.jsonl:1#1", "rows.jsonl:1#4", "rows.jsonl:2", "rows.jsonl:3"]
    assert ledger.totals()["rows"] == {"read": 3, "used": 1, "refused": 2, "passed": 0}


# ---------------------------------------------------------------------------------------------------- ranked completions


def ultra(*scores, **more) -> dict:
    completions = [{"response": f"answer {score}", "model": f"m{n}", "overall_score": score} for n, score in enumerate(scores)]
    return {"instruction": "Why?", "source": "s", "models": ["m"], "completions": completions, **more}


def test_completions_become_pairs_of_better_and_worse(tmp_path):
    records, ledger = made(tmp_path, "comparisons", ultra(2.0, 9.0, 5.0))
    assert texts(records) == [("answer 9.0", "answer 5.0"), ("answer 9.0", "answer 2.0"), ("answer 5.0", "answer 2.0")]
    assert [row.margin for row in records] == [4.0, 7.0, 3.0]
    assert records[0].extra == {"source": "s", "chosen_score": 9.0, "chosen_model": "m1", "rejected_score": 5.0,
                                "rejected_model": "m2"}
    assert ledger.totals()["rows"] == {"read": 1, "used": 1, "refused": 0, "passed": 0} and ledger.kept == 3


@pytest.mark.parametrize("ranked, expected", [
    ("best", [("answer 9.0", "answer 5.0"), ("answer 9.0", "answer 2.0")]), ("ends", [("answer 9.0", "answer 2.0")]),
])
def test_not_all_pairs_need_be_taken(tmp_path, ranked, expected):
    assert texts(made(tmp_path, "comparisons", ultra(2.0, 9.0, 5.0), ranked=ranked)[0]) == expected


def test_ties_and_lone_answers_are_passed_over_and_counted(tmp_path):
    records, ledger = made(tmp_path, "comparisons", ultra(5.0, 5.0), ultra(5.0), ultra(5.0, 5.0, 1.0))
    assert len(records) == 2 and ledger.passed == {"tie": 2, "one-answer": 1} and not ledger.rejected
    assert ledger.totals()["rows"] == {"read": 3, "used": 1, "refused": 0, "passed": 2}
    with pytest.raises(Refused, match="nothing of the kind asked for .1 one-answer"):
        read(written(tmp_path, ultra(5.0)), "comparisons").ledger.check()


def test_the_aspects_come_before_the_overall_score(tmp_path):
    """An overall score of 10 that was a 1: the aspects say so."""
    aspects = ("instruction_following", "honesty", "truthfulness", "helpfulness")
    rows = ultra(10, 6)
    for completion, rating in zip(rows["completions"], ("1", "4"), strict=True):
        completion["annotations"] = {name: {"Rating": rating, "Rationale": "r"} for name in aspects}
    records, _ = made(tmp_path, "comparisons", rows)
    assert texts(records) == [("answer 6", "answer 10")] and records[0].margin == 3.0
    rows["completions"][0]["annotations"]["honesty"]["Rating"] = "N/A"  # published so where an aspect does not apply
    assert made(tmp_path, "comparisons", rows)[0] == records


def test_one_measure_serves_all_completions_of_a_row(tmp_path):
    """Aspects go to 5 and overall scores to 10, so they are never compared with each other."""
    row = ultra(3, 6)
    row["completions"][0]["annotations"] = {"honesty": {"Rating": "5"}}
    assert texts(made(tmp_path, "comparisons", row)[0]) == [("answer 6", "answer 3")]
    del row["completions"][1]["overall_score"]
    assert made(tmp_path, "comparisons", ultra(1, 2), row)[1].rejected == {"missing-field": 1}


@pytest.mark.parametrize("fault, reason", [
    ({"completions": [{"response": "a"}]}, "missing-field"), ({"completions": "a"}, "wrong-type"),
    ({"completions": [{"overall_score": 1}]}, "empty-text"), ({"completions": []}, "empty-text"),
    ({"completions": [{"response": "a", "overall_score": "high"}]}, "wrong-type"),
])
def test_a_row_without_scores_or_answers_is_refused(tmp_path, fault, reason):
    records, ledger = made(tmp_path, "comparisons", ultra(1, 2), ultra(1, 2), {**ultra(1, 2), **fault})
    assert len(records) == 2 and ledger.rejected == {reason: 1}


def test_two_equal_answers_with_different_scores_are_a_fault(tmp_path):
    row = ultra(1, 2, 3)
    row["completions"][0]["response"] = row["completions"][1]["response"]
    records, ledger = made(tmp_path, "comparisons", row)
    assert len(records) == 2 and ledger.rejected == {"identical-pair": 1}


def test_answers_with_ranks_and_a_transcript_as_prompt(tmp_path):
    row = {"prompt": "\n\nHuman: Why?\n\nAssistant: Because.\n\nHuman: Really?\n\nAssistant: ",
           "answers": [{"answer": "no", "rank": 2, "model": "b"}, {"answer": "yes", "rank": 1, "model": "a"}]}
    (record,), _ = made(tmp_path, "comparisons", row)
    assert [turn.content for turn in record.prompt] == ["Why?", "Because.", "Really?"]
    assert texts([record]) == [("yes", "no")] and record.margin is None and record.extra["chosen_rank"] == 1
    scored = {"prompt": "Why?", "answers": [{"text": "no", "score": 0.1}, {"text": "yes", "score": "0.75"}]}
    (record,), _ = made(tmp_path, "comparisons", scored)
    assert texts([record]) == [("yes", "no")] and record.margin == 0.65
    scored["answers"][0] = {"text": "no", "rank": 1}
    assert made(tmp_path, "comparisons", scored)[1].rejected == {"missing-field": 1}


# ----------------------------------------------------------------------------------------------------------- HelpSteer


def helpful(prompt, response, helpfulness, **more) -> dict:
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, "coherence": 4, **more}


def test_rows_with_the_same_prompt_are_compared_wherever_they_stand(tmp_path):
    rows = [helpful("A", "a1", 2), helpful("B", "b1", 4), helpful("A", "a2", 4), helpful("B", "b2", 4), helpful("C", "c", 1)]
    records, ledger = made(tmp_path, "comparisons", *rows)
    assert texts(records) == [("a2", "a1")] and records[0].margin == 2.0 and places(records) == ["rows.jsonl:1+3#1"]
    assert records[0].extra == {"chosen_helpfulness": 4, "chosen_coherence": 4, "rejected_helpfulness": 2,
                                "rejected_coherence": 4}
    assert ledger.passed == {"tie": 1, "one-answer": 1}
    assert ledger.totals()["rows"] == {"read": 5, "used": 2, "refused": 0, "passed": 3}


def test_a_bad_row_of_a_group_is_refused_at_its_own_line(tmp_path):
    rows = [helpful("A", "a1", 2), helpful("A", "", 3), helpful("A", "a3", 4), helpful(None, "x", 1), helpful("A", "y", "?")]
    records, ledger = made(tmp_path, "comparisons", *rows)
    assert texts(records) == [("a3", "a1")]
    assert sorted((row["where"].rpartition(":")[2], row["reason"]) for row in ledger.rejected_rows) == [
        ("2", "empty-text"), ("4", "missing-field"), ("5", "wrong-type")]
    assert ledger.totals()["rows"] == {"read": 5, "used": 2, "refused": 3, "passed": 0}


def test_marks_of_turns_in_helpsteers_prompts(tmp_path):
    prompt = "Why?\n<extra_id_1>Assistant\nBecause.\n<extra_id_1>User\nReally?"
    (record,), _ = made(tmp_path, "comparisons", helpful(prompt, "yes", 4), helpful(prompt, "no", 0))
    assert [(turn.role, turn.content) for turn in record.prompt] == [
        ("user", "Why?"), ("assistant", "Because."), ("user", "Really?")]
    (asked,), _ = made(tmp_path, "prompts", {"prompt": prompt})
    assert asked.messages == record.prompt


@pytest.mark.parametrize("row, expected", [
    ({"prompt": "Q", "response_1": "a", "response_2": "b", "preference_strength": -3}, ("a", "b", 3.0)),
    ({"prompt": "Q", "response_1": "a", "response_2": "b", "preference_strength": 1}, ("b", "a", 1.0)),
    ({"context": [{"role": "user", "content": "Q"}], "response1": "a", "response2": "b", "overall_preference": 2},
     ("b", "a", 2.0)),
])
def test_helpsteers_preferences(tmp_path, row, expected):
    (record,), _ = made(tmp_path, "comparisons", row)
    assert (*texts([record])[0], record.margin) == expected and record.prompt[0].content == "Q"
    key = next(key for key in row if "preference" in key)
    assert made(tmp_path, "comparisons", row, {**row, key: 0})[1].passed == {"tie": 1}


# --------------------------------------------------------------------------------------------------------------- trees


def node(name, role, *replies, **more) -> dict:
    return {"message_id": name, "role": role, "text": f"text {name}", "replies": list(replies), **more}


TREE = {"message_tree_id": "t", "prompt": node(
    "t", "prompter",
    node("worse", "assistant", node("w1", "prompter", node("w2", "assistant")), rank=1),
    node("best", "assistant",
         node("b1", "prompter", node("b2", "assistant", rank=0), node("b3", "assistant", rank=2),
              node("b4", "assistant", rank=1)),
         node("unanswered", "prompter"), node("gone", "prompter", node("g1", "assistant"), deleted=True), rank=0),
    node("spam", "assistant", review_result=False, rank=2), lang="en")}


def flat(tree) -> list[dict]:
    rows, waiting = [], [(tree["prompt"], None)]
    while waiting:
        one, parent = waiting.pop()
        waiting += [(reply, one["message_id"]) for reply in one["replies"]]
        rows.append({**{key: value for key, value in one.items() if key != "replies"}, "parent_id": parent,
                     "message_tree_id": tree["message_tree_id"], "labels": {"name": ["spam"], "value": [0.0]}})
    return rows


def said(record) -> str:
    return " ".join(turn.content.removeprefix("text ") for turn in record.messages)


def test_threads_follow_the_best_answers(tmp_path):
    records, ledger = made(tmp_path, "demonstrations", TREE)
    assert [said(row) for row in records] == ["t best b1 b2"]
    assert records[0].extra == {"message_tree_id": "t", "lang": "en", "message_id": "b2"}
    every, _ = made(tmp_path, "demonstrations", TREE, ranked="all")
    assert sorted(said(row) for row in every) == ["t best b1 b2", "t best b1 b3", "t best b1 b4", "t worse w1 w2"]
    assert ledger.kept == 1 and ledger.totals()["rows"]["used"] == 1
    assert ledger.passed == {"deleted": 1, "failed-review": 1}


def test_ranked_answers_are_pairs_after_all_that_stands_before_them(tmp_path):
    records, _ = made(tmp_path, "comparisons", TREE)
    found = [(" ".join(turn.content.removeprefix("text ") for turn in row.prompt), row.extra["chosen_message_id"],
              row.extra["rejected_message_id"]) for row in records]
    assert found == [("t", "best", "worse"), ("t best b1", "b2", "b4"), ("t best b1", "b2", "b3"), ("t best b1", "b4", "b3")]
    assert all(row.margin is None for row in records)
    ends, _ = made(tmp_path, "comparisons", TREE, ranked="ends")
    assert [row.extra["rejected_message_id"] for row in ends] == ["worse", "b3"]


def test_each_user_message_is_a_prompt(tmp_path):
    records, _ = made(tmp_path, "prompts", TREE)
    assert sorted(said(row) for row in records) == ["t", "t best b1", "t best unanswered", "t worse w1"]


def test_messages_one_a_row_are_the_same_tree(tmp_path):
    other = json.loads(json.dumps(TREE).replace('"text ', '"other ').replace('"t"', '"u"'))
    rows = [row for pair in zip(flat(TREE), flat(other), strict=True) for row in pair]
    for kind in ("demonstrations", "comparisons", "prompts"):
        nested, _ = made(tmp_path, kind, TREE, other)
        apart, ledger = made(tmp_path, kind, *rows)
        assert sorted(map(_content, apart)) == sorted(map(_content, nested))
        assert ledger.totals()["rows"] == {"read": len(rows), "used": len(rows), "refused": 0, "passed": 0}


def _content(record) -> str:
    return repr([getattr(record, name) for name in record.__dataclass_fields__ if name not in ("where", "extra")])


def test_trees_that_are_broken_or_hold_nothing(tmp_path):
    lone = {"message_tree_id": "l", "prompt": node("l", "prompter")}
    _, ledger = made(tmp_path, "demonstrations", TREE, lone)
    assert ledger.passed == {"no-answer": 1, "deleted": 1, "failed-review": 1} and ledger.totals()["rows"]["passed"] == 1
    assert made(tmp_path, "comparisons", TREE, lone)[1].passed["no-ranked-answers"] == 1
    rows = flat(TREE)
    orphan = {**rows[-1], "message_id": "o", "parent_id": "nobody", "message_tree_id": "v"}
    for bad in ([*rows, orphan], [*rows, {**rows[0], "message_tree_id": "v"}, {**rows[0], "message_tree_id": "v"}],
                [*rows, {**rows[0], "message_id": "r2", "message_tree_id": "v"},
                 {**rows[0], "message_id": "r3", "message_tree_id": "v"}]):
        records, ledger = made(tmp_path, "demonstrations", *bad)
        assert len(records) == 1 and ledger.rejected == {"broken-tree": 1}
    wrong = {**TREE, "prompt": {**TREE["prompt"], "replies": [node("x", "robot")]}}
    assert made(tmp_path, "demonstrations", TREE, {**wrong, "prompt": {"replies": "x", "role": "prompter"}})[1].rejected == {
        "wrong-type": 1}


def test_a_bad_message_touches_only_what_it_is_in(tmp_path):
    bad = json.loads(json.dumps(TREE).replace('"text b4"', '" "').replace('"role": "prompter", "text": "text w1"',
                                                                        '"role": "robot", "text": "text w1"'))
    records, ledger = made(tmp_path, "comparisons", bad)
    assert [row.extra["rejected_message_id"] for row in records] == ["worse", "b3"]
    assert ledger.rejected == {"empty-text": 2}
    every, ledger = made(tmp_path, "demonstrations", bad, ranked="all")
    assert sorted(said(row) for row in every) == ["t best b1 b2", "t best b1 b3"]
    assert ledger.rejected == {"empty-text": 1, "bad-role": 1}


def test_a_tree_is_of_several_kinds_and_that_is_said():
    for row, name in ((TREE, "oasst-tree"), (flat(TREE)[0], "oasst-messages")):
        kinds = rf"kinds: comparisons \({name}\), demonstrations \({name}\), prompts \({name}\)\..*--to messages"
        with pytest.raises(Refused, match=kinds):
            formats.detect_kind([row])


# --------------------------------------------------------------------------------------------------------------- others


def test_a_fault_of_the_whole_row_is_one_and_says_its_format():
    form = formats.by_name("ultrafeedback", "comparisons")
    ((where, found),) = formats.convert(form, "comparisons", Fields({"prompt": "a", "chosen": "b", "rejected": "c"}, "f:3"))
    assert where == "f:3" and isinstance(found, BadRow) and found.reason == "wrong-format" and "preference" in found.detail


def test_what_is_passed_over_has_a_reason():
    form = formats.by_name("ultrafeedback", "comparisons")
    ((where, found),) = formats.convert(form, "comparisons", Fields(ultra(1.0), "f:1"))
    assert isinstance(found, PassedOver) and found.reason == "one-answer" and where == "f:1#1"
