"""General rows among the stage's own: how many, which, in what order, and never those that are measured."""

from __future__ import annotations

import json

import pytest

from alignment.config import load
from alignment.data import Rendered, RowSet
from alignment.replay import each_epoch, mixed, needed, read_replay
from alignment.training.order import EpochOrder, of_epoch
from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from data_recipes.records import Demonstration, Message
from data_recipes.split import prompt_key
from tests.alignment.chains import metrics, run_stage, world


def test_the_share_by_hand():
    assert each_epoch(90, 0.1) == 10 and each_epoch(80, 0.2) == 20 and each_epoch(5, 0.5) == 5
    assert each_epoch(3, 0.05) == 1  # asked for, so there is one


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.5, 0.9])
def test_the_share_is_that_of_all_rows_of_an_epoch(share):
    each = each_epoch(10_000, share)
    assert each / (10_000 + each) == pytest.approx(share, abs=1e-3)


def test_epochs_take_the_next_rows_in_a_circle_and_all_of_the_own_ones():
    seen = [of_epoch(4, 5, 2, epoch).tolist() for epoch in range(4)]
    assert seen == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 6, 7], [0, 1, 2, 3, 8, 4], [0, 1, 2, 3, 5, 6]]
    assert of_epoch(3, 0, 0, 1).tolist() == [0, 1, 2]


def test_the_order_of_an_epoch_mixes_both_and_depends_on_seed_and_epoch_alone():
    order = EpochOrder([7] * 40 + [9] * 30, batch=5, seed=1, grouped=False, general=30, drawn=10)
    assert len(order) == 50
    first = list(order)
    assert sorted(first) == [*range(50)]
    order.epoch = 1
    assert sorted(order) == [*range(40), *range(50, 60)] and list(order) == list(order)
    places = [place for place, row in enumerate(first) if row >= 40]
    assert min(places) < 20 and max(places) > 30  # interleaved


def test_how_many_rows_a_run_can_use():
    def of(**nouns):
        return load("sft", nouns={"data.replay": {"source": "x", "share": 0.2}, **nouns})

    assert needed(80, of(**{"training.epochs": 2.5})) == 60
    assert needed(80, of(**{"training.max_steps": 10, "training.batch_size": 5})) == 20  # half an epoch


def chat(question, answer="yes"):
    return Demonstration([Message("user", question), Message("assistant", answer)], where=question)


def test_rows_whose_prompt_is_held_out_are_left_out_and_the_held_out_general_ones_are_not_drawn(tmp_path):
    file = tmp_path / "general.jsonl"
    write_jsonl(file, [{"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]}
                       for i in range(30)])
    config = load("sft", nouns={"data.replay": {"source": str(file), "share": 0.5}, "data.validation_share": 0.2})
    rows = RowSet([chat(f"own {i}") for i in range(50)], [chat("q3"), chat("other")], {})
    made = read_replay(config, rows, None, seed=42)
    drawn, kept = {prompt_key(row) for row in made.replay}, {prompt_key(row) for row in made.replay_held_out}
    assert prompt_key(chat("q3")) not in drawn | kept and not drawn & kept and len(drawn) + len(kept) == 29
    assert made.ledgers["replay"].kept == 30 and any("left out" in note for note in made.notes)
    assert any("times" in note for note in made.notes)  # 50 places an epoch, fewer rows
    assert [r.where for r in read_replay(config, rows, None, seed=42).replay] == [r.where for r in made.replay]


def test_general_rows_that_are_measured_are_not_among_the_stages_own(tmp_path):
    file = tmp_path / "general.jsonl"
    write_jsonl(file, [{"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]}
                       for i in range(40)])
    config = load("sft", nouns={"data.replay": {"source": str(file), "share": 0.5}, "data.validation_share": 0.5})
    own = [chat(f"q{i}") for i in range(20)]
    made = read_replay(config, RowSet(own, [chat("other")], {}), None, seed=42)
    assert made.replay_held_out and not {prompt_key(row) for row in made.replay_held_out} & {prompt_key(row) for row in own}


def test_both_parts_as_one():
    own = Rendered({"length": [1, 2, 3], "row": [0, 1, 2]}, ["a", "b", "c"], None, {"rows": 3, "trained": 5})
    general = Rendered({"length": [8, 9], "row": [0, 1]}, ["x", "y"], None, {"rows": 2, "trained": 4})
    made = mixed(own, general, 0.25)
    assert made.columns == {"length": [1, 2, 3, 8, 9], "row": [0, 1, 2, 3, 4]} and made.names == ["a", "b", "c", "x", "y"]
    assert (len(made), made.general, made.drawn, made.an_epoch) == (5, 2, 1, 4)
    assert made.counts == {"rows": 3, "trained": 5, "replay_rows": 2, "replay_trained": 4}


def test_a_run_counts_them_apart_and_measures_their_held_out_loss(tmp_path):
    files = world(tmp_path / "world")
    source = tmp_path / "general.jsonl"
    write_jsonl(source, [{"text": f"The number {i} is after {i - 1}."} for i in range(1, 31)])
    settings = {"data__replay": {"source": str(source), "share": 0.2}, "data__validation_share": 0.2, "training__eval_every": 2,
                "training__max_steps": 4}
    made = run_stage("sft", files, files["base"], tmp_path / "run", **settings)
    assert made["data"]["replay"]["kept"] == 30 and made["counts"]["train_replay_rows"] > 0
    rows = metrics(tmp_path / "run")
    assert all("eval_replay_loss" in row for row in rows if "eval_loss" in row)
    again = {**settings, "data__replay": {"source": str(source), "share": 0.3}}
    with pytest.raises(Refused, match="replay_share: 0.2 -> 0.3"):
        run_stage("sft", files, files["base"], tmp_path / "run", **again)
    source.write_text(source.read_text().replace("30", "31"))
    with pytest.raises(Refused, match="data.replay"):
        run_stage("sft", files, files["base"], tmp_path / "run", **settings)


@pytest.mark.parametrize(("text", "words"), [
    ("data.replay={share: 0.1}", "data.replay"),
    ("data.replay={source: x.jsonl, share: 1.0}", "data.replay"),
    ("data.replay={source: x.jsonl, chare: 0.1}", "data.replay"),
])
def test_a_wrong_replay_is_refused(text, words):
    with pytest.raises(Refused, match=words) as refused:
        load("sft", sets=[text])
    assert "null or {share: 0.1, source: general.jsonl}" in refused.value.paragraph()
    with pytest.raises(Refused, match="unknown key data.replay"):
        load("dpo", sets=["data.replay={source: x, share: 0.1}"])
    with pytest.raises(Refused, match="packing"):
        load("sft", sets=["data.replay={source: x, share: 0.1}", "trainer.packing=true"])


def test_the_shape_of_it_is_in_the_schema():
    from alignment.config.describe import schema

    assert "Replay" in json.dumps(schema("sft")) and "Replay" not in json.dumps(schema("reward"))
