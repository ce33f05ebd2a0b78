"""The quickstart: its lines can be typed, its table says what was promised and what was found."""

import os
from pathlib import Path

import pytest

from alignment.cli import program
from alignment.quickstart import JUDGE, RIGHT, checks, commands, quickstart


def interval(value, low=None, high=None):
    return {"value": value, "low": value if low is None else low, "high": value if high is None else high}


def results(*, base=0.02, sft=0.9, difference=-0.01, low=-0.02, wins=0.8, wins_low=0.75, accuracy=0.95, longer=0.5,
            kl=4.0):
    def arm(name, right, **judge):
        return {"name": name, "answers": {"rewards": {RIGHT: {"mean": interval(right), **judge}, JUDGE: {
            "mean": interval(0.5), "win_rate": interval(wins, wins_low)}}}}

    policies = {"arms": [arm("runs/sft", sft), arm("runs/dpo", sft + difference, difference=interval(difference, low)),
                         arm("runs/ppo", sft, difference=interval(0.0)), arm("base", base)]}
    rewards = {"arms": [{"accuracy": interval(accuracy), "longer_wins": interval(longer)}]}
    return policies, rewards, {"figures": {"kl_k1": kl}, "budget": 10.0}


def kept(**changed):
    return {check.name: check.kept for check in checks(*results(**changed))}


def test_a_good_chain_keeps_every_promise():
    assert all(kept().values()) and len(kept()) == 11


@pytest.mark.parametrize(("changed", "broken"), [
    ({"base": 0.11}, "right answers: base"), ({"sft": 0.84}, "right answers: SFT"),
    ({"low": -0.031}, "right answers: DPO less SFT"), ({"wins": 0.69}, "DPO wins over SFT by the judge"),
    ({"wins_low": 0.5}, "DPO wins over SFT by the judge"), ({"accuracy": 0.89}, "reward model right on clean pairs"),
    ({"kl": 10.5}, "PPO's KL from SFT"), ({"longer": 0.61}, "'the longer wins' on the same pairs"),
])
def test_each_promise_can_be_broken(changed, broken):
    broken_ones = [name for name, value in kept(**changed).items() if not value]
    assert broken_ones == ([broken] if "wins over" not in broken else [broken, broken.replace("DPO", "PPO")])


def test_its_lines_are_commands_with_known_options():
    for line in commands(Path("quickstart"), seed=0)[1:]:
        command = program.get_command(None, line[1])
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in line if word.startswith("--")} <= known


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(5))
def test_five_seeds_keep_every_promise(tmp_path, seed):
    """`make campaigns` prints the figures of each seed; the table in the README comes from there."""
    from alignment.cli.progress import Ui

    keep = os.environ.get("ALIGN_QUICKSTART")  # a folder where the runs are kept for a look
    summary = quickstart(Path(keep) / str(seed) if keep else tmp_path / "quickstart", seed=seed, ui=Ui())
    assert summary["kept"], [check for check in summary["checks"] if not check["kept"]]
