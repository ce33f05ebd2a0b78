"""The benchmark's scripts from end to end at the smallest size, and its gate."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PACE = {"wall": 10.0, "cpu": 12.0, "peak_tree": 500_000_000, "peak_process": 1, "foreign": 0.0, "code": 0}


@pytest.fixture
def compare(monkeypatch):
    """The script as a module; scripts import their neighbours by plain names."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import compare

    return compare


def test_the_gate_from_end_to_end(tmp_path):
    """The work is made, both arms run it from the command line and are measured, and their losses agree."""
    command = [sys.executable, str(BENCHMARKS / "compare.py"), "--stage", "sft", "--sizes", "tiny", "--pairs", "0",
               "--steps", "3", "--batch", "4", "--threads", "1", "--idle", "0", "--patience", "0", "--no-cli",
               "--build", str(tmp_path / "build"), "--output", str(tmp_path / "all.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads((tmp_path / "all.json").read_text())["results"].values()
    assert result["parity"] <= 1e-4 and result["arms"] == ["align", "trl"]
    assert len((tmp_path / "build" / "sft-tiny-3-4" / "run-trl" / "metrics.jsonl").read_text().splitlines()) == 3


def test_pairs_run_in_turn_and_foreign_load_is_marked(compare, monkeypatch, tmp_path):
    from measure import Measured

    begun = []

    def run_arm(given, arm, stage, work):
        begun.append(arm)
        return Measured(**PACE | {"foreign": 0.3 if len(begun) == 2 else 0.0}, first=4.0, last=8.0), work

    monkeypatch.setattr(compare, "run_arm", run_arm)
    monkeypatch.setattr(compare, "wait_until_idle", lambda share, patience: 0.99)
    given = argparse.Namespace(idle=0.95, patience=0)
    seen = compare.run_pairs(given, "sft", tmp_path, ("align", "trl"), 2)
    assert begun == ["align", "trl", "trl", "align"]
    assert [run["loaded"] for run in seen["trl"]] == [True, False]
    result = {"arms": ["align", "trl"], "runs": seen, "parity": 0.0, "medians": compare.ratios(seen, 100)}
    assert "| tokens/s | 25.0 | 25.0 | 1.00 |" in compare.table("title", result)
    assert "1 of 4 runs beside foreign load" in compare.table("title", result)


def test_the_gate_lets_equal_losses_through(compare):
    assert compare.gate([2.0, 1.0], [2.0, 1.00001]) == pytest.approx(1e-5)


@pytest.mark.parametrize(("ours", "theirs"), [
    ([2.0, 1.0], [2.0, 1.001]), ([2.0], [2.0, 1.0]), ([], []), ([float("nan")], [float("nan")]),
], ids=["another loss", "a step is missing", "nothing", "not a number"])
def test_the_gate_is_closed_where_losses_differ(compare, ours, theirs):
    with pytest.raises(compare.GateClosed):
        compare.gate(ours, theirs)


def test_only_the_first_twenty_losses_are_compared(compare):
    assert compare.gate([1.0] * 20 + [5.0], [1.0] * 20 + [6.0]) == 0


def test_ratios_are_medians_over_pairs(compare):
    ours = [{**PACE, "first": 2.0, "last": 2.0 + seconds} for seconds in (1.0, 2.0, 4.0)]
    theirs = [{**PACE, "first": 4.0, "last": 8.0}] * 3
    seen = compare.ratios({"align": ours, "trl": theirs}, loop_tokens=100)
    assert seen["tokens/s"] == {"ours": 50.0, "theirs": 25.0, "ratio": 2.0}
    assert seen["first step s"]["ratio"] == 0.5


def test_steps_are_seen_as_a_file_grows(compare, tmp_path):
    from measure import StepClock, Watch

    file = tmp_path / "metrics.jsonl"
    clock = StepClock(Watch(file), steps=2)
    clock.look(1.0)
    file.write_text("one\n")
    clock.look(2.0)
    file.write_text("one\ntwo\nend\n")
    clock.look(3.0)
    clock.look(4.0)
    assert (clock.first, clock.last) == (2.0, 3.0)
