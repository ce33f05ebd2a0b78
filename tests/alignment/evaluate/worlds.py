"""A tiny chain, tuned once for all tests of this folder that need runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alignment.cli.progress import Ui
from data_recipes.files import write_jsonl
from tests import tiny
from tests.alignment.chains import run_stage, world


@dataclass(frozen=True)
class World:
    """Folder of the runs (`sft`, `sft2`, `reward`, `dpo`) and of the files: training rows and held-out ones."""

    runs: Path
    files: dict[str, Path]

    def run(self, name: str) -> str:
        return str(self.runs / name)


class Heard(Ui):
    """Quiet, and remembers the warnings."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def build(folder: Path) -> World:
    """base -> sft -> reward and dpo on the same pairs, and a second seed of sft."""
    files = world(folder, rows=24, model=tiny.llama(spread=0.2))
    runs = folder / "runs"
    held_out = {"data__validation_share": 0.2, "training__epochs": 2, "training__learning_rate": 5e-3}
    run_stage("sft", files, files["base"], runs / "sft", **held_out)
    run_stage("sft", files, files["base"], runs / "sft2", **{**held_out, "training__seed": 7})
    run_stage("reward", files, runs / "sft", runs / "reward", **held_out)
    run_stage("dpo", files, runs / "sft", runs / "dpo", **held_out)
    asked = [{"prompt": f"Is thing {index} here?", "answer": "yes"} for index in range(6)]
    pairs = [
        {
            "prompt": row["prompt"],
            "chosen": "Hello! It is fine.",
            "rejected": "Go away." if index % 2 else "Go away, and " * 3,
        }
        for index, row in enumerate(asked)
    ]
    told = [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": "Hello! It is fine."},
            ]
        }
        for row in asked
    ]
    for name, rows in (("prompts", asked), ("pairs", pairs), ("demonstrations", told)):
        write_jsonl(folder / f"held_{name}.jsonl", rows)
        files[f"held_{name}"] = folder / f"held_{name}.jsonl"
    return World(runs, files)
