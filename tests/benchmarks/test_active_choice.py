"""The benchmark of active choice: its arithmetic, its rows, and the whole of it at the smallest size."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from data_recipes.files import write_json
from data_recipes.toy import people

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def active_choice(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import active_choice

    return active_choice


def test_students_interval_by_hand(active_choice):
    # values 1, 2, 3: mean 2, s = 1, t(0.975, 2) = 4.303
    found = active_choice.interval([1.0, 2.0, 3.0])
    assert found["value"] == 2.0 and found["high"] - 2.0 == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
    assert active_choice.interval([0.5]) == {"value": 0.5, "low": None, "high": None, "n": 1}


def test_arms_are_compared_on_the_same_seeds(active_choice):
    rows = [{"seed": seed, "arm": arm, "votes": 30, "pairs": 20, "accuracy": 0.7 + 0.1 * seed + (0.05 if arm == "gap" else 0)}
            for arm in ("random", "gap") for seed in range(3)]
    lines = active_choice.summary(rows)
    gap = next(line for line in lines if line["arm"] == "gap")
    assert gap["against_random"]["value"] == pytest.approx(0.05)
    assert gap["against_random"]["high"] - gap["against_random"]["low"] < 1e-9  # the seeds' own spread falls out
    assert "| 30 | gap | 20 | 85.0 [60.2, 109.8] | +5.0 [+5.0, +5.0] |" in active_choice.table(lines)


def test_held_out_pairs_are_what_the_judge_prefers_and_no_code_is_shared(active_choice):
    asked = active_choice.items("0:1", 40, held_out=False)
    held = active_choice.pairs(active_choice.items("0:held-out", 40, held_out=True))
    assert all(len(set(row["responses"])) == 2 for row in asked)
    for row in held:
        chosen, rejected = (people.judge(tuple(row["prompt"]), row[side][0]["content"]) for side in ("chosen", "rejected"))
        assert chosen > rejected
    codes = [{people.request_of(row["prompt"][0]["content"]).code for row in rows} for rows in (asked, held)]
    assert not codes[0] & codes[1]


def test_seeds_that_are_there_are_kept_and_other_settings_refused(active_choice, tmp_path, capsys):
    setting = {"model": "m", "rounds": 1, "votes": 4, "pool": 8, "held_out": 8, "error": 0.1, "steps": 1, "arms": ["random"]}
    rows = [{"seed": 0, "arm": "random", "votes": 4, "pairs": 3, "accuracy": 0.75}]
    write_json(tmp_path / "seed-0.json", {"setting": setting, "rows": rows})
    words = ["--seeds", "1", "--model", "m", "--rounds", "1", "--votes", "4", "--pool", "8", "--held-out", "8", "--steps", "1",
             "--arms", "random", "--output", str(tmp_path)]
    active_choice.main(words)
    assert "| 4 | random | 3 | 75.0 | - |" in capsys.readouterr().out
    assert (tmp_path / "active_choice.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(SystemExit, match="other settings"):
        active_choice.main([*words, "--error", "0.2"])


@pytest.mark.slow
def test_the_whole_at_the_smallest_size(active_choice, tmp_path, capsys):
    active_choice.main(["--seeds", "1", "--rounds", "2", "--votes", "10", "--pool", "40", "--held-out", "20", "--steps", "1",
                        "--arms", "disagreement", "--output", str(tmp_path)])
    found = json.loads((tmp_path / "result.json").read_text("utf-8"))["lines"]
    assert [(line["arm"], line["votes"]) for line in found] == [
        ("random", 10), ("disagreement", 10), ("random", 20), ("disagreement", 20)]
    assert all(0 <= line["accuracy"]["value"] <= 1 for line in found)
    assert "| votes | asked |" in capsys.readouterr().out
