"""Tiny classify runs for tests."""

from __future__ import annotations

import json
from pathlib import Path

from alignment import classify
from data_recipes.files import write_jsonl
from tests.alignment.chains import StoppingUi
from tests.tiny_encoders import names_and_places, save_encoder, sentiment

QUICK = {
    "adapter.kind": "full",
    "training.learning_rate": 5e-3,
    "training.epochs": 10,
    "training.batch_size": 8,
    "training.save_every": 5,
    "training.warmup": 0,
    "data.validation_share": 0.2,
    "data.max_length": 64,
    "hardware.threads": 1,
    "hardware.device": "cpu",
    "hardware.precision": "float32",
}


def world(folder: Path, kind: str = "bert") -> dict[str, Path]:
    """An encoder's folder, with rows of one class, and of words, beside it."""
    write_jsonl(folder / "rows.jsonl", sentiment(60))
    write_jsonl(folder / "spans.jsonl", names_and_places(50))
    return {"base": save_encoder(folder / kind, kind), "rows": folder / "rows.jsonl", "spans": folder / "spans.jsonl"}


def train(model: Path, data: Path, output: Path, *, ui=None, **settings) -> dict:
    """Runs the stage; dots in names are written as two underscores. A None takes a quick setting away."""
    changed = {**QUICK, **{key.replace("__", "."): value for key, value in settings.items()}}
    if "training.max_steps" in changed:
        del changed["training.epochs"]
    held = {key: value for key, value in changed.items() if value is not None}
    return classify(model=model, data=data, output=output, settings=held, ui=ui or StoppingUi())


def manifest(run: Path) -> dict:
    """The run's manifest."""
    return json.loads((run / "align.json").read_text(encoding="utf-8"))


def figure(run: Path, name: str) -> float:
    """A held-out figure of a completed run."""
    return manifest(run)["classify"]["evaluation"]["figures"][name]["value"]
