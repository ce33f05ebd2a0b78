"""The end of a stage: save, read back, compare, move in by rename, write `completed` last."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import yaml
from peft import PeftModel

from data_recipes.files import move_in, write_text

from alignment import adapters
from alignment.card import model_card
from alignment.data import Rendered
from alignment.models import Loading, load_base, outputs, save_and_prove
from alignment.runs import content_hash, file_hashes
from alignment.session import Session
from alignment.sources import Source
from alignment.training import processes
from alignment.training.callbacks import UNLOGGED

PROBES = 4  # rows on which a model read back is compared
STAGING = ".result"


def finish(session: Session, trainer, train: Rendered) -> dict:
    """Saves, reads back, compares; moves the files in by rename; writes `completed` last."""
    job, run = session.job, session.job.run
    model = trainer.accelerator.unwrap_model(trainer.model)
    trainer.optimizer = trainer.lr_scheduler = None  # the read-back needs their memory
    if processes.is_first():
        probe = probe_rows(train)
        distance = prove(session, model, run.path / STAGING, probe)
        publish_result(session, trainer, train, distance)
    processes.wait()
    job.ui.say(f"completed: {run.path}")
    return job.summary()


def prove(session: Session, model, folder: Path, probe: list[list[int]]) -> float:
    """Saves into `folder` and compares what is on disk with the model in memory.

    An adapter is read back under a second name onto the same base, which training never changed; a whole model is loaded
    anew.
    """
    if isinstance(model, PeftModel):
        config = model.peft_config["default"]
        config.base_model_name_or_path, config.revision = session.base.name, session.base.revision
        return save_and_prove(
            model, session.tokenizer, folder, probe, lambda saved: _second_adapter(model, saved, probe)
        )
    how = Loading(
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."), device=str(next(model.parameters()).device)
    )
    return save_and_prove(
        model,
        session.tokenizer,
        folder,
        probe,
        lambda saved: outputs(load_base(Source(str(saved), "folder", saved), how, head=session.head), probe),
    )


def _second_adapter(model: PeftModel, folder: Path, probe: list[list[int]]) -> torch.Tensor:
    model.load_adapter(str(folder), "proof", is_trainable=False)
    model.set_adapter("proof")
    seen = outputs(model, probe)
    model.set_adapter("default")
    model.delete_adapter("proof")
    return seen


def probe_rows(train: Rendered) -> list[list[int]]:
    """A few token rows for comparisons: the first ones, whole."""
    columns = train.columns
    if "input_ids" in columns:
        return [ids.tolist() for ids in columns["input_ids"][:PROBES]]
    parts = [columns[name] for name in ("prompt_ids", "chosen_ids") if name in columns]
    return [[token for part in parts for token in part[i].tolist()] for i in range(min(PROBES, len(train)))]


def publish_result(session: Session, trainer, train: Rendered, distance: float) -> None:
    """Renames the proven files into the run and writes the manifest's last state."""
    run, staging = session.job.run, session.job.run.path / STAGING
    write_text(run.path / "config.yaml", _yaml(session.config.resolved()))
    for file in sorted(staging.iterdir()):
        move_in(file, run.path / file.name)
    staging.rmdir()
    run.manifest.update(
        adapter=adapters.describe(trainer.accelerator.unwrap_model(trainer.model)),
        counts=counts(session, trainer, train),
        metrics={**last_metrics(trainer), "read_back_distance": distance},
        files=file_hashes(run.path),
        content_hash=content_hash(run.path),
        adapter_lineage=lineage_of(session),
        stopped_by=None,
    )
    write_text(run.path / "README.md", model_card(run.manifest))
    run.write(state="completed")


def lineage_of(session: Session) -> list[str]:
    """Content hashes of the adapters this one was started from, the nearest first."""
    manifest = session.job.source.manifest or {}
    if not session.parent_adapter or not manifest:
        return []
    return [manifest["content_hash"], *manifest.get("adapter_lineage", [])]


def counts(session: Session, trainer, train: Rendered) -> dict:
    """Steps, rows and tokens of the finished run."""
    return {
        **{f"train_{key}": value for key, value in train.counts.items()},
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "tokens_seen": int(trainer._total_train_tokens),
    }


def last_metrics(trainer) -> dict:
    """The last logged training and held-out figures, less what a clock measured: those are in metrics.jsonl."""
    found: dict = {}
    for row in trainer.state.log_history:
        found.update({key: value for key, value in row.items() if key not in {"step", "epoch", *UNLOGGED}})
    timed = ("_runtime", "_per_second")
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, (int, float)) and math.isfinite(value) and not key.endswith(timed)
    }


def _yaml(value: dict) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
