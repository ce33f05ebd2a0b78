"""Training until it is done: continue, watch, go on after an out-of-memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import torch
from transformers.integrations import TensorBoardCallback

from data_recipes.errors import Failed

from alignment.data import Rendered
from alignment.evaluate.curves import read_metrics
from alignment.hardware.plan import Plan, apply, half_micro_batch
from alignment.overfitting import Turning, advice, describe
from alignment.session import Session, facts, steps_per_epoch, total_steps
from alignment.training import processes
from alignment.training.best import BestCallback, Watch
from alignment.training.callbacks import EpochCallback, FiniteCallback, MetricsCallback, SealCallback, SignalCallback
from alignment.training.checkpoints import ask_for_less, counters, cut_metrics, newest_complete, step_of
from alignment.training.limits import measuring
from alignment.training.order import EpochOrder

RETRIES = 3  # after an out-of-memory
# what an allocator says that has no class of errors of its own: a processor's (Linux and macOS; Windows), Apple's GPU's
FULL = ("can't allocate memory", "not enough memory: you tried", "MPS backend out of memory")


def fit(session: Session, plan: Plan, train: Rendered, build: Callable[[Plan], object], watch: Watch | None = None):
    """Trains with `build(plan) -> trainer` until it is done; continues from the newest sealed checkpoint.

    watch: what decides on held-out rows when to stop and which weights are kept; None for a stage that decides by itself.

    An out-of-memory goes on from there with half the micro-batch and twice the accumulation, at most three times: redoing
    a step inside the Trainer is not sound, since a partial backward pass has already left its mark on the gradients.

    Raises:
        Interrupted: a signal came; a sealed checkpoint was written. Failed: non-finite values, or memory is too small.
    """
    job = session.job
    apply(plan)
    job.mark_running(**facts(session, plan))
    for attempt in range(RETRIES + 1):
        trainer = None
        try:
            trainer = build(plan)
            return _train(session, plan, trainer, train, watch)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if attempt == RETRIES or plan.micro_batch == 1 or plan.world > 1:
                raise _too_large(plan, job.run.checkpoints) from error
            job.ui.warn(f"out of memory at {plan.micro_batch} rows: going on with half of it")
        del trainer
        gc.collect()
        torch.mps.empty_cache() if plan.device == "mps" else torch.cuda.empty_cache()
        plan = half_micro_batch(plan)
        job.run.write(hardware=plan.as_dict()) if processes.is_first() else None
    raise AssertionError("unreachable")


def out_of_memory(error: RuntimeError) -> bool:
    """Whether memory was too small. A process that the system itself ends for its memory has no time to say so."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in FULL)


def _too_large(plan: Plan, checkpoints: Path) -> Failed:
    """The error of a process that cannot go on by itself.

    With several processes the others wait for this one in a collective, so that all have to begin anew: what they shall begin
    with is left beside the checkpoints, since the manifest belongs to the first process.
    """
    do = "Shorten data.max_length, use model.quantisation=4bit, or a larger device."
    if plan.world > 1 and plan.micro_batch > 1:
        smaller = half_micro_batch(plan)
        ask_for_less(checkpoints, {key: getattr(smaller, key) for key in ("world", "micro_batch", "accumulation")})
        do = f"The same command again goes on from the last checkpoint with {smaller.micro_batch}."
    return Failed(f"out of memory at {plan.micro_batch} rows", where="hardware.micro_batch", do=do)


def _train(session: Session, plan: Plan, trainer, train: Rendered, watch: Watch | None):
    job, config = session.job, session.config
    checkpoint, notes = processes.first_decides(lambda: newest_complete(job.run.checkpoints))
    for note in notes:
        job.ui.warn(note)
    start = step_of(checkpoint) if checkpoint else 0
    if processes.is_first():
        for file in (job.run.metrics_file, job.run.private / "completions.jsonl"):  # what came before step 0 is made again too
            cut_metrics(file, start if checkpoint else -1)
    if checkpoint:
        job.ui.say(f"continuing after step {start}")
    ordering = [] if trainer.own_clock else [_ordered(session, trainer, train)]
    rows = len(trainer.train_dataset if trainer.own_clock else trainer.order)
    total = trainer.args.max_steps if trainer.args.max_steps > 0 else total_steps(session, rows)
    restored = counters(checkpoint) if checkpoint else {}
    trainer.turning = Turning(restored.get("turning") or [])
    _keep_tensorboard(trainer, job.run.private / "tensorboard")
    best = BestCallback(trainer, watch or Watch(), job.run.checkpoints, restored.get("watch") or {})
    with job.ui.steps(total, start) as steps, job.signals.at_step_end():
        for callback in (
            *ordering,
            FiniteCallback(trainer, job.run.metrics_file, train.names),
            SignalCallback(job.signals),
            SealCallback(trainer, config.training.keep_checkpoints, restored, job.ui.say,
                         lambda: {"watch": best.state(), "turning": trainer.turning.best} if watch else {}),
            *([best] if watch else []),
            MetricsCallback(job.run.metrics_file, steps),
            measuring(session, plan, trainer, start, total),
        ):
            trainer.add_callback(callback)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.state.global_step < trainer.state.max_steps and not best.standing.stopped:
        job.signals.raise_if_received(where=str(job.run.path), do="The same command continues after the last step.")
    if watch:
        job.run.manifest["kept"] = best.finish(job.ui.say)
        job.run.manifest["fitting"] = found = describe(read_metrics(job.run.metrics_file))
        for words in filter(None, (found.get("sentence"), advice(found, watch.keep))):
            job.ui.say(words)
    return trainer


def _ordered(session: Session, trainer, train: Rendered) -> EpochCallback:
    """Gives the trainer the suite's order of rows, and what tells it the epoch."""
    training = session.config.training
    trainer.order = EpochOrder(
        row_lengths(trainer.train_dataset), batch=training.batch_size, seed=training.seed, grouped=training.group_by_length,
        general=train.general, drawn=train.drawn,
    )
    uneven = len(trainer.order) % training.batch_size
    if processes.world() > 1 and uneven:
        session.job.ui.warn(
            f"{uneven} rows are left for an epoch's last step; accelerate repeats some so that each process has one"
        )
    at_epoch_ends = trainer.eval_dataset is not None and training.eval_every is None
    return EpochCallback(trainer.order, steps_per_epoch(session, len(trainer.order)), evaluate=at_epoch_ends)


def _keep_tensorboard(trainer, folder: Path) -> None:
    """Puts TensorBoard's files where they stay, in one place over a resume; by default they lie among the checkpoints.

    The environment's TENSORBOARD_LOGGING_DIR overrules.
    """
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(folder)


def row_lengths(dataset) -> list[int]:
    """Tokens of each row that the trainer takes; packed rows are others than those that were rendered."""
    if "length" in dataset.column_names:
        return dataset["length"][:]
    return [len(ids) for ids in dataset["input_ids"]]
