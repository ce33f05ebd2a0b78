"""From votes to rows: the table of what each vote becomes, the strict reader, the manifest, the same bytes."""

from __future__ import annotations

import csv
import json
from collections import Counter

import pytest

from data_recipes.collect.export import KINDS, Wish, export
from data_recipes.collect.model import Answer, Item
from data_recipes.errors import Refused
from data_recipes.files import sha256_file
from data_recipes.readers import read
from tests.data_recipes.collect.made import Voter, item, items, made


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def cast(store, who: int, verdicts: dict[str, tuple], client: str = "") -> None:
    """One person's votes by question: ("first"|"second"|tie|..., strength, acceptable of first and second, edited first)."""
    while (task := store.claim(who)) is not None:
        verdict, strength, told, edit = (*verdicts[task.messages[-1]["content"]], None, None, None)[:4]
        swapped = task.left.startswith("second")
        screen = dict(zip(("first", "second"), ("right", "left") if swapped else ("left", "right"), strict=True))
        acceptable = None if told is None else {screen["first"]: told[0], screen["second"]: told[1]}
        voter = Voter(store, who)
        name = f"{client}{who}-{task.item}"
        if edit:
            voter.send("edit", task, {"side": screen["first"], "text": edit}, client_id=f"{name}-edit")
        body = {"choice": screen.get(verdict, verdict), "strength": strength, "acceptable": acceptable}
        voter.send("vote", task, body, client_id=name)


VERDICTS = {
    "question 0": ("first", 4, (True, False)),
    "question 1": ("second", 2, (None or False, False)),  # better, and still not acceptable
    "question 2": ("tie", None),
    "question 3": ("both_good", None),
    "question 4": ("both_bad", None),
    "question 5": ("first", 1, (True, True), "edited 5"),
}


@pytest.fixture
def store(tmp_path):
    made_store = made(tmp_path / "v.db", 6, ("ana",))
    cast(made_store, 1, VERDICTS)
    return made_store


def pairs(found):
    return sorted((row["chosen"][-1]["content"], row["rejected"][-1]["content"]) for row in found)


def test_reward_rows_are_whole_conversations_and_dpo_rows_have_their_prompt(store, tmp_path):
    manifest = export(store, Wish("reward"), tmp_path / "reward.jsonl")
    found = rows(tmp_path / "reward.jsonl")
    assert pairs(found) == [("edited 5", "first 5"), ("edited 5", "second 5"), ("first 0", "second 0"), ("first 5", "second 5"),
                            ("second 1", "first 1")]
    assert all(len(row["chosen"]) == 2 and "prompt" not in row and "margin" not in row for row in found)
    assert manifest["left_out"] == {"items without a better answer: both bad": 1, "items without a better answer: both good": 1,
                                    "items without a better answer: tie": 1}
    manifest = export(store, Wish("dpo"), tmp_path / "dpo.jsonl")
    found = rows(tmp_path / "dpo.jsonl")
    assert ("second 1", "first 1") not in pairs(found) and len(found) == 4
    assert manifest["left_out"]["pairs whose better answer is not acceptable"] == 1
    assert found[0]["prompt"] == [{"role": "user", "content": "question 0"}]
    assert export(store, Wish("dpo", keep_unacceptable=True), tmp_path / "all.jsonl")["rows"] == 5


def test_a_margin_stands_on_every_row_or_on_none(store, tmp_path):
    export(store, Wish("dpo", margin=True), tmp_path / "m.jsonl")
    assert {row["kind"]: row["margin"] for row in rows(tmp_path / "m.jsonl") if row["item"] != 6} == {"chosen": 4.0}
    assert all(type(row["margin"]) is float for row in rows(tmp_path / "m.jsonl"))
    with pytest.raises(Refused, match="no margin"):
        Wish("kto", margin=True)


def test_kto_rows_are_single_answers_with_what_was_told_of_them(store, tmp_path):
    export(store, Wish("kto"), tmp_path / "k.jsonl")
    labels = {row["completion"][0]["content"]: row["label"] for row in rows(tmp_path / "k.jsonl")}
    assert labels == {"first 0": True, "second 0": False, "first 1": False, "second 1": False, "first 3": True,
                      "second 3": True, "first 4": False, "second 4": False, "first 5": True, "second 5": True,
                      "edited 5": True}


