"""Two gloo processes do what one does: on the same rollouts to 1e-5, and with answers of their own within the noise."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tests.alignment.chains import metrics, world
from tests.alignment.ppo import replayed
from tests.alignment.test_processes import ROOT

COMPARED = ("loss", "kl/k1", "value/explained_variance", "policy/approx_kl_k3", "policy/clip_share", "value/loss",
            "policy/loss", "score/mean", "return/mean")
NORMS = ("grad_norm/policy", "grad_norm/critic")
FREE = ["--reward", "reward.rules:length_band(low=1, high=9)", "--max-steps", "12", "--batch-size", "16", "--lr", "1e-3",
        "--max-length", "200"]
SETTINGS = ("ppo.rollout_size=32", "ppo.max_new_tokens=6", "ppo.normalise=running", "hardware.threads=1")


def launched(arguments, cwd):
    config = str(ROOT / "configs/accelerate/ddp.yaml")
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=cwd)
    assert done.returncode == 0, done.stderr[-3000:]


def test_on_replayed_rollouts_two_processes_give_the_losses_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr(replayed.PPOTrainer, "sample", replayed.PPOTrainer.sample)  # put back after this test
    world(tmp_path)
    launched([replayed.__file__, tmp_path, tmp_path / "two", 1], tmp_path)  # two accumulated, so that DDP waits once
    replayed.run(tmp_path, tmp_path / "one")
    two, one = ([row for row in metrics(tmp_path / name) if "loss" in row] for name in ("two", "one"))
    assert [row["step"] for row in two] == [row["step"] for row in one] == list(range(1, 13))
    for ours, single in zip(two, one, strict=True):
        for name in COMPARED:
            if name in single:
                assert ours[name] == pytest.approx(single[name], abs=1e-5), (name, single["step"])
        for name in NORMS:
            assert ours[name] == pytest.approx(single[name], rel=1e-4), (name, single["step"])


@pytest.mark.slow
def test_with_answers_of_their_own_two_processes_reach_what_one_reaches(tmp_path):
    world(tmp_path)
    reached = {}
    for name, launcher in (("one", None), ("two", launched)):
        arguments = ["ppo", "--model", tmp_path / "base", "--data", tmp_path / "demos.jsonl", "--output", tmp_path / name,
                     *FREE, *(word for setting in SETTINGS for word in ("--set", setting))]
        if launcher:
            launcher(["-m", "alignment", *arguments], tmp_path)
        else:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
            subprocess.run([sys.executable, "-m", "alignment", *map(str, arguments)], env=environment, check=True, cwd=tmp_path,
                           capture_output=True, timeout=300)
        reached[name] = [row for row in metrics(tmp_path / name) if "eval_proxy" in row][-1]
    assert reached["one"]["eval_proxy_low"] <= reached["two"]["eval_proxy_high"]
    assert reached["two"]["eval_proxy_low"] <= reached["one"]["eval_proxy_high"]
    assert np.isfinite(reached["two"]["eval_kl_k1"])
