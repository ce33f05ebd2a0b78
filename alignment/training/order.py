"""The order in which rows are trained, a pure function of seed and epoch.

transformers' own length-grouped sampler draws from a generator that knows no epoch, so a run that resumes in a later epoch
sees another order. Here the permutation of an epoch depends on (seed, epoch) alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

WINDOW = 50  # effective batches among which rows are sorted: little padding, and still well mixed


def epoch_order(lengths: list[int], *, batch: int, seed: int, epoch: int, grouped: bool) -> np.ndarray:
    """Row indices for one epoch, shape (rows,).

    Args:
        lengths: tokens of each row. batch: rows of one optimizer step.
        grouped: rows of like length share a step; the steps themselves come in random order, so that length does not
            follow the learning-rate schedule. The last, smaller step stays last.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    if not grouped:
        return order
    size = np.asarray(lengths)
    windows = [order[start : start + WINDOW * batch] for start in range(0, len(order), WINDOW * batch)]
    order = np.concatenate([window[np.argsort(-size[window], kind="stable")] for window in windows])
    whole = len(order) // batch
    steps = order[: whole * batch].reshape(whole, batch)[random.permutation(whole)]
    return np.concatenate([steps.reshape(-1), order[whole * batch :]])


class EpochOrder(Sampler[int]):
    """A sampler over `epoch_order`; `epoch` is set by a callback at the beginning of each epoch."""

    def __init__(self, lengths: list[int], *, batch: int, seed: int, grouped: bool) -> None:
        self.lengths, self.batch, self.seed, self.grouped = lengths, batch, seed, grouped
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self.lengths, batch=self.batch, seed=self.seed, epoch=self.epoch, grouped=self.grouped)
        return iter(order.tolist())