def test_an_answer_in_several_pairs_is_one_kto_row(tmp_path):
    answers = [Answer("first a"), Answer("second b"), Answer("second c")]
    chat = ({"role": "user", "content": "question 0"},)
    three = (Item(chat, answers[0], answers[1]), Item(chat, answers[0], answers[2]))
    store = made(tmp_path / "v.db", people=("ana",), items=three)
    cast(store, 1, {"question 0": ("first", 2, (True, False))})
    assert export(store, Wish("kto"), tmp_path / "k.jsonl")["rows"] == 3
    assert export(store, Wish("kto", aggregate="each"), tmp_path / "e.jsonl")["rows"] == 4


def test_labels_come_from_the_choice_where_nobody_was_asked(tmp_path):
    store = made(tmp_path / "v.db", 2, ("ana",))
    cast(store, 1, {"question 0": ("first", 2), "question 1": ("tie", None)})
    manifest = export(store, Wish("kto"), tmp_path / "k.jsonl")
    found = {row["completion"][0]["content"]: (row["label"], row["label_from"]) for row in rows(tmp_path / "k.jsonl")}
    assert found == {"first 0": (True, "choice"), "second 0": (False, "choice")}
    assert manifest["labels_from"] == {"choice": 2} and manifest["left_out"] == {
        "answers of ties and of votes that do not agree": 2}
    with pytest.raises(Refused, match="2 answers of which nobody said whether they are acceptable, only which is better"):
        export(store, Wish("kto", labels="acceptable"), tmp_path / "a.jsonl")


def test_what_was_told_of_an_answer_goes_before_the_choice(tmp_path):
    answers = [Answer(f"answer {name}") for name in "abc"]
    chat = ({"role": "user", "content": "question 0"},)
    three = tuple(Item(chat, answers[one], answers[two]) for one, two in ((0, 1), (1, 2), (0, 2)))
    store, voter = made(tmp_path / "v.db", people=("ana",), items=three), None
    while (task := store.claim(1)) is not None:
        voter = voter or Voter(store, 1)
        better = min(("left", "right"), key=lambda side: getattr(task, side))  # a over b over c
        asked = {"left": False, "right": False} if task.item == 1 else None  # a and b are bad, though a is the better
        voter.vote(task, better, 2, acceptable=asked)
    manifest = export(store, Wish("kto"), tmp_path / "k.jsonl")
    found = {row["completion"][0]["content"]: (row["label"], row["label_from"]) for row in rows(tmp_path / "k.jsonl")}
    assert found == {"answer a": (False, "acceptable"), "answer b": (False, "acceptable"), "answer c": (False, "choice")}
    assert manifest["labels_from"] == {"acceptable": 2, "choice": 1}


def test_sft_rows_are_edited_answers_or_else_the_better_ones_that_are_acceptable(store, tmp_path):
    export(store, Wish("sft"), tmp_path / "s.jsonl")
    assert [(row["completion"][0]["content"], row["kind"]) for row in rows(tmp_path / "s.jsonl")] == [
        ("first 0", "chosen"), ("edited 5", "edited")]
    assert export(store, Wish("sft", only_edited=True), tmp_path / "e.jsonl")["rows"] == 1
    assert export(store, Wish("sft", edits=False), tmp_path / "n.jsonl")["rows"] == 2


def test_the_arena_table_names_models_and_winners(store, tmp_path):
    export(store, Wish("arena", aggregate="each"), tmp_path / "a.jsonl")
    found = rows(tmp_path / "a.jsonl")
    assert Counter(row["winner"] for row in found) == {"model_a": 2, "model_b": 1, "tie": 2, "tie (bothbad)": 1}
    assert {(row["model_a"], row["model_b"], row["judge"]) for row in found} == {("runs/a", "runs/b", "ana")}
    assert found[0]["conversation_b"][-1] == {"role": "assistant", "content": "second 0"}


