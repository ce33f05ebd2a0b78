"""Two processes on one machine give what one gives; a launch that is not one is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alignment.runs import Run
from alignment.training import processes
from data_recipes.errors import Refused
from tests.alignment.chains import metrics, run_stage, world

ROOT = Path(__file__).parents[2]
QUICK = [
    "--epochs",
    "1",
    "--batch-size",
    "4",
    "--max-length",
    "200",
    "--lr",
    "1e-3",
    "--set",
    "data.validation_share=0",
    "--set",
    "adapter.dropout=0",
    "--set",
    "training.warmup=0",
    "--set",
    "hardware.threads=1",
    "--set",
    "training.save_every=2",
]


def launch(stage, files, model, output, *more, options=(), program=("alignment",)):
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--config_file",
        str(ROOT / "configs/accelerate/ddp.yaml"),
        *options,
        "-m",
        *program,
        stage,
        "--model",
        str(model),
        "--data",
        str(files[stage]),
        "--output",
        str(output),
        *QUICK,
        *more,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, cwd=output.parent)


@pytest.mark.parametrize("stage", ["sft", pytest.param("reward", marks=pytest.mark.slow), "dpo"])
def test_two_processes_give_the_single_process_losses(tmp_path, stage):
    files = world(tmp_path, rows=24)
    done = launch(stage, files, files["base"], tmp_path / "two")
    assert done.returncode == 0, done.stderr[-2000:]
    run_stage(stage, files, files["base"], tmp_path / "one", training__epochs=1, adapter__dropout=0.0, adapter__rank=16)
    two, one = metrics(tmp_path / "two"), metrics(tmp_path / "one")
    assert [row["step"] for row in two] == [row["step"] for row in one] == list(range(1, 7))
    for ours, single in zip(two, one, strict=True):
        assert ours["loss"] == pytest.approx(single["loss"], abs=1e-4)
        assert ours["num_tokens"] == single["num_tokens"]


@pytest.mark.slow
def test_a_launch_that_may_restart_goes_on_after_an_out_of_memory_in_one_process(tmp_path):
    """The second process has no memory for more than one row from its fourth pass on, when step 2 is kept."""
    files = world(tmp_path, rows=24)
    done = launch("sft", files, files["base"], tmp_path / "two", "--set", "hardware.micro_batch=2",
                  options=("--max_restarts", "1"), program=("tests.alignment.short_of_memory", "1", "3"))  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("out of memory at 2 rows") == 1 and "continuing after step 2" in done.stderr
    hardware = Run.open(tmp_path / "two").manifest["hardware"]
    assert (hardware["micro_batch"], hardware["accumulation"]) == (1, 2)
    run_stage("sft", files, files["base"], tmp_path / "one", training__epochs=1, adapter__dropout=0.0, adapter__rank=16)
    for ours, single in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        assert ours["loss"] == pytest.approx(single["loss"], abs=1e-4)


def test_a_launch_begun_anew_meets_where_no_ended_process_left_its_address(monkeypatch):
    from torch.distributed import PrefixStore, TCPStore

    launchers = TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
    launchers.set("address", "of a process that has ended")
    said = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(launchers.port), "RANK": "1", "WORLD_SIZE": "2",
            "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}  # fmt: skip
    for key, value in said.items():
        monkeypatch.setenv(key, value)
    assert processes.meeting_place() == {}
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    place = processes.meeting_place()
    assert (place["rank"], place["world_size"]) == (1, 2) and not place["store"].check(["address"])
    place["store"].set("address", "new")
    assert PrefixStore("restart_1", launchers).get("address") == b"new"
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert processes.meeting_place() == {}


def test_processes_that_do_not_hear_each_other_are_refused(tmp_path):
    """A launcher that says two, without what accelerate needs to join them: each would train alone."""
    code = "from alignment.training.processes import join; join('auto')"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "RANK": "0"}
    environment.pop("LOCAL_RANK", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert "Refused" in done.stderr and "started 2 processes" in done.stderr and "ddp.yaml" in done.stderr
    with pytest.raises(Refused, match="accelerate sees 1"):
        processes.agree(2, 1)


def test_one_process_decides_alone():
    assert processes.world() == 1 and processes.is_first()
    assert processes.first_decides(lambda: 7) == 7
    with pytest.raises(Refused):
        processes.first_decides(lambda: (_ for _ in ()).throw(Refused("no")))


def test_a_process_waits_longer_for_the_others_than_a_large_model_takes_to_save(monkeypatch):
    import accelerate

    given = {}
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(accelerate, "PartialState", lambda **how: given.update(how) or type("State", (), {"num_processes": 2}))
    processes.join("cpu")
    assert given["cpu"] and given["timeout"].total_seconds() >= 3600
