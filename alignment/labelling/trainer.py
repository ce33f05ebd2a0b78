"""The trainer of `align classify`: transformers' Trainer with the suite's seams and a loss that is the mean of a whole step.

`tests/alignment/labelling/test_trainer.py` has the contract: what transformers calls by name, and that a step cut into several
micro-batches has the gradient of the whole one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from peft import PeftModel
from transformers import Trainer

from data_recipes.errors import Failed
from data_recipes.labels import Problem

from alignment.adapters.weights import head_modules
from alignment.labelling.loss import balanced, balanced_labels, class_loss, labels_loss, number_loss
from alignment.models import distance, tolerance_of
from alignment.training.trainers import Seams


class LabelTrainer(Seams, Trainer):
    """A classifier's training on rows of `input_ids` and `labels`."""

    def __init__(self, *args, **kwargs) -> None:
        self._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._total_train_tokens = 0
        super().__init__(*args, **kwargs)
        # of the model's own loss function, which is not used here; a label of words is not shifted
        self.model_accepts_loss_kwargs = self._loss_shifts_labels = False

    def training_step(self, model, inputs, num_items_in_batch=None):
        seen = self.accelerator.gather(inputs["attention_mask"].sum().to(self.args.device)).sum()
        self._total_train_tokens += int(seen)
        return super().training_step(model, inputs, num_items_in_batch)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        self.labelled = int(items_of(inputs["labels"]))
        return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)

    def measured(self, loss, rows: int) -> list[tuple[float, float]]:
        return [(loss.item() * self.labelled, self.labelled)]  # of words: rows have different numbers of them

    def log(self, logs: dict, start_time: float | None = None) -> None:
        if "loss" in logs:
            logs = {**logs, "num_tokens": self._total_train_tokens}
        super().log(logs, start_time)


def loss_of(problem: Problem, weights: torch.Tensor | None, smoothing: float = 0.0) -> Callable:
    """`compute_loss_func` for the Trainer: the sum of a micro-batch over the items of the whole step."""

    def compute(output, labels, num_items_in_batch=None):
        logits, where = of_tokens(output["logits"], labels.shape[-1]), labels.device
        weights_here = None if weights is None else weights.to(where)
        if problem.task == "regression":
            total = number_loss(logits.squeeze(-1), labels)
        elif problem.task == "multi":
            total = labels_loss(logits, labels, weights_L=weights_here, smoothing=smoothing)
        else:
            classes = logits.shape[-1]
            total = class_loss(logits.reshape(-1, classes), labels.reshape(-1), weights_C=weights_here, smoothing=smoothing)
        return total / (items_of(labels) if num_items_in_batch is None else num_items_in_batch)

    return compute


def of_tokens(logits: torch.Tensor, length: int) -> torch.Tensor:
    """The outputs of a text's own tokens: prompt tuning puts trained positions before them, of which PEFT gives outputs too."""
    return logits[:, -length:] if logits.dim() == 3 else logits


def items_of(labels: torch.Tensor) -> torch.Tensor:
    """What the Trainer counts too: labels that carry loss."""
    return labels.ne(-100).sum()


def class_weights(asked, problem: Problem, targets: list) -> torch.Tensor | None:
    """The weight of each class, float32: none, as asked, or so that rare classes count as much as common ones.

    targets: of the training rows, see `data_recipes.labels`.
    """
    if asked == "none" or problem.task == "regression":
        return None
    if asked != "balanced":
        return torch.tensor(asked, dtype=torch.float32)
    places = targets if problem.task == "single" else [place for target in targets for place in target]
    counts = torch.bincount(torch.tensor(places, dtype=torch.long), minlength=len(problem.names))
    return balanced_labels(counts, len(targets)) if problem.task == "multi" else balanced(counts)


def float_heads(model: torch.nn.Module) -> None:
    """Makes what is trained of a head float32, whatever the trunk's dtype: in bf16 AdamW's small updates would vanish.

    Hooks hand its layers float32 hidden states.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    for name in head_modules(base):
        for layer in base.get_submodule(name).modules():
            if isinstance(layer, torch.nn.Linear) and layer.weight.requires_grad and layer.weight.dtype != torch.float32:
                layer.float()
                layer.register_forward_pre_hook(lambda module, inputs: tuple(x.to(module.weight.dtype) for x in inputs))


@torch.no_grad()
def padded_equals_alone(model: torch.nn.Module, collator, rows: list[dict]) -> float:
    """What a row gives in a padded batch is what it gives alone, at its last token for labels of words.

    Returns the largest distance relative to the outputs. Raises Failed beyond the noise of the weights' dtype.
    """
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    batch = {key: value.to(device) for key, value in collator(rows).items() if key != "labels"}
    logits = model(**batch).logits
    if logits.dim() == 3:
        logits = of_tokens(logits, batch["input_ids"].shape[1])
        logits = logits[torch.arange(len(rows)), batch["attention_mask"].sum(-1) - 1]
    alone = []
    for row in rows:
        single = {key: value.to(device) for key, value in collator([row]).items() if key != "labels"}
        given = model(**single).logits
        alone.append(given[:, -1] if given.dim() == 3 else given)
    model.train(was_training)
    found = distance(torch.cat(alone).float(), logits.float())
    if not found <= tolerance_of(model):
        raise Failed(
            f"step 0: a padded row differs by {found:.2e} from the same row alone",
            expected=f"at most {tolerance_of(model):.0e}",
            do="The model's padding token, attention mask or positions are not what its config says.",
        )
    return found

