"""A hub model that cannot be had: one paragraph, at once, before torch is loaded; what is cached is used."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from tests import tiny
from tests.alignment.chains import run_stage, world
from tests.data_recipes.test_hub import closed_port

ROOT = Path(__file__).resolve().parents[2]


def hub_environment(folder, **changed) -> dict[str, str]:
    plain = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    return {**plain, "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT), **changed}


def cached_model(home: Path, hub_id: str, commit: str = "0" * 40) -> None:
    """A base as huggingface_hub keeps it in its cache."""
    repo = home / "hub" / f"models--{hub_id.replace('/', '--')}"
    tiny.save_base(repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)


def test_without_a_network_the_answer_comes_at_once(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", tiny.demonstrations(4))
    address = f"http://127.0.0.1:{closed_port()}"
    command = [sys.executable, "-X", "importtime", "-m", "alignment", "sft", "--model", "nobody/nothing",
               "--data", "rows.jsonl", "--output", "run"]
    ran = subprocess.run(command, cwd=tmp_path, env=hub_environment(tmp_path, HF_ENDPOINT=address), capture_output=True,
                         text=True, check=False)
    assert ran.returncode == 2  # each retry of the hub's own client is said on standard error
    (said,) = [line for line in ran.stderr.splitlines() if not line.startswith("import time:")]
    assert "'nobody/nothing' is not in the local cache" in said and address in said and "refused" in said
    assert not any(line.rpartition("|")[2].strip() == "torch" for line in ran.stderr.splitlines())
    assert not (tmp_path / "run").exists()


def test_a_cached_model_is_used_where_the_hub_gives_no_answer(tmp_path):
    cached_model(tmp_path / "hf", "tiny/base")
    write_jsonl(tmp_path / "rows.jsonl", tiny.demonstrations(4))
    command = [sys.executable, "-m", "alignment", "sft", "--model", "tiny/base", "--data", "rows.jsonl", "--output", "run",
               "--max-steps", "1", "--set", "data.validation_share=0", "--set", "hardware.device=cpu"]
    environment = hub_environment(tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{closed_port()}", OMP_NUM_THREADS="1")
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "from the cache: http://127.0.0.1" in ran.stderr and "Retry" not in ran.stderr


def test_switched_off_and_not_cached_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Refused, match="switched off by HF_HUB_OFFLINE"):
        run_stage("sft", world(tmp_path, rows=4), "nobody/nothing-at-all", tmp_path / "run")
