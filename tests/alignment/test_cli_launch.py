"""`--gpus N`: the command that accelerate is given."""

from __future__ import annotations

import sys

import pytest

from alignment.cli import boundary, launch, run
from data_recipes.errors import Refused


def test_the_command_is_the_same_line_under_accelerate():
    made = launch.command(4, ["sft", "--gpus", "4", "--model", "m", "--json"])
    assert made[:3] == [sys.executable, "-m", "accelerate.commands.launch"]
    assert made[made.index("-m", 3):] == ["-m", "alignment", "sft", "--model", "m", "--json"]
    assert made[made.index("--num_processes") + 1] == "4"


def test_accelerate_understands_every_argument():
    from accelerate.commands.launch import launch_command_parser

    made = launch_command_parser().parse_args(launch.command(2, ["dpo", "--model", "m", "--gpus=2"])[3:])
    assert (made.num_processes, made.multi_gpu, made.module, made.training_script) == (2, True, True, "alignment")
    assert made.training_script_args == ["dpo", "--model", "m"]
    assert made.mixed_precision == "no" and made.main_process_port == 0


@pytest.mark.parametrize("written", [["--gpus", "2", "a"], ["--gpus=2", "a"], ["a", "--gpus", "2"]])
def test_the_flag_itself_is_left_out(written):
    assert launch.without_gpus(written) == ["a"]


def test_more_gpus_than_there_are_is_refused():
    with pytest.raises(Refused, match="this machine has 1 GPUs"):
        launch.check(2, 1)
    launch.check(2, 2)


def test_a_launch_inside_a_launch_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(Refused, match="one of several already"):
        launch.check(2, 2)


def test_the_flag_replaces_this_process(monkeypatch, tmp_path):
    rows, base = tmp_path / "rows.jsonl", tmp_path / "base"
    rows.write_text("{}\n")
    base.mkdir()
    (base / "config.json").write_text("{}")
    started = []
    monkeypatch.setattr(launch, "gpus_present", lambda: 2)
    monkeypatch.setattr(boundary, "replace_process", lambda command: started.append(command) or 7)
    line = ["sft", "--model", str(base), "--data", str(rows), "--output", str(tmp_path / "o"), "--gpus", "2"]
    assert run(line) == 7
    assert started == [launch.command(2, line)]
