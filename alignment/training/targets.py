"""Batches of an encoder-decoder model, and the loss on its answers.

The loss is cross entropy on the answers' tokens, averaged over those of an effective batch, as for decoder-only models.
The model's own loss is a mean over a micro-batch: accumulated, it would weigh short answers more than long ones.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F

from reward.scalar import pad_right

from alignment.data import IGNORED


def target_loss(outputs: Any, labels_BT: Tensor, num_items_in_batch: Any = None, *, smoothing: float = 0.0) -> Tensor:
    """-sum over labelled positions of log p(label) over the number of labels of the whole effective batch.

    num_items_in_batch: that number; None counts those of this batch. smoothing: share of the label that all tokens divide
    (Szegedy et al. 2016, section 7).
    """
    logits_BTV = outputs.logits[:, -labels_BT.shape[1] :].float()
    count = (labels_BT != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
    total = F.cross_entropy(
        logits_BTV.flatten(0, 1), labels_BT.flatten(), ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
    )
    return total / count


class TargetCollator:
    """Pads inputs on the right, and labels with no loss; what the decoder reads are the labels, shifted by the model's rule."""

    def __init__(self, model: torch.nn.Module, pad_id: int) -> None:
        self.shift = (model.get_base_model() if isinstance(model, PeftModel) else model).prepare_decoder_input_ids_from_labels
        self.pad_id = pad_id

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        targets = [list(example["labels"]) for example in examples]
        width = max(map(len, targets))
        labels_BT = torch.tensor([ids + [IGNORED] * (width - len(ids)) for ids in targets])
        inputs = pad_right([list(example["input_ids"]) for example in examples], self.pad_id, torch.device("cpu"))
        return {**inputs, "labels": labels_BT, "decoder_input_ids": self.shift(labels=labels_BT)}
