"""The losses of classifiers: pure tensor functions."""

from __future__ import annotations

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from alignment.data import IGNORED


def class_loss(logits_NC, target_N, *, weights_C=None, smoothing: float = 0.0) -> torch.Tensor:
    """Sum over rows of w[y] * -log softmax(z)[y]; a target of -100 adds nothing.

    With smoothing s the target is 1 - s + s / C on the class and s / C on the others (Szegedy et al. 2016, arXiv 1512.00567,
    section 7), each weighted by its own class.

    Args:
        logits_NC: shape (N, C). target_N: places of the true classes, shape (N,).
    """
    assert logits_NC.dim() == 2 and target_N.shape == logits_NC.shape[:1], (logits_NC.shape, target_N.shape)
    return cross_entropy(
        logits_NC.float(), target_N, weight=weights_C, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
    )


def labels_loss(logits_NL, target_NL, *, weights_L=None, smoothing: float = 0.0) -> torch.Tensor:
    """Sum over rows and labels of -(w y log p + (1 - y) log(1 - p)), p = sigmoid(z); smoothing moves y by s / 2 to the middle.

    Args:
        logits_NL, target_NL: shape (N, L), targets 0 or 1. weights_L: weight of a label that holds, shape (L,).
    """
    assert logits_NL.shape == target_NL.shape and logits_NL.dim() == 2, (logits_NL.shape, target_NL.shape)
    target_NL = target_NL.float() * (1 - smoothing) + smoothing / 2
    return binary_cross_entropy_with_logits(logits_NL.float(), target_NL, pos_weight=weights_L, reduction="sum")


def number_loss(values_N, target_N) -> torch.Tensor:
    """Sum over rows of (f - y)^2. Both of shape (N,)."""
    assert values_N.shape == target_N.shape and values_N.dim() == 1, (values_N.shape, target_N.shape)
    return ((values_N.float() - target_N.float()) ** 2).sum()


def balanced(counts_C: torch.Tensor) -> torch.Tensor:
    """Weights N / (C n_c), whose mean over rows is 1; a class without rows weighs as much as one with a single row."""
    counts_C = counts_C.double()
    return (counts_C.sum() / (len(counts_C) * counts_C.clamp(min=1))).float()


def balanced_labels(held_L: torch.Tensor, rows: int) -> torch.Tensor:
    """For each label, rows without it over rows with it: both then count the same."""
    held_L = held_L.double()
    return ((rows - held_L).clamp(min=1) / held_L.clamp(min=1)).float()
