"""Sweeps that really run, each run in a process of its own: the same rows, continued, grown, refused, failed, interrupted."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from alignment import sweep
from alignment.cli import run as align
from alignment.cli.sweep import spelled
from alignment.config import STAGES, load
from alignment.data import read_rows
from alignment.job import split_seed
from alignment.runs import Run
from alignment.sweeping.children import Children
from data_recipes.errors import Refused
from tests.alignment.chains import world

QUICK = {"training.epochs": 1, "training.batch_size": 8, "data.validation_share": 0.2, "data.max_length": 120,
         "training.learning_rate": 1e-3, "hardware.threads": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return world(tmp_path_factory.mktemp("sweep"), rows=20)


def asked(files, output, **more):
    return {"over": {"adapter.rank": [2, 4]}, "seeds": 1, "model": files["base"], "data": files["sft"], "output": output,
            "settings": QUICK, **more}


@pytest.fixture(scope="module")
def made(files, tmp_path_factory):
    """A sweep of two runs, and its result."""
    output = tmp_path_factory.mktemp("out") / "ranks"
    return output, sweep("sft", **asked(files, output))


def test_a_sweep_leaves_runs_table_plot_and_page(made):
    output, result = made
    assert {row["values"]["adapter.rank"] for row in result["settings"]} == {2, 4}
    assert {run["state"] for run in result["runs"]} == {"completed"}
    for name in ("sweep.json", "sweep.csv", "sweep.png", "report.html"):
        assert (output / name).stat().st_size > 100
    run = Run.open(output / "rank-2_seed-42")
    assert run.state == "completed" and run.manifest["config"]["adapter"]["rank"] == 2
    assert result["best"]["figures"]["eval_loss"]["n"] == 1
    assert "default-src 'none'" in (output / "report.html").read_text()


def test_the_line_that_trains_with_the_best_is_one_that_the_stage_takes(made):
    from alignment.cli import program

    words = shlex.split(made[1]["best"]["command"])
    context = program.get_command(None, words[1]).make_context("sft", words[2:])
    config = load("sft", None, context.params["sets"], {"model.path": "m", "data.train": ["d"]})
    assert config.adapter.rank == made[1]["best"]["values"]["adapter.rank"] and config.training.seed == 42


def test_the_same_command_again_makes_nothing_anew(made, files):
    output, result = made
    before = (output / "rank-2_seed-42" / "align.json").stat().st_mtime_ns
    began = time.monotonic()
    again = sweep("sft", **asked(files, output))
    assert time.monotonic() - began < 6 and again["settings"] == result["settings"]
    assert (output / "rank-2_seed-42" / "align.json").stat().st_mtime_ns == before


def test_a_sweep_goes_on_with_a_release_that_added_a_setting(made, files):
    output, result = made
    record = json.loads((output / "sweep.json").read_text())
    del record["request"]["config"]["training"]["label_smoothing"]
    (output / "sweep.json").write_text(json.dumps(record))
    assert sweep("sft", **asked(files, output))["settings"] == result["settings"]


@pytest.mark.parametrize(("change", "said"), [
    ({"settings": {**QUICK, "training.epochs": 2}}, "config.training.epochs: 1.0 -> 2.0"),
    ({"over": {"adapter.rank": [2, 8]}}, "over.adapter.rank"),
    ({"over": {"adapter.alpha": [2, 8]}}, "over"),
])
def test_a_changed_sweep_is_refused_with_the_difference(made, files, change, said):
    with pytest.raises(Refused, match=said.replace(".", r"\.")):
        sweep("sft", **asked(files, made[0], **change))


def test_changed_rows_are_refused(made, files, tmp_path):
    other = tmp_path / "demos.jsonl"
    other.write_text(files["sft"].read_text() * 2)
    with pytest.raises(Refused, match="inputs.data"):
        sweep("sft", **asked(files, made[0], data=other))


def test_a_folder_with_other_files_is_not_filled(files, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(Refused, match="thesis.txt"):
        sweep("sft", **asked(files, tmp_path))


def test_wrong_values_are_refused_before_anything_starts(files, tmp_path, capsys):
    words = ["sweep", "sft", "--over", "adapter.rank=4,many", "--model", str(files["base"]), "--data", str(files["sft"])]
    began = time.monotonic()
    assert align([*words, "--output", str(tmp_path / "new")]) == 2
    assert time.monotonic() - began < 1 and not (tmp_path / "new").exists()
    assert "--over adapter.rank" in capsys.readouterr().err


def test_all_seeds_of_a_sweep_hold_out_the_same_rows(files):
    held = []
    for sets in (["training.seed=1", "data.split_seed=42"], ["training.seed=2", "data.split_seed=42"], ["training.seed=1"]):
        config = load("sft", None, [*sets, "data.validation_share=0.3"], {"model.path": "m", "data.train": [str(files["sft"])]})
        rows = read_rows(config.data, "demonstrations", seed=split_seed(config), private=None)
        held.append([record.where for record in rows.validation])
    assert held[0] == held[1] != held[2]


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_has_its_sweep_with_the_stages_own_options(stage):
    from alignment.cli import program

    own = {option.name for option in program.get_command(None, stage).params}
    swept = program.get_command(None, "sweep").get_command(None, stage)
    assert {option.name for option in swept.params} == own | {"over", "seeds", "by"}


def test_options_are_spelled_as_they_were_given():
    from alignment.cli import program

    stage = program.get_command(None, "ppo")
    words = ["--reward", "a", "--reward", "b", "--model", "m", "--data", "x", "--data", "y", "--set", "ppo.samples=2",
             "--gpus", "2", "--lr", "1e-5"]
    given = stage.make_context("ppo", [*words, "--output", "o"]).params
    again = stage.make_context("ppo", [*spelled(stage.params, given), "--output", "o"]).params
    assert given == again


# ------------------------------------------------------------------------------------------------------------ with signals


def test_a_signal_goes_to_the_run_at_work():
    children = Children()
    code = ("import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
            "print('{}', flush=True); time.sleep(60)")
    with children.passing_signals():
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        try:
            ended = children.start([sys.executable, "-c", code], quiet=True)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
    assert children.received == signal.SIGTERM and ended.code == 143


@pytest.mark.slow
def test_a_sweep_grows_and_a_failed_run_does_not_stop_the_others(files, tmp_path, capsys):
    output = tmp_path / "rates"
    words = ["sweep", "sft", "--model", str(files["base"]), "--data", str(files["sft"]), "--output", str(output), "--json"]
    words += [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    assert align([*words, "--over", "adapter.rank=2", "--seeds", "2"]) == 0
    capsys.readouterr()
    # a rate that no arithmetic survives
    wild = [*words, "--set", "training.max_grad_norm=1e30", "--set", "training.warmup=0", "--restart"]
    assert align([*wild, "--over", "training.learning_rate=1e25,1e-3", "--seeds", "1"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in found["runs"]] == ["failed", "completed"]
    assert "learning_rate-1e+25" in found["error"]["message"]
    assert found["best"]["values"] == {"training.learning_rate": 1e-3}
    assert align([*wild[:-1], "--over", "training.learning_rate=1e-3,1e25", "--seeds", "2"]) == 1
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 4


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on(files, tmp_path):
    output = tmp_path / "long"
    words = [sys.executable, "-m", "alignment", "sweep", "sft", "--over", "adapter.rank=2,4", "--seeds", "1", "--model",
             str(files["base"]), "--data", str(files["sft"]), "--output", str(output), "--set", "data.validation_share=0.2",
             "--max-steps", "150", "--batch-size", "8", "--set", "hardware.threads=1"]
    child = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    metrics = output / "rank-2_seed-42" / "metrics.jsonl"
    until = time.monotonic() + 120
    while not (metrics.is_file() and metrics.read_text().count("\n") > 3) and time.monotonic() < until:
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 143
    assert json.loads((output / "sweep.json").read_text())["state"] == "interrupted"
    assert Run.open(output / "rank-2_seed-42").state == "interrupted"
    assert subprocess.run(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert json.loads((output / "sweep.json").read_text())["state"] == "completed"


def test_a_dry_run_counts_the_steps_of_every_run_and_asks_one_of_each_length(files, tmp_path, capsys):
    sets = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    assert align(["sweep", "sft", "--over", "training.epochs=1,3", "--over", "training.learning_rate=1e-4,1e-3", "--seeds", "1",
                  *sets, "--model", str(files["base"]), "--data", str(files["sft"]), "--output", str(tmp_path / "out"),
                  "--dry-run", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["steps"] for run in runs] == [2, 2, 6, 6]
    assert [run["values"]["training.epochs"] for run in runs] == [1, 1, 3, 3] and not (tmp_path / "out").exists()
