"""Callbacks of every stage: stop on signals, stop before a non-finite update, seal checkpoints, write metrics."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from data_recipes.errors import Failed

from alignment.invariants import noise_of
from alignment.training.checkpoints import rotate, seal
from alignment.training.signals import Signals

# Of the Trainer's own report these repeat what the manifest says, or speak of this process only.
UNLOGGED = {"total_flos", "train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss"}


class EpochCallback(TrainerCallback):
    """Tells the sampler its epoch. accelerate's loaders do not always hand `set_epoch` on to a sampler.

    evaluate: evaluate at each epoch's end. The Trainer's own way does so after the step's checkpoint was written, so that a
    run that is stopped between the two loses an evaluation.
    """

    def __init__(self, order, steps_per_epoch: int, *, evaluate: bool = False) -> None:
        self.order, self.steps_per_epoch, self.evaluate = order, steps_per_epoch, evaluate

    def on_step_end(self, args, state, control, **kwargs):
        if self.evaluate and (state.global_step % self.steps_per_epoch == 0 or state.global_step >= state.max_steps):
            control.should_evaluate = True

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.order.epoch = state.global_step // self.steps_per_epoch


class FiniteCallback(TrainerCallback):
    """Stops before the optimizer's update where a loss or a gradient is not finite; weights stay as they were."""

    def __init__(self, trainer, metrics: Path, names: list[str]) -> None:
        self.trainer, self.metrics, self.names = trainer, metrics, names

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        losses, rows = self.trainer.step_losses, self.trainer.step_rows
        self.trainer.step_losses, self.trainer.step_rows = [], []
        gradients = [p.grad for p in self.trainer.trained_parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.trainer.accelerator.scaler is not None:  # fp16: overflow is how the scaler finds its scale
            norm = torch.zeros_like(norm)
        loss = torch.stack(losses).sum()
        if torch.isfinite(norm + loss).item():
            return
        self._stop(state, loss.item(), norm.item(), rows, losses)

    def _stop(self, state, loss: float, norm: float, rows: list, losses: list) -> None:
        step = state.global_step + 1
        if state.is_world_process_zero:
            append_metrics(self.metrics, {"step": step, "loss": str(loss), "grad_norm": str(norm), "stopped": "non-finite"})
        bad = [r for r, value in zip(rows, losses, strict=True) if not math.isfinite(value.item())] or rows
        named = [self.names[i] for r in bad if r is not None for i in r.tolist()]
        raise Failed(
            f"the loss is {loss} and the gradient norm {norm} at step {step}; the update was not made",
            where=", ".join(named[:8]) + (f" and {len(named) - 8} more rows" if len(named) > 8 else ""),
            expected="finite values", do="Lower training.learning_rate or look at these rows; the last checkpoint is kept.",
        )


class SignalCallback(TrainerCallback):
    """After a signal: finish the optimizer step, write a checkpoint, stop."""

    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def on_step_end(self, args, state, control, **kwargs):
        if self._anywhere(args):
            control.should_save = control.should_training_stop = True

    def _anywhere(self, args) -> bool:
        """Whether any process was signalled: all must save together, or the others wait for ever."""
        if args.world_size == 1:
            return bool(self.signals.received)
        flag = torch.tensor([self.signals.received], device=args.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        self.signals.received = int(flag.item())
        return bool(self.signals.received)


class SealCallback(TrainerCallback):
    """Seals each checkpoint, then removes the oldest. The Trainer's own rotation runs before the seal and stays off.

    The seal holds the loss on the first rows; on resume it is computed again, and how far off it is, is said. `also` gives
    what else has to be known when the run continues.
    """

    def __init__(
        self, trainer, keep: int, restored: dict, say: Callable[[str], None], also: Callable[[], dict] = dict
    ) -> None:
        self.trainer, self.keep, self.restored, self.say, self.also = trainer, keep, restored, say, also

    def on_train_begin(self, args, state, control, **kwargs):
        self.trainer._total_train_tokens = self.restored.get("tokens", 0)  # TRL starts again at 0
        if "first_rows_loss" in self.restored:
            same_loss(self.restored["first_rows_loss"], self.trainer.probe(), self.trainer, self.say)

    def on_save(self, args, state, control, **kwargs):
        loss = self.trainer.probe()  # in every process: computing a loss gathers
        self.trainer.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            folder = Path(args.output_dir)
            counters = {"tokens": self.trainer._total_train_tokens, "first_rows_loss": loss, **self.also()}
            seal(folder / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}", counters)
            rotate(folder, self.keep)
        self.trainer.accelerator.wait_for_everyone()


def same_loss(before: float, now: float, trainer, say: Callable[[str], None]) -> None:
    """Says how far the restored model is from the one that was saved. Raises Failed beyond the noise of its precision."""
    distance = abs(now - before) / max(1.0, abs(before))
    say(f"restored: the loss on the first rows is {now:.6f}, {distance:.1e} from what it was at the checkpoint")
    if not distance <= noise_of(trainer):
        raise Failed(
            f"the restored model gives a loss of {now:.6f} on the first rows",
            expected=f"{before:.6f}, as at the checkpoint, within {noise_of(trainer):.0e}",
            do="Begin anew with --restart; the old run is kept beside.",
        )


class MetricsCallback(TrainerCallback):
    """Appends each step's figures to metrics.jsonl and hands them to the progress display."""

    def __init__(self, file: Path, steps) -> None:
        self.file, self.steps = file, steps
        self.clock, self.tokens = time.monotonic(), None

    def on_log(self, args, state, control, logs=None, **kwargs):
        figures = {key: value for key, value in (logs or {}).items() if key not in UNLOGGED}
        if not state.is_world_process_zero or not figures.keys() - {"epoch"}:
            return
        if "loss" in figures:
            figures["tokens_per_second"] = self._speed(figures.get("num_tokens"))
        append_metrics(self.file, {"step": state.global_step, **figures})
        self.steps.update(state.global_step, {**figures, "memory_bytes": memory_in_use()})

    def _speed(self, tokens: float | None) -> float | None:
        """Tokens a second since the last step that counted any: PPO counts where it makes a rollout."""
        if tokens is None:
            return None
        before, self.tokens = self.tokens, tokens
        elapsed, self.clock = time.monotonic() - self.clock, time.monotonic()
        return None if before is None else round((tokens - before) / max(elapsed, 1e-9), 1)


def append_metrics(file: Path, row: dict) -> None:
    """One line of metrics.jsonl. A torn last line is cut off when a run continues."""
    with open(file, "a", encoding="utf-8") as out:
        out.write(json.dumps(row, ensure_ascii=False) + "\n")


def memory_in_use() -> int:
    """Bytes: the GPU's peak so far, or this process's resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import psutil

    return psutil.Process(os.getpid()).memory_info().rss
