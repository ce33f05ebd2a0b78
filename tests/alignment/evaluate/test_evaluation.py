"""`align eval` on a tiny chain: what it measures, what it says about it, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alignment.cli import run as align
from alignment.evaluate.cards import over_prompts
from alignment.evaluate.evaluation import Question, evaluate
from alignment.evaluate.samples import training_rows
from alignment.evaluate.show import notes, print_result, short_names
from alignment.generation.decoding import Decoding
from alignment.runs import Run
from data_recipes.errors import Failed, Refused
from data_recipes.files import write_jsonl
from data_recipes.intervals import wilson
from tests import tiny
from tests.alignment.evaluate.worlds import Heard

SHORT = Decoding(max_new_tokens=6)
BAND = "reward.rules:length_band(low=1, high=3)"


def ask(world, *models, data, **options):
    names = tuple(",".join(world.run(part) for part in model.split(",")) for model in models)
    return Question(models=names, data=(str(world.files[data]),), decoding=options.pop("decoding", SHORT), **options)


def test_losses_of_runs_seeds_and_the_base(world, ui):
    result = evaluate(ask(world, "sft,sft2", "dpo", data="held_demonstrations", base=True), ui)
    sft, dpo, base = (arm["held_out"] for arm in result["arms"])
    assert (
        result["arms"][0]["name"].endswith("runs/sft*") and len(sft["spread"]["members"]) == 2 and dpo["spread"] is None
    )
    assert base["loss"] > sft["loss"] and base["difference"]["low"] > 0 and sft["difference"] is None
    assert sft["tokens"] == dpo["tokens"] == base["tokens"] and result["arms"][2]["name"] == "base"
    assert "decoding" not in result and result["warnings"] == []


def test_a_model_without_a_template_says_which_one_it_is_measured_with(world, tmp_path):
    said, ui = [], Heard()
    ui.say = said.append
    bare = tiny.save_base(tmp_path / "bare", tokens=tiny.tokenizer(None))
    evaluate(ask(world, str(bare), "sft", data="held_demonstrations"), ui)
    assert [str(bare) in line for line in said if "no chat template; ChatML is used" in line] == [True]


def test_a_reward_run_has_a_card(world, ui):
    result = evaluate(ask(world, "reward", data="held_pairs"), ui)
    arm = result["arms"][0]
    assert arm["accuracy"]["n"] == 6 and arm["accuracy"]["low"] <= arm["accuracy"]["value"] <= arm["accuracy"]["high"]
    assert arm["longer_wins"]["value"] == 0.5 and 0 <= arm["ece"] <= 0.5
    assert result["overlap"][arm["name"]]["rows"] == 0


def test_policies_are_compared_and_the_proxy_is_named(world, ui, tmp_path):
    question = ask(
        world, "sft", "dpo", data="held_prompts", rewards=(world.run("reward"), BAND), output=tmp_path / "out"
    )
    result = evaluate(question, ui)
    first, second = (arm["answers"]["rewards"] for arm in result["arms"])
    assert set(first) == {world.run("reward"), BAND} and "win_rate" not in first[BAND]
    assert 0 <= second[BAND]["win_rate"]["low"] <= second[BAND]["win_rate"]["high"] <= 1
    assert [reward["proxy"] for reward in result["rewards"]] == [True, False]
    assert any("proxy" in warning for warning in ui.warnings) and not any(
        "never stands alone" in warning for warning in ui.warnings
    )
    assert json.loads((tmp_path / "out/result.json").read_text()) == result
    samples = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_text().splitlines()]
    assert len(samples) == 6 and len(samples[0]["answers"]) == 2 and samples[0]["columns"] == {"answer": "yes"}


def test_a_proxy_alone_is_no_evidence(world, ui):
    evaluate(ask(world, "sft", "dpo", data="held_prompts", rewards=(world.run("reward"),), limit=2), ui)
    assert any("never stands alone" in warning for warning in ui.warnings)


def test_a_policy_is_even_with_itself_and_seeds_repeat(world, ui):
    names = (f"a={world.run('sft')}", f"b={world.run('sft')}")
    question = Question(
        names,
        (str(world.files["held_prompts"]),),
        ("reward.rules:stop", BAND),
        samples=2,
        decoding=Decoding(6, temperature=1.0, seed=3),
    )
    once, again = evaluate(question, ui), evaluate(question, ui)
    assert once["arms"] == again["arms"]
    found = once["arms"][1]["answers"]["rewards"][BAND]
    assert (
        found["win_rate"]["value"] == 0.5
        and found["difference"]["value"] == 0
        and once["arms"][1]["answers"]["answers"] == 12
    )


def test_demonstrations_with_a_reward_give_both(world, ui):
    arm = evaluate(ask(world, "sft", data="held_demonstrations", rewards=("reward.rules:stop",), limit=2), ui)["arms"][
        0
    ]
    assert arm["held_out"]["rows"] == 2 and arm["answers"]["answers"] == 2


def test_pairs_of_one_prompt_are_no_more_evidence_than_one_row(world, ui, tmp_path):
    file = tmp_path / "pairs.jsonl"
    write_jsonl(file, [{"prompt": f"Is thing {index} here?", "chosen": f"Hello! {number}", "rejected": "Go away."}
                       for index in range(2) for number in range(3)])
    result = evaluate(Question((f"a={world.run('sft')}", world.run("dpo")), (str(file),), (BAND,), decoding=SHORT), ui)
    found = result["arms"][1]["answers"]
    assert found["answers"] == 6 and found["length_characters"]["n"] == found["rewards"][BAND]["win_rate"]["n"] == 2
    assert "The 6 rows have 2 prompts: rows of one prompt are averaged, and count as one." in notes(result)
    result = evaluate(Question((world.run("reward"),), (str(file),)), ui)
    arm = result["arms"][0]
    assert arm["accuracy"]["n"] == arm["longer_wins"]["n"] == 2
    assert arm["accuracy"]["value"] == arm["cards"][0]["accuracy"]["accuracy"]
    assert "The 6 pairs have 2 prompts, and intervals above are over prompts." in notes(result)


def test_an_interval_over_prompts_by_hand():
    """Nine pairs of one prompt are won and one of another is lost: 90 % of the pairs, and next to nothing is known."""
    found = over_prompts(np.array([1.0] * 9 + [0.0]), np.array([0] * 9 + [1]))
    assert (found.value, found.low, found.high, found.n) == (0.9, 0.0, 1.0, 2)
    assert over_prompts(np.ones(6), np.array([0, 0, 0, 1, 1, 1])) == wilson(2, 2)


def test_trained_prompts_are_counted(world, ui):
    result = evaluate(ask(world, "sft", data="sft"), ui)
    found = result["overlap"][world.run("sft")]
    rows, _ = training_rows(Run.open(Path(world.run("sft"))))  # less than the file: the run held some of it out
    assert found["rows"] == len(rows.train) < found["of"] == 24
    assert any("not held out" in warning for warning in ui.warnings)


@pytest.mark.parametrize(
    ("models", "data", "options", "says"),
    [
        (("sft",), "held_prompts", {}, "what a good answer"),
        (("sft", "reward"), "held_pairs", {}, "cannot stand in one comparison"),
        (("reward",), "held_pairs", {"rewards": ("reward.rules:stop",)}, "not by another reward"),
        (("sft",), "held_prompts", {"rewards": ("reward.rules:nothing",)}, "no function 'nothing'"),
        (("reward",), "held_prompts", {}, "prompts, not comparisons"),
        (("sft",), "held_prompts", {"rewards": ("reward.rules:exact_answer", "SFT")}, "no reward model"),
    ],
)
def test_what_does_not_fit_is_refused(world, ui, models, data, options, says):
    options = {
        key: tuple(world.run("sft") if name == "SFT" else name for name in value) for key, value in options.items()
    }
    with pytest.raises(Refused, match=says):
        evaluate(ask(world, *models, data=data, **options), ui)


def test_a_column_that_a_rule_misses_shows_before_the_answering(world, ui, monkeypatch):
    monkeypatch.setattr("alignment.evaluate.evaluation.run_arms", lambda *_: pytest.fail("it answered first"))
    question = ask(world, "sft", data="sft", rewards=("reward.rules:exact_answer",))
    with pytest.raises(Refused, match="no column 'answer'"):
        evaluate(question, ui)


def test_several_greedy_samples_are_refused():
    with pytest.raises(Refused, match="same answer"):
        Question(("a",), ("b",), samples=2)


def test_a_rule_that_raises_is_named_with_its_row(world, ui, tmp_path, monkeypatch):
    (tmp_path / "rough_rules.py").write_text(
        "def rough(prompts, completions, answer, **columns):\n    raise KeyError('x')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Failed, match="rough_rules:rough, row 1 .*KeyError"):
        evaluate(ask(world, "sft", data="held_prompts", rewards=("rough_rules:rough",), limit=2), ui)


def test_the_command_prints_one_document_or_tables(world, capsys):
    arguments = [
        "eval",
        world.run("sft"),
        world.run("dpo"),
        "--data",
        str(world.files["held_prompts"]),
        "--reward",
        BAND,
        "--max-new-tokens",
        "4",
        "--limit",
        "3",
    ]
    assert align([*arguments, "--json"]) == 0
    caught = capsys.readouterr()
    document = json.loads(caught.out)
    assert document["data"]["rows"] == 3 and "decoding: greedy, at most 4" in caught.err and "seed 0" in caught.err
    assert align(arguments) == 0
    tables = capsys.readouterr().out
    assert "wins at equal length" in tables and "Length and stopping" in tables and "Decoding: greedy" in tables


@pytest.mark.parametrize("command", ["eval", "report"])
def test_an_output_that_is_a_file_is_refused_before_anything_is_measured(world, tmp_path, capsys, command):
    (tmp_path / "out").write_text("mine")
    rows = ["--data", str(world.files["held_prompts"])] if command == "eval" else []
    assert align([command, world.run("sft"), *rows, "--output", str(tmp_path / "out")]) == 2
    assert "out' is a file" in capsys.readouterr().err and (tmp_path / "out").read_text() == "mine"


def test_cards_and_losses_are_printed(world, ui, capsys):
    print_result(evaluate(ask(world, "reward", data="held_pairs"), ui))
    print_result(evaluate(ask(world, "sft,sft2", data="held_demonstrations"), ui))
    said = capsys.readouterr().out
    assert "'longer wins'" in said and "bits per byte" in said and "2: ±" in said


def test_names_are_short_where_that_is_clear():
    assert short_names({"arms": [{"name": "/a/runs/sft"}, {"name": "base"}]}) == {"/a/runs/sft": "sft", "base": "base"}
    assert short_names({"arms": [{"name": "a/sft"}, {"name": "b/sft"}]}) == {"a/sft": "a/sft", "b/sft": "b/sft"}


def test_a_classifier_is_told_apart_by_its_folder(world, ui, tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(vocab_size=260, num_labels=3, **small)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "labels")
    tiny.tokenizer().save_pretrained(tmp_path / "labels")
    with pytest.raises(Refused, match="classifier.*align classify predict"):
        evaluate(replace(ask(world, "sft", data="held_prompts"), models=(str(tmp_path / "labels"),)), ui)
