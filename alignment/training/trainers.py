"""TRL's trainers with the seams that the suite leans on. The only file that subclasses them.

Each override below is a method that TRL or transformers calls by name; `tests/alignment/test_contracts.py` holds a test
for each that fails first when one of them moves.
"""

from __future__ import annotations

from typing import Any

from torch.utils.data import Sampler
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import DPOTrainer, RewardTrainer, SFTTrainer

from alignment.invariants import first_batch
from alignment.training.label_head import attach_label_head

ROWS = "row_ids"


class RowCollator:
    """Wraps a collator so that each batch says which rows it holds; a guard can then name them."""

    def __init__(self, inner) -> None:
        self.inner = inner

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        batch = self.inner(examples)
        if "row" in examples[0]:  # packed rows have lost their number
            batch[ROWS] = torch.tensor([example["row"] for example in examples])
        return batch


class Seams:
    """Mixed into TRL's trainers: our order of rows, row numbers per step, no telemetry, no files of TRL's own."""

    order: Sampler | None = None
    own_clock = False  # whether the trainer itself decides which rows a step trains

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.data_collator = RowCollator(self.data_collator)
        self.step_rows: list = []
        self.step_losses: list = []
        for printing in (PrinterCallback, ProgressCallback):  # they write to standard output, which is for results
            self.remove_callback(printing)

    def _get_train_sampler(self, train_dataset=None) -> Sampler | None:
        return self.order

    def training_step(self, model, inputs, num_items_in_batch=None):
        self.step_rows.append(inputs.pop(ROWS, None))
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.step_losses.append(loss.detach())
        return loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs.pop(ROWS, None)
        return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)

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


class SftTrainer(Seams, SFTTrainer):
    """Supervised tuning on rows with `input_ids` and `labels`."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        attach_label_head(self.model)


class PairRewardTrainer(Seams, RewardTrainer):
    """Reward training on rows with `chosen_ids` and `rejected_ids`."""


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
