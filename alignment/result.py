"""The end of a stage: save, read back, compare, move in by rename, write `completed` last."""

from __future__ import annotations

import gc
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from peft import PeftModel

from data_recipes.files import move_in, write_text

from alignment.adapters import weights as adapter_weights
from alignment.data import Rendered
from alignment.models import Loading, load_base, outputs, save_and_prove
from alignment.publishing.card import model_card
from alignment.runs import content_hash, file_hashes
from alignment.session import Session, as_it_ran
from alignment.sources import Source
from alignment.training import processes
from alignment.training.callbacks import UNLOGGED
from alignment.training.checkpoints import forget, forget_best

PROBES = 4  # rows on which a model read back is compared
STAGING = ".result"


def finish(session: Session, trainer, train: Rendered, also: Callable[[object, Path], dict] | None = None) -> dict:
    """Saves, reads back, compares; moves the files in by rename; writes `completed` last.

    also: a stage's own part, called with the model and the folder that the files are gathered in; what it gives goes into the
    manifest.
    """
    job = session.job
    # accelerate leaves its autocast around `forward` otherwise, and the model would be compared in another precision
    model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    release(trainer)
    processes.first_decides(lambda: publish_result(session, trainer, model, train, also))
    if processes.is_first():
        forget_best(job.run.checkpoints)
        if session.config.training.keep_checkpoints == 0:
            forget(job.run.checkpoints)
    job.ui.say(f"completed: {job.run.path}")
    return job.summary()


def release(trainer) -> None:
    """Lets go of what only training needed: reading a whole model back needs its memory."""
    handler = trainer.callback_handler
    trainer.optimizer = trainer.lr_scheduler = handler.optimizer = handler.lr_scheduler = None
    if getattr(trainer, "ref_model", None) is not None:
        trainer.ref_model = None
    trainer.accelerator.free_memory()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
        device=str(next(model.parameters()).device),
        trust_remote_code=session.config.model.trust_remote_code,
    )
    return save_and_prove(
        model,
        session.tokenizer,
        folder,
        probe,
        lambda saved: outputs(load_base(Source(str(saved), "folder", saved), how, task=session.task), probe),
    )


def _second_adapter(model: PeftModel, folder: Path, probe: list[list[int]]) -> torch.Tensor:
    # in the dtype in which it was trained: PEFT would raise a bf16 adapter to float32, which is another one
    trained = {p.dtype for name, p in model.named_parameters() if ".default." in name}
    model.load_adapter(str(folder), "proof", is_trainable=False, autocast_adapter_dtype=torch.float32 in trained)
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


def publish_result(session: Session, trainer, model, train: Rendered, also=None) -> None:
    """Proves the saved files, renames them into the run and writes the manifest's last state."""
    run, staging = session.job.run, session.job.run.path / STAGING
    distance = prove(session, model, staging, probe_rows(train))
    write_text(run.path / "config.yaml", _yaml(as_it_ran(session)))
    own = also(model, staging) if also else {}
    for item in sorted(staging.iterdir()):
        if item.is_dir() and (run.path / item.name).exists():  # of a run that was killed at this very place
            shutil.rmtree(run.path / item.name)
        move_in(item, run.path / item.name)
    staging.rmdir()
    run.manifest.update(
        adapter=adapter_weights.describe(model),
        tuned={"kind": session.kind, **adapter_weights.tuned(model)},
        counts=counts(trainer, train),
        metrics={**last_metrics(trainer, run.manifest.get("kept")), "read_back_distance": distance},
        files=file_hashes(run.path),
        content_hash=content_hash(run.path),
        adapter_lineage=lineage_of(session),
        stopped_by=None,
        **own,
    )
    write_text(run.path / "README.md", model_card(run.manifest))
    run.write(state="completed")


def lineage_of(session: Session) -> list[str]:
    """Content hashes of the adapters this one was started from, the nearest first."""
    manifest = session.job.source.manifest or {}
    if not session.parent_adapter or not manifest:
        return []
    return [manifest["content_hash"], *manifest.get("adapter_lineage", [])]


def counts(trainer, train: Rendered) -> dict:
    """Steps, rows and tokens of the finished run."""
    return {
        **{f"train_{key}": value for key, value in train.counts.items()},
        "held_out_rows": trainer.held_out_rows,
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "tokens_seen": int(trainer._total_train_tokens),
    }


def last_metrics(trainer, kept: dict | None = None) -> dict:
    """The last logged training and held-out figures of the result, less what a clock measured: those are in metrics.jsonl.

    kept: which weights became the result, where they need not be the last.
    """
    found: dict = {}
    for row in trainer.state.log_history:
        if kept and row["step"] > kept["step"]:
            break
        found.update({key: value for key, value in row.items() if key not in {"step", "epoch", *UNLOGGED}})
    timed = ("_runtime", "_per_second")
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, (int, float)) and math.isfinite(value) and not key.endswith(timed)
    }


def _yaml(value: dict) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
