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

    The first step of all holds the longest row, so that memory that is too small shows at once and not after hours.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    size = np.asarray(lengths)
    if grouped:
        order = _like_lengths_together(order, size, batch, random)
    return order if epoch else _longest_first(order, size, batch)


def _like_lengths_together(order: np.ndarray, size: np.ndarray, batch: int, random: np.random.Generator) -> np.ndarray:
    windows = [order[start : start + WINDOW * batch] for start in range(0, len(order), WINDOW * batch)]
    order = np.concatenate([window[np.argsort(-size[window], kind="stable")] for window in windows])
    whole = len(order) // batch
    steps = order[: whole * batch].reshape(whole, batch)[random.permutation(whole)]
    return np.concatenate([steps.reshape(-1), order[whole * batch :]])


def _longest_first(order: np.ndarray, size: np.ndarray, batch: int) -> np.ndarray:
    """The step with the longest row changes places with the first one; a row of the smaller last step with the first row."""
    place = int(np.argmax(size[order]))
    start, step = place // batch * batch, min(batch, len(order))
    moved = order.copy()
    if start + batch <= len(order):
        moved[:step], moved[start : start + step] = order[start : start + step], order[:step]
    else:
        moved[0], moved[place] = order[place], order[0]
    return moved


def of_epoch(own: int, general: int, drawn: int, epoch: int) -> np.ndarray:
    """Row numbers of an epoch, shape (own + drawn,): all of the stage's own, and the next `drawn` general ones in a circle."""
    if not drawn:
        return np.arange(own)
    return np.concatenate([np.arange(own), own + (epoch * drawn + np.arange(drawn)) % general])


class EpochOrder(Sampler[int]):
    """A sampler over `epoch_order`; `epoch` is set by a callback at the beginning of each epoch.

    general: how many rows at the end are general ones, of which each epoch takes the next `drawn`.
    """

    def __init__(
        self, lengths: list[int], *, batch: int, seed: int, grouped: bool, general: int = 0, drawn: int = 0
    ) -> None:
        self.lengths, self.batch, self.seed, self.grouped = np.asarray(lengths), batch, seed, grouped
        self.general, self.drawn, self.epoch = general, drawn, 0

    def __len__(self) -> int:
        return len(self.lengths) - self.general + self.drawn

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows(self.epoch).tolist())

    def rows(self, epoch: int) -> np.ndarray:
        """Row numbers of an epoch as they are trained, shape (len(self),)."""
        rows = of_epoch(len(self.lengths) - self.general, self.general, self.drawn, epoch)
        lengths = self.lengths[rows].tolist()
        return rows[epoch_order(lengths, batch=self.batch, seed=self.seed, epoch=epoch, grouped=self.grouped)]
