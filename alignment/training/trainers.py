"""TRL's trainers with the seams that the suite leans on. PPO's subclass, which makes rollouts, is in `alignment/ppo/engine.py`.

Each override below is a method that TRL or transformers calls by name; `tests/alignment/test_contracts.py` holds a test
for each that fails first when one of them moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import DPOTrainer, RewardTrainer, SFTTrainer

from reward.losses import bradley_terry_losses, centering_penalties

from alignment.invariants import first_batch
from alignment.overfitting import Turning
from alignment.training.label_head import attach_label_head
from alignment.training.smoothing import attach_smoothing

ROWS = "row_ids"


class RowCollator:
    """Wraps a collator so that each batch says which rows it holds; a guard can then name them."""

    def __init__(self, inner) -> None:
        self.inner = inner

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self.inner(examples)
        if "row" in examples[0]:  # packed rows have lost their number
            batch[ROWS] = torch.tensor([example["row"] for example in examples])
        return batch


@contextmanager
def unrounded(model: torch.nn.Module) -> Iterator[None]:
    """Keeps trained weights as they are while TRL makes its trainer.

    On a quantised base TRL rounds them to bfloat16, where AdamW's small updates vanish, where a parent's adapter is no longer
    itself, and from which a resume differs: PEFT loads a checkpoint's adapter in float32.
    """
    before = [(parameter, parameter.data) for parameter in model.parameters() if parameter.requires_grad]
    yield
    for parameter, data in before:
        if parameter.dtype != data.dtype:
            parameter.data = data.to(parameter.device)


class Seams:
    """Mixed into TRL's trainers: our order of rows, row numbers per step, no telemetry, no files of TRL's own."""

    order: Sampler | None = None
    own_clock = False  # whether the trainer itself decides which rows a step trains

    def __init__(self, *args, beside: dict[str, Any] | None = None, **kwargs) -> None:
        """beside: other held-out rows by name, whose loss each evaluation measures too, as `eval_NAME_loss`."""
        with unrounded(kwargs["model"]):
            super().__init__(*args, **kwargs)
        self.beside, self.turning = beside or {}, Turning()
        self.units: list[tuple[float, float]] = []
        self.sizes: list[float] = []
        self.own_sizes: dict[str, list[float]] = {}
        self.data_collator = RowCollator(self.data_collator)
        self.step_rows: list = []
        self.step_losses: list = []
        for printing in (PrinterCallback, ProgressCallback):  # they write to standard output, which is for results
            self.remove_callback(printing)

    @property
    def held_out_rows(self) -> int:
        """How many rows an evaluation measures."""
        return len(self.eval_dataset) if self.eval_dataset is not None else 0

    def _get_train_sampler(self, train_dataset=None) -> Sampler | None:
        return self.order

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.step_rows.append(inputs.pop(ROWS, None))
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.step_losses.append(loss.detach())
        return loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        rows = inputs.pop(ROWS, None)
        made = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        units = self.measured(made[0], len(rows) if rows is not None else 1)
        units = self.accelerator.gather_for_metrics(units, use_gather_object=True)
        self.units += units
        self.sizes.append(sum(count for _, count in units))
        return made

    def measured(self, loss, rows: int) -> list[tuple[float, float]]:
        """(summed loss, of how many) of each unit of a held-out batch: the batch, where its rows are not told apart."""
        return [(loss.item() * rows, rows)]

    def evaluation_loop(self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"):
        """As transformers' own, with the change from the least loss so far, and the losses of the rows beside.

        A mean over tokens (or pairs) does not depend on the batches; the Trainer's is one over batches, and so are TRL's
        figures beside the loss, in which the one pair of a last batch would count as much as all of a whole one.
        """
        self.units, self.sizes, self.own_sizes = [], [], {}
        found = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        sums_U, counts_U = np.array(self.units, dtype=np.float64).reshape(-1, 2).T
        found.metrics[f"{metric_key_prefix}_loss"] = float(sums_U.sum() / counts_U.sum())
        if metric_key_prefix != "eval":
            return found
        found.metrics.update(self.turning.advance(sums_U, counts_U))
        weigh(self._metrics["eval"], self.sizes, self.own_sizes)
        noted = {name: list(values) for name, values in self._metrics["eval"].items()}  # TRL's, of these rows alone
        for name, rows in self.beside.items():
            loader, key = self.get_eval_dataloader(rows), f"eval_{name}"
            found.metrics[f"{key}_loss"] = self.evaluation_loop(loader, name, True, ignore_keys, key).metrics[f"{key}_loss"]
        self._metrics["eval"].clear()
        self._metrics["eval"].update(noted)
        return found

    def trained_parameters(self) -> list:
        """What the optimizer changes."""
        return list(self.model.parameters())

    def probe(self) -> float:
        """Loss on the first rows in evaluation mode: tells a restored model from another, draws nothing, leaves no trace."""
        return first_batch(self, min(2, len(self.train_dataset)))[0]

    def _send_telemetry(self) -> None:
        """Nothing is sent."""

    def create_model_card(self, *args, **kwargs) -> None:
        """The model card is written once, from the manifest; TRL would write one at every checkpoint."""


def weigh(figures: dict[str, list[float]], sizes: list[float], own_sizes: dict[str, list[float]]) -> None:
    """Puts one number in place of each figure's list over batches: the mean by the batches' sizes, or the extreme that it is.

    own_sizes: of figures that are means over something else than the rest (tokens, where the others are over pairs). A list
    that is not one of these batches (a counter) is left as it is.
    """
    extremes = {"min_reward": min, "max_reward": max}
    for name, values in figures.items():
        weights = own_sizes.get(name, sizes)
        if len(values) == len(weights):
            figures[name] = [extremes[name](values) if name in extremes else float(np.average(values, weights=weights))]


class SftTrainer(Seams, SFTTrainer):
    """Supervised tuning on rows with `input_ids` and `labels`."""

    def __init__(self, *args, label_smoothing: float = 0.0, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        attach_label_head(self.model)
        if label_smoothing:
            attach_smoothing(self.model, label_smoothing)
        self.token_losses: list[tuple[float, float]] = []
        self.model.register_forward_hook(self._by_row)

    def _by_row(self, model, args, output) -> None:
        """Of each held-out row the summed loss and the number of its trained tokens."""
        if not model.training and getattr(output, "log_probs", None) is not None:
            nats, tokens = -output.log_probs.sum(1), output.label_mask.sum(1)
            self.token_losses = list(zip(nats.tolist(), tokens.tolist(), strict=True))

    def measured(self, loss, rows: int) -> list[tuple[float, float]]:
        return self.token_losses


class PairRewardTrainer(Seams, RewardTrainer):
    """Reward training on rows with `chosen_ids` and `rejected_ids`."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.scores_2B: torch.Tensor | None = None
        self.margin_B: torch.Tensor | None = None
        self.model.register_forward_hook(self._remember)

    def _remember(self, model, args, output) -> None:
        if not model.training:
            self.scores_2B = output.logits.squeeze(-1).float()

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        margin_B = inputs.get("margin")
        self.margin_B = None if margin_B is None else margin_B.to(self.args.device)
        return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)

    def measured(self, loss, rows: int) -> list[tuple[float, float]]:
        chosen_B, rejected_B = self.scores_2B.chunk(2)
        losses_B = bradley_terry_losses(chosen_B, rejected_B, self.margin_B)
        if weight := self.args.center_rewards_coefficient:
            losses_B = losses_B + weight * centering_penalties(chosen_B, rejected_B)
        return [(value, 1.0) for value in losses_B.tolist()]


class PairDpoTrainer(Seams, DPOTrainer):
    """DPO on rows that are rendered already: `prompt_ids`, `chosen_ids`, `rejected_ids`."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        attach_label_head(self.model)
        if self.ref_model is not None:
            attach_label_head(self.accelerator.unwrap_model(self.ref_model))

    def _prepare_dataset(self, dataset, *args, **kwargs):
        # TRL's own version only takes text and would render it a second time, by other rules.
        return dataset

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        for name, tokens in self._tokens_of(inputs["completion_mask"]).items():
            self.own_sizes.setdefault(name, []).append(tokens)
        return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)

    def _tokens_of(self, completed_2BT: torch.Tensor) -> dict[str, float]:
        """Over how many tokens of a batch, of all processes, TRL averages each of its figures that are means over tokens."""
        chosen, rejected = (side[:, 1:].sum().reshape(1) for side in completed_2BT.to(self.args.device).chunk(2))
        chosen, rejected = (self.accelerator.gather_for_metrics(count).sum().item() for count in (chosen, rejected))
        sizes = {"logits/chosen": chosen, "logits/rejected": rejected, "mean_token_accuracy": chosen}
        return {**sizes, "entropy": chosen + rejected}
