"""Every config key is read by code: the stages run on a tiny model with a config that records what is asked of it."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest
from pydantic import BaseModel

from alignment.config import STAGES, StageConfig, describe, load
from tests import tiny
from tests.tiny_encoders import sentiment


class Recorded:
    """A section that notes each key that is read. Dumping it whole (`resolved`) notes nothing: that uses no key."""

    def __init__(self, held: BaseModel, name: str, reads: set[str]) -> None:
        self._held, self._name, self._reads = held, name, reads

    def __getattr__(self, key: str) -> Any:
        value = getattr(self._held, key)
        dotted = f"{self._name}.{key}" if self._name else key
        if key in type(self._held).model_fields:
            self._reads.add(dotted)
        if isinstance(value, BaseModel):
            return Recorded(value, dotted, self._reads)
        return value


def recorded(config: StageConfig, reads: set[str]) -> Recorded:
    return Recorded(config, "", reads)


# What PPO reads only where it is wanted: a reward, and a KL coefficient that is steered.
PPO = {"ppo.reward": ["reward.rules:length_band(low=2, high=5)"], "ppo.rollout_size": 8, "ppo.max_new_tokens": 4,
       "ppo.normalise": "running", "ppo.kl_target": 1.0, "ppo.eval_rows": 2}


def run_stage(stage: str, folder, reads: set[str], *, dry_run: bool = False, **changes: Any) -> str:
    """Three optimizer steps of a stage on rows and a model of its own; returns the run's path."""
    base, rows, output = folder / "base", folder / f"{stage}.jsonl", folder / f"run-{stage}"
    if not base.is_dir():
        tiny.save_base(base)
    made = {"sft": tiny.demonstrations, "ppo": tiny.demonstrations, "classify": sentiment}.get(stage, tiny.comparisons)(10)
    rows.write_text("".join(json.dumps(row) + "\n" for row in made))
    nouns = {
        "model.path": str(base),
        "data.train": [str(rows)],
        "training.batch_size": 4,
        "training.max_steps": 3,
        "training.save_every": 2,
        "data.validation_share": 0.2,
        **(PPO if stage == "ppo" else {}),
        **changes,
    }
    config = recorded(load(stage, nouns=nouns), reads)
    importlib.import_module(f"alignment.stages.{stage}").run(config, output, dry_run=dry_run)
    return str(output)


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> str:
    """A completed supervised run with an adapter."""
    return run_stage("sft", tmp_path_factory.mktemp("parent"), set())


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_is_read(stage, tmp_path, parent):
    """By a run from a base model, or by one from a parent run where rendering is said and not inherited."""
    reads: set[str] = set()
    run_stage(stage, tmp_path, reads)
    said = {"data.system": "Be kind.", "data.thinking": "off", **({"data.train_on": "last"} if stage == "sft" else {})}
    said = {} if stage == "classify" else said
    (tmp_path / "second").mkdir()
    run_stage(stage, tmp_path / "second", reads, dry_run=True, **{"model.path": parent, **said})
    assert {line.key for line in describe(stage)} - reads == set()


def test_a_key_that_nothing_reads_would_be_found():
    reads: set[str] = set()
    config = recorded(load("sft"), reads)
    config.resolved()
    assert config.training.seed == 42 and reads == {"training", "training.seed"}
    assert config.adapter.rank == 16 and "adapter.rank" in reads
