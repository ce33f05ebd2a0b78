"""kill -9 at random moments: whatever is left, the same command goes on and ends in the same bytes.

The child is forked from this process, where torch is loaded already, so that a kill costs half a second and not six.
`ALIGN_KILLS` sets how many; `make campaigns` runs hundreds.
"""

import json
import multiprocessing
import os
import random
import signal
import time

import pytest

from tests.alignment.chains import StoppingUi, metrics, run_stage, weights, world

SETTINGS = {"training__epochs": 2, "training__save_every": 1, "training__keep_checkpoints": 1}
RULE = "reward.rules:length_band(low=1, high=9)"
OF_PPO = {"training__max_steps": 8, "training__save_every": 1, "training__keep_checkpoints": 1, "reward": RULE}


def settings_of(stage):
    return OF_PPO if stage == "ppo" else SETTINGS


def _child(stage, files, model, output):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    run_stage(stage, files, model, output, **settings_of(stage))
    os._exit(0)


def run_and_kill(stage, files, model, output, after):
    """Runs the stage in a child and kills it after some seconds; whether it had ended by itself, and well."""
    child = multiprocessing.get_context("fork").Process(target=_child, args=(stage, files, model, output))
    child.start()
    child.join(after)
    if child.exitcode is None:
        child.kill()
        child.join()
        return False
    assert child.exitcode == 0, f"the command failed with {child.exitcode} after a kill"
    return True


def survive(stage, tmp_path, kills, seed):
    files = world(tmp_path / "world", rows=14)
    run_stage("sft", files, files["base"], tmp_path / "sft", training__max_steps=1)
    model = files["base"] if stage == "sft" else tmp_path / "sft"
    began = time.monotonic()
    run_stage(stage, files, model, tmp_path / "straight", **settings_of(stage))
    whole = time.monotonic() - began
    random_moments, done, number = random.Random(seed), 0, 0
    while done < kills:
        output = tmp_path / f"killed-{number}"
        number += 1
        while done < kills and not run_and_kill(stage, files, model, output, random_moments.uniform(0.02, 1.3 * whole)):
            done += 1
        assert run_and_kill(stage, files, model, output, 120)
        assert weights(output) == weights(tmp_path / "straight")
        assert metrics(output) == metrics(tmp_path / "straight")
    return done


@pytest.mark.parametrize("stage", ["sft", "dpo", "ppo"])
def test_killed_at_random_moments_it_ends_in_the_same_bytes(tmp_path, stage):
    assert survive(stage, tmp_path, kills=4, seed=1) == 4


class TwoSignals(StoppingUi):
    """The second signal comes while the first is being heeded: at once."""

    def steps(self, total, start=0):
        shown = super().steps(total, start)
        first = shown.update

        def update(step, metrics):
            at = self.at
            first(step, metrics)
            self.at = at  # forgotten once the first one was sent
            first(step, metrics)

        shown.update = update
        return shown


def _two_signals(files, output):
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    run_stage("sft", files, files["base"], output, ui=TwoSignals(at=3), **SETTINGS)
    os._exit(0)


def test_a_second_signal_stops_at_once_and_the_checkpoint_before_is_used(tmp_path):
    files = world(tmp_path / "world", rows=14)
    run_stage("sft", files, files["base"], tmp_path / "straight", **SETTINGS)
    child = multiprocessing.get_context("fork").Process(target=_two_signals, args=(files, tmp_path / "run"))
    child.start()
    child.join(60)
    assert child.exitcode == 128 + signal.SIGTERM
    assert json.loads((tmp_path / "run" / "align.json").read_text())["state"] == "running"  # it had no time to say more
    run_stage("sft", files, files["base"], tmp_path / "run", **SETTINGS)
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")
    assert metrics(tmp_path / "run") == metrics(tmp_path / "straight")


@pytest.mark.campaign
@pytest.mark.parametrize("stage", ["sft", "reward", "dpo", "ppo"])
def test_campaign_of_kills(tmp_path, stage):
    assert survive(stage, tmp_path, kills=int(os.environ.get("ALIGN_KILLS", "200")), seed=7) > 0