@pytest.mark.parametrize("to, kind", [("reward", "comparisons"), ("dpo", "comparisons"), ("sft", "demonstrations")])
def test_the_strict_reader_reads_what_is_exported(store, tmp_path, to, kind):
    manifest = export(store, Wish(to, margin=to == "dpo"), tmp_path / "x.jsonl")
    found = read(tmp_path / "x.jsonl", kind)
    assert found.ledger.refused == 0 and len(found.records) == manifest["rows"]
    history = json.loads(found.records[0].extra["history"])
    assert history["votes"][0]["event"] == "1-1" and {"source", "seed"} <= set(history.get("chosen", history.get("completion")))


@pytest.mark.parametrize("to", KINDS)
def test_the_same_votes_give_the_same_bytes_and_a_new_one_another_hash(store, tmp_path, to):
    one = export(store, Wish(to), tmp_path / "one" / "x")
    two = export(store, Wish(to), tmp_path / "two" / "x")
    for name in ("x", "x.manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert one == two == json.loads((tmp_path / "one" / "x.manifest.json").read_text(encoding="utf-8"))
    assert one["output_sha256"] == sha256_file(tmp_path / "one" / "x") and one["events_sha256"] == store.events_hash()
    Voter(store, 1).undo({"item": 1, "event": "1-1"})
    assert export(store, Wish(to), tmp_path / "x3")["events_sha256"] != one["events_sha256"]


def test_two_collections_with_the_same_votes_agree_to_the_byte(tmp_path):
    hashes = set()
    for name, start in (("a", 5.0), ("b", 77.0)):
        store = made(tmp_path / f"{name}.db", 6, ("ana", "ben"), overlap=2, clock=lambda start=start: start)
        cast(store, 1, VERDICTS)
        cast(store, 2, VERDICTS)
        hashes.add((export(store, Wish("dpo"), tmp_path / name / "x.jsonl")["output_sha256"], store.events_hash()))
    assert len(hashes) == 1


def test_repeats_gold_judges_and_other_guidelines_are_left_out_by_name(tmp_path):
    gold = (item(100, "gold", expected="first"),)
    store = made(tmp_path / "v.db", items=(*items(10), *gold), people=("ana",), repeats=0.2)
    cast(store, 1, {f"question {number}": ("first", 2) for number in (*range(10), 100)})
    judge = store.add_annotator("judge", "judge")
    cast(store, judge.id, {f"question {number}": ("second", 2) for number in (*range(10), 100)})
    manifest = export(store, Wish("dpo"), tmp_path / "x.jsonl")
    assert manifest["rows"] == 10 and manifest["left_out"] == {
        "votes of judges": 10, "votes on gold items": 2, "votes on repeat items": 4}
    assert export(store, Wish("dpo", voices="judges"), tmp_path / "j.jsonl")["left_out"]["votes of people"] == 10
    assert manifest["guidelines"][0]["votes"] == 10
    with pytest.raises(Refused, match="another version"):
        export(store, Wish("dpo", guideline=2), tmp_path / "y.jsonl")
    assert not (tmp_path / "y.jsonl").exists()


def test_a_file_that_no_export_made_is_left_alone(store, tmp_path):
    (tmp_path / "mine.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(Refused, match="no export made it"):
        export(store, Wish("dpo"), tmp_path / "mine.jsonl")
    for _ in range(2):
        export(store, Wish("dpo"), tmp_path / "x.jsonl")


def test_the_table_of_events_has_every_event_once(store, tmp_path):
    Voter(store, 1).undo({"item": 1, "event": "1-1"})
    export(store, Wish("csv"), tmp_path / "e.csv")
    with open(tmp_path / "e.csv", encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["seq"] for row in found] == [str(number) for number in range(1, 9)]
    assert Counter(row["kind"] for row in found) == {"vote": 6, "edit": 1, "undo": 1}
    assert {row["swapped"] for row in found if row["kind"] == "vote"} <= {"0", "1"} and float(found[0]["probability"]) > 0


@pytest.mark.parametrize("wrong", [{"to": "ppo"}, {"aggregate": "best"}, {"voices": "me"}, {"threshold": -1}, {"labels": "x"}])
def test_a_wish_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(Refused):
        Wish(**{"to": "dpo", **wrong})
