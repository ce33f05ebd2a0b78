"""What was forgotten on general rows, and what was learned by heart: on runs that surely did, and on ones that did not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from alignment.cli import run
from alignment.evaluate import memorised, retained
from alignment.evaluate.memorised import Span, matched
from data_recipes.files import write_jsonl
from data_recipes.records import Text
from tests.alignment.chains import run_stage, world


def test_the_first_mistake_ends_a_match():
    assert matched([1, 2, 3], [1, 2, 3]) == 3 and matched([1, 9, 3], [1, 2, 3]) == 1
    assert matched([], [1, 2]) == 0 and matched([1], [1, 2]) == 1  # an answer that ended early


def test_a_probe_gives_the_prompt_and_the_first_tokens_and_expects_the_next():
    class Renderer:
        def demonstration(self, record):
            class Row:
                input_ids = list(range(10))
                trained = [False] * 4 + [True] * 6

            return Row

    made = memorised.probes(Renderer(), [Text("x", "f:1")], Span(2, 3), 5, 0)
    assert made == [memorised.Probe("f:1", [0, 1, 2, 3, 4, 5], [6, 7, 8])]
    assert memorised.probes(Renderer(), [Text("x", "f:1")], Span(2, 5), 5, 0) == []  # four are left, not five


def test_shares_of_rows_and_of_tokens():
    found = memorised.summary([4, 4, 2, 0], Span(1, 4))
    assert found["value"] == 0.5 and found["n"] == 4 and found["tokens_right"] == 0.625
    assert found["low"] == pytest.approx(0.15, abs=0.01) and memorised.summary([], Span()) is None


def records(sources):
    return [Text("x", f"f:{i}", {"source": source} if source else {}) for i, source in enumerate(sources)]


def test_sources_apart_and_the_worst_rows_first():
    before, ours, tokens = np.array([2.0, 4.0, 6.0]), np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 2.0])
    rows = records(["a", "b", "b"])
    parts = retained.by_source(ours, before, tokens, rows, seed=0)
    assert [(part["source"], part["rows"], part["difference"]["value"]) for part in parts] == [("a", 1, 1.0), ("b", 2, -0.25)]
    assert retained.by_source(ours, before, tokens, records(["", "", ""]), seed=0) == []
    first = {"where": "f:0", "rise": 1.0, "before": 2.0, "loss": 3.0, "tokens": 1}
    assert retained.worst(ours, before, tokens, rows) == [first]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A run that has learned a few rows by heart, from a parent that has learned others."""
    folder = tmp_path_factory.mktemp("kept")
    made = world(folder, rows=4)
    words = ("red", "blue", "tall", "warm", "slow", "loud", "flat", "cold", "kind", "late", "soft", "wild")
    for name, shift in (("general", 0), ("own", 5)):
        said = [f"{words[(i + shift) % 12]} {words[(5 * i + shift) % 12]} {i * 7 % 10}" for i in range(12)]
        write_jsonl(folder / f"{name}.jsonl", [
            {"messages": [{"role": "user", "content": f"{name} {i}?"}, {"role": "assistant", "content": answer}],
             "source": "even" if i % 2 == 0 else "odd"} for i, answer in enumerate(said)])
    how = {"adapter__kind": "full", "training__learning_rate": 1e-2, "training__epochs": 50, "training__batch_size": 6,
           "training__schedule": "constant", "hardware__micro_batch": 6, "training__save_every": 1000}
    run_stage("sft", {**made, "sft": folder / "general.jsonl"}, made["base"], folder / "parent", **how)
    run_stage("sft", {**made, "sft": folder / "own.jsonl"}, folder / "parent", folder / "child",
              **{**how, "data__validation_share": 0.3})
    return folder


def asked(*arguments) -> int:
    return run([str(argument) for argument in arguments])


def test_forgetting_is_found_against_the_parent_and_rows_by_heart_are_listed(tuned):
    how = ("--retain", tuned / "general.jsonl", "--span", "2,6", "--output", tuned / "eval", "--memorised")
    assert asked("eval", tuned / "child", *how) == 0
    result = json.loads((tuned / "eval" / "result.json").read_text())
    before, child = result["retained"]["arms"]
    assert child["before"] == before["name"] and before["before"] is None
    assert child["held_out"]["difference"]["low"] > 0
    assert {part["source"] for part in child["by_source"]} == {"even", "odd"} and child["worst"][0]["rise"] > 0
    assert "has forgotten" in retained.notes(result["retained"])[0]
    (arm,) = result["memorised"]["arms"]
    assert arm["train"]["value"] > 0.6 and arm["held_out"]["value"] < 0.5 and arm["before"]["value"] < 0.5
    listed = [json.loads(line) for line in (tuned / "child" / "private" / "memorised.jsonl").read_text().splitlines()]
    assert len(listed) == round(arm["train"]["value"] * arm["train"]["n"]) and listed[0]["verbatim"]
    assert listed[0]["verbatim"] not in (tuned / "eval" / "result.json").read_text()


def test_the_tables_and_the_page_hold_it(tuned):
    from alignment.evaluate import show
    from alignment.evaluate.report import chain_report

    result = json.loads((tuned / "eval" / "result.json").read_text())
    titles = [title for title, _, _ in show.tables(result)]
    assert [title.split(",")[0].split(":")[0] for title in titles] == [
        "General rows", "General rows by source", "General rows whose loss rose most", "Learned by heart"]
    made = chain_report([tuned / "child"], result, tuned / "page")
    page = (tuned / "page" / "report.html").read_text()
    assert "has forgotten" in page and "Learned by heart" in page and "figure" in made


def test_general_rows_that_were_trained_on_are_no_measure_and_that_is_said(tuned):
    result = json.loads((tuned / "eval" / "result.json").read_text())["retained"]
    assert result["trained"][str(tuned / "child")]["rows"] == 0 and len(retained.notes(result)) == 1
    result["trained"]["child"] = {"rows": 3, "of": 12}
    assert "itself trained on files with the prompts of 3 of these 12" in retained.notes(result)[-1]


def test_a_model_beside_itself_has_forgotten_nothing(tuned):
    arm = {"name": "run", "before": "base", "held_out": {"difference": {"value": 0.0, "low": -0.1, "high": 0.1}}}
    assert "no forgetting" in retained.verdict(arm)
    arm["held_out"]["difference"] = {"value": -0.2, "low": -0.3, "high": -0.1}
    assert "better" in retained.verdict(arm)


@pytest.mark.parametrize(("arguments", "words"), [
    ((), "nothing to measure"),
    (("--span", "x", "--memorised"), "is no span"),
    (("--memorised",), "no training answer has 16 + 32 tokens"),
    (("--retain", "nowhere.jsonl"), "no such file"),
])
def test_what_cannot_be_measured_is_refused(tuned, capsys, arguments, words):
    assert asked("eval", tuned / "child", *arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())
