"""What is refused in a moment: settings that nobody would read, tools that are none, a run over its own model."""

from __future__ import annotations

import inspect
import json
import os

import pytest

from alignment import api, preflight, sft
from alignment.cli import run
from alignment.config import load
from alignment.rendering import read_tools
from data_recipes.errors import Refused
from tests.alignment.runs.test_runs import make_run

TOOL = {"name": "weather", "description": "The weather.", "parameters": {"type": "object", "properties": {}}}


@pytest.fixture
def files(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llama"}')
    make_run(tmp_path / "sft", base={"kind": "folder", "path": "../model", "hash": None})
    return tmp_path


def refused(files, *sets: str, model="model", output="out") -> str:
    config = load("sft", sets=sets, nouns={"model.path": str(files / model), "data.train": [str(files / "rows.jsonl")]})
    with pytest.raises(Refused) as caught:
        preflight.check(config, files / output)
    return str(caught.value)


def test_a_run_is_not_written_over_the_model_that_it_tunes(files):
    """With --restart the model would be moved aside before it is read."""
    assert "--output: this is the model that is tuned" in refused(files, model="sft", output="sft")
    assert "--output: this is the model that is tuned" in refused(files, output="model/../model")


def test_keys_that_nobody_would_read_are_refused(files):
    assert "--set model.base: this model is whole" in refused(files, f"model.base={files / 'model'}")
    assert "--set model.revision: a folder has no revisions" in refused(files, "model.revision=main")


@pytest.mark.parametrize("text", ['{"name": "weather"}', "[1]", "[{}]", '[{"name": "a", "name": "b"}]', "[", "\xff"])
def test_a_file_of_tools_that_holds_none_is_refused(files, text):
    (files / "tools.json").write_bytes(text.encode("latin-1"))
    said = refused(files, f"data.tools={files / 'tools.json'}")
    assert said.startswith(f"{files / 'tools.json'}: the tools cannot be used") and "a JSON list of functions" in said


def test_tools_of_a_file_get_the_form_that_those_of_rows_have(tmp_path):
    (tmp_path / "tools.json").write_text("\ufeff" + json.dumps([TOOL]), encoding="utf-8")
    assert read_tools(tmp_path / "tools.json") == [{"type": "function", "function": TOOL}]


def test_a_cut_config_of_a_model_is_named(files):
    (files / "model" / "config.json").write_text('{"model_type": ')
    assert "config.json: the file cannot be read as JSON" in refused(files)


@pytest.mark.parametrize("flag", ["--config", "--model", "--output", "--validation"])
def test_a_file_or_folder_that_is_given_twice_is_refused(flag, capsys):
    """Click takes the last one without a word."""
    given = {"--output": "o", "--model": "m", "--data": "d", flag: "a"}
    words = [word for pair in given.items() for word in pair]
    assert run(["sft", *words, flag, "b", "--json"]) == 2
    assert f"{flag} is given 2 times" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert run(["config", "show", "sft", "--config", "a", "--config", "b"]) == 2


@pytest.mark.parametrize("flag", ["--model", "--output"])
def test_an_empty_name_is_refused_and_not_taken_for_this_folder(flag, capsys):
    words = [word for pair in {"--model": "m", "--data": "d", "--output": "o", flag: ""}.items() for word in pair]
    assert run(["sft", *words]) == 2
    assert f"{flag} is empty" in capsys.readouterr().err


def test_a_place_where_no_folder_can_be_made_is_refused(files, monkeypatch):
    assert "rows.jsonl' is a file" in refused(files, output="rows.jsonl")
    assert "rows.jsonl' is a file" in refused(files, output="rows.jsonl/deep/run")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert f"'{files}' cannot be written to" in refused(files, output="new/run")
    assert not (files / "new").exists()


@pytest.mark.parametrize("words", [[], ["config"], ["data"]])
def test_a_group_by_itself_answers_with_its_help(words, capsys):
    assert run(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("Usage: align") and "error" not in said and "See align" not in said


def test_a_wrong_use_is_said_in_one_paragraph(capsys):
    assert run(["config", "show"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "\t" not in said and "sft, reward, dpo" in said


@pytest.mark.parametrize("name, key", [("max_steps", "training.max_steps"), ("lr", "training.learning_rate")])
def test_from_python_a_setting_without_its_section_is_named(name, key):
    with pytest.raises(TypeError, match=f"no argument '{name}'; did you mean settings=.'{key}'"):
        sft(model="m", data="d", output="o", **{name: 1})


def test_the_arguments_that_editors_know_are_those_that_are_taken():
    taken = set(inspect.signature(api._run).parameters) - {"stage", "more", "unknown"}
    assert set(api.Options.__annotations__) == taken
