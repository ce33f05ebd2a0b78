"""`align collect score`, and the whole round as a script."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from alignment.cli import run
from data_recipes.files import write_jsonl
from data_recipes.toy import BASE, write

ROOT = Path(__file__).parents[2]
RULES = "data_recipes.toy.judge:judge", "reward.rules:length_band(low=5, high=10)"


def items(folder: Path, count: int = 6) -> Path:
    """Requests of the toy world with two answers each, and a record of their making as `align generate` leaves it."""
    rows = []
    for row in write.build(0)["requests_heldout"][:count]:
        right = f"Hello! Order {row['code']}: {row['amount']} {row['unit']}. I am happy to help with anything more."
        rows.append({**row, "responses": ["No.", right], "sources": ["a", "b"]})
    path = folder / "items.jsonl"
    write_jsonl(path, rows)
    path.with_name("items.jsonl.meta.json").write_text(json.dumps({"request": {"models": []}}), encoding="utf-8")
    return path


def test_rules_score_answers_by_the_rows_own_columns(tmp_path, capsys):
    path, output = items(tmp_path), tmp_path / "scored.jsonl"
    line = ["collect", "score", str(path), "--reward", RULES[0], "--reward", RULES[1], "--output", str(output), "--json"]
    assert run(line) == 0
    found = json.loads(capsys.readouterr().out)
    rows = [json.loads(text) for text in output.read_text("utf-8").splitlines()]
    assert len(rows) == 6 and all(len(row["scores"]) == 2 for row in rows)
    assert all(row["scores"][0][1] > row["scores"][0][0] for row in rows)  # the judge: right and in house style beats "No."
    assert found["mean_gap"] > 0 and found["mean_disagreement"] >= 0
    assert (tmp_path / "scored.jsonl.meta.json").is_file()
    assert run(["collect", "init", str(tmp_path / "v.db"), "--items", str(output), "--choose", "disagreement", "--json"]) == 0


def test_the_same_command_finds_it_complete_and_another_is_refused(tmp_path, capsys):
    path, output = items(tmp_path), tmp_path / "scored.jsonl"
    line = ["collect", "score", str(path), "--reward", RULES[0], "--output", str(output)]
    assert run(line) == 0
    first = output.read_bytes()
    assert run(line) == 0 and output.read_bytes() == first
    assert "complete already" in capsys.readouterr().err
    assert run(["collect", "score", str(path), "--reward", RULES[1], "--output", str(output)]) == 2
    assert "made from other items or rewards" in capsys.readouterr().err


def test_wrong_input_is_refused(tmp_path, capsys):
    path, output = items(tmp_path), tmp_path / "scored.jsonl"

    def score(file: Path, reward: str) -> int:
        return run(["collect", "score", str(file), "--reward", reward, "--output", str(output)])

    assert score(path, "runs/none") == 2
    assert score(tmp_path / "none.jsonl", RULES[0]) == 2
    write_jsonl(path, [{"prompt": "q", "responses": ["one"]}])
    assert score(path, RULES[0]) == 2
    assert not output.exists()


@pytest.mark.slow
def test_the_loop_goes_through_two_rounds_and_again_finds_all_complete(tmp_path):
    """The script as it is, with tiny rounds and simulated people who take the longer answer (the base says little else)."""
    requests = write.build(0)["requests_heldout"]
    for name, start, count in (("prompts-1", 0, 16), ("prompts-2", 16, 16), ("prompts", 32, 8)):
        write_jsonl(tmp_path / f"{name}.jsonl", requests[start:start + count])
    (tmp_path / "bin").mkdir()
    align = tmp_path / "bin" / "align"
    align.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m alignment "$@"\n')
    align.chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1", "MODEL": str(BASE), "DATA": str(tmp_path), "RUNS": str(tmp_path / "loop"), "PEOPLE": "ana,ben",
        "TOKENS": "16", "STAGE_OPTIONS": "--max-steps 2 --batch-size 8",
        "ANSWER": f"{shutil.which('env')} {sys.executable} -m data_recipes.toy.people --habit longer"}

    def loop(rounds: int) -> str:
        done = subprocess.run(["bash", str(ROOT / "configs/pipelines/collect-loop.sh")], cwd=tmp_path, capture_output=True,
                              env={**environment, "ROUNDS": str(rounds)}, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stderr

    loop(2)
    for name in ("round-1/dpo/align.json", "round-2/scored.jsonl", "round-2/ranking.svg", "round-2/eval/result.json"):
        assert (tmp_path / "loop" / name).is_file(), name
    assert loop(1).count("nothing to do") == 3
