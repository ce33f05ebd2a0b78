"""Tiny chains for tests: a base, rows, and stages that are stopped where a test says."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from alignment import dpo, ppo_policy, reward_model, sft
from alignment.cli.progress import Steps, Ui
from data_recipes.files import write_jsonl
from tests import tiny

STAGES = {"sft": sft, "reward": reward_model, "dpo": dpo, "ppo": ppo_policy}
# Small, float32, one thread: the same bytes on every machine of one kind.
QUICK = {
    "training.batch_size": 4,
    "training.save_every": 3,
    "training.epochs": 2,
    "data.validation_share": 0.0,
    "data.max_length": 200,
    "adapter.rank": 4,
    "training.learning_rate": 1e-3,
    "hardware.threads": 1,
    "hardware.precision": "float32",
    "hardware.device": "cpu",
    "hardware.micro_batch": 2,
    "training.warmup": 0,
}
# Rollouts of 8 answers in two minibatches, twice over: 4 steps each, so that 10 steps end within the third rollout.
QUICK_PPO = {
    "training.batch_size": 4,
    "training.max_steps": 10,
    "ppo.rollout_size": 8,
    "ppo.update_epochs": 2,
    "ppo.max_new_tokens": 6,
    "ppo.normalise": "running",
    "ppo.eval_rows": 4,
    "training.eval_every": 5,
    "data.validation_share": 0.2,
}


class StoppingUi(Ui):
    """Quiet; sends this process a signal when a step is reached."""

    def __init__(self, at: int | None = None, number: int = signal.SIGTERM) -> None:
        super().__init__(quiet=True)
        self.at, self.number = at, number

    def warn(self, text: str) -> None:
        self.warnings = [*getattr(self, "warnings", []), text]

    def steps(self, total: int, start: int = 0) -> Steps:
        ui = self

        class Stopping(Steps):
            def update(self, step, metrics):
                if step == ui.at:
                    ui.at = None  # an evaluation logs the same step again
                    os.kill(os.getpid(), ui.number)

        return Stopping(total, start, self.clock)


def world(folder: Path, *, rows: int = 26, model=None) -> dict[str, Path]:
    """A base folder with demonstrations and pairs beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny.save_base(folder / "base", model=model)
    write_jsonl(folder / "demos.jsonl", tiny.demonstrations(rows))
    write_jsonl(folder / "pairs.jsonl", tiny.comparisons(rows))
    return {
        "base": folder / "base",
        "sft": folder / "demos.jsonl",
        "reward": folder / "pairs.jsonl",
        "dpo": folder / "pairs.jsonl",
        "ppo": folder / "demos.jsonl",
    }


def run_stage(stage: str, files: dict[str, Path], model: Path, output: Path, *, ui=None, restart=False,
              dry_run=False, **settings):
    """Runs one stage with the quick settings; dots in names are written as two underscores. `reward` and `gold` are PPO's."""
    nouns = {key: settings.pop(key) for key in ("reward", "gold") if key in settings}
    quick = {**QUICK, **(QUICK_PPO if stage == "ppo" else {})}
    changed = {**quick, **{key.replace("__", "."): value for key, value in settings.items()}}
    if changed.get("adapter.kind") == "full":
        del changed["adapter.rank"]  # full tuning has no adapter, and the parent's rank need not be named
    if "training.max_steps" in changed:
        del changed["training.epochs"]
    return STAGES[stage](
        model=model, data=files[stage], output=output, settings=changed, ui=ui or StoppingUi(), restart=restart,
        dry_run=dry_run, **nouns,
    )


def metrics(run: Path) -> list[dict]:
    """metrics.jsonl less what a clock measured."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = ("_per_second", "runtime", "step_time")
    return [
        {key: value for key, value in row.items() if not key.endswith(timed) and not key.startswith("seconds/")} for row in rows
    ]


def weights(run: Path) -> dict[str, bytes]:
    """The bytes of the run's weight files, the critic's among them."""
    files = sorted([*run.glob("*.safetensors"), *run.glob("critic/*.safetensors")])
    return {str(file.relative_to(run)): file.read_bytes() for file in files}
