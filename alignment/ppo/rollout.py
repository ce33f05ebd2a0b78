"""One rollout: the rows that the policy wrote, with what PPO knows of each action; and how they are dealt out.

Rows are packed to the right of nothing: prompt and completion follow each other from the first column, so that models with
learned positions see the positions of a row alone. Every process holds the whole rollout (a few numbers a token), so that
advantages are whitened over all of it, and any process may train on any row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

IGNORED = -100


@dataclass
class Row:
    """One answer.

    prompt: number of the prompt in the training rows. actions: which completion tokens the policy chose (a tool's answer
    is not chosen). rewards: by source, None where the source is not asked yet. correction: importance weights, by action.
    said: with tools, the answer as messages: calls, results, last words.
    """

    prompt: int
    prompt_ids: list[int]
    completion_ids: list[int]
    actions: list[bool]
    stopped: bool
    rewards: list[float]
    correction: list[float] | None = None
    said: list[dict] | None = None

    @property
    def ids(self) -> list[int]:
        return self.prompt_ids + self.completion_ids

    @property
    def places(self) -> list[int]:
        """Columns of the actions in `ids`."""
        start = len(self.prompt_ids)
        return [start + t for t, chosen in enumerate(self.actions) if chosen]


@dataclass
class Rollout:
    """Rows of all processes and, per action, shape (R, T): log-probabilities, values, advantages, returns."""

    number: int
    rows: list[Row]
    keep: Tensor
    figures: dict[str, Tensor] = field(default_factory=dict)
    stopped_update: bool = False

    def __len__(self) -> int:
        return len(self.rows)


@dataclass
class MicroBatch:
    """Rows for one forward pass.

    ids_BT, real_BT: tokens and which are no padding, on the right. labels_BT: the actions' tokens, IGNORED elsewhere.
    places_BA: column of each action's token, keep_BA: which entries are actions; A is the largest number of actions.
    """

    indices: list[int]
    ids_BT: Tensor
    real_BT: Tensor
    labels_BT: Tensor
    places_BA: Tensor
    keep_BA: Tensor

    def at_actions(self, before_BT: Tensor) -> Tensor:
        """What stands at the column *before* each action (where its token is predicted), shape (B, A) or (B, A, H)."""
        before_BA = (self.places_BA - 1).clamp(min=0)
        if before_BT.ndim == 3:
            return before_BT.gather(1, before_BA[..., None].expand(-1, -1, before_BT.shape[-1]))
        return before_BT.gather(1, before_BA)


def keep_of(rows: list[Row]) -> Tensor:
    """True where a row has an action, packed to the left, shape (R, T)."""
    counts = [sum(row.actions) for row in rows]
    return torch.arange(max(counts))[None, :] < torch.tensor(counts)[:, None]


def micro_batch(rows: list[Row], indices: list[int], pad_id: int, device) -> MicroBatch:
    """The rows with these numbers as tensors, padded on the right to the longest of them."""
    chosen = [rows[i] for i in indices]
    width, most = max(len(row.ids) for row in chosen), max(len(row.places) for row in chosen)
    ids_BT = torch.full((len(chosen), width), pad_id)
    labels_BT = torch.full((len(chosen), width), IGNORED)
    places_BA = torch.zeros((len(chosen), most), dtype=torch.long)
    for b, row in enumerate(chosen):
        ids, places = torch.tensor(row.ids), torch.tensor(row.places, dtype=torch.long)
        ids_BT[b, : len(ids)] = ids
        labels_BT[b, places] = ids[places]
        places_BA[b, : len(places)] = places
    real_BT = torch.arange(width)[None, :] < torch.tensor([len(row.ids) for row in chosen])[:, None]
    keep_BA = torch.arange(most)[None, :] < torch.tensor([len(row.places) for row in chosen])[:, None]
    return MicroBatch(indices, *(x.to(device) for x in (ids_BT, real_BT, labels_BT, places_BA, keep_BA)))


def prompt_numbers(number: int, *, prompts: int, rows: int, samples: int, seed: int) -> list[int]:
    """Which prompts rollout `number` answers: the next ones of a permutation for each pass, a pure function of the seed.

    Each prompt stands `samples` times in a row; `rows` is a multiple of `samples`.
    """
    each = rows // samples
    wanted = range(number * each, (number + 1) * each)
    passes = {place // prompts for place in wanted}
    orders = {p: np.random.default_rng([seed, 1, p]).permutation(prompts) for p in passes}
    return [int(orders[place // prompts][place % prompts]) for place in wanted for _ in range(samples)]


@dataclass(frozen=True)
class Deal:
    """How a rollout is dealt out: `epochs` passes in minibatches of `batch` rows, in micro-batches of `micro` a process."""

    rows: int
    batch: int
    micro: int
    epochs: int
    seed: int
    world: int = 1
    grouped: bool = True

    @property
    def steps(self) -> int:
        """Optimizer steps a rollout."""
        return self.epochs * (self.rows // self.batch)

    def minibatch(self, number: int, step: int) -> list[int]:
        """Rows of optimizer step `step` (from 0) of rollout `number`, all processes together."""
        epoch, place = divmod(step, self.rows // self.batch)
        order = np.random.default_rng([self.seed, 2, number, epoch]).permutation(self.rows)
        return [int(i) for i in order[place * self.batch : (place + 1) * self.batch]]

    def micro_batches(self, number: int, step: int, lengths: list[int], rank: int = 0) -> list[list[int]]:
        """The minibatch's rows of one process; rows of like length together, the longest first, if `grouped`."""
        ordered = self.minibatch(number, step)
        if self.grouped:
            ordered = sorted(ordered, key=lambda i: (-lengths[i], i))
        mine = ordered[rank :: self.world]
        return [mine[start : start + self.micro] for start in range(0, len(mine), self.micro)]

    def first_pass(self, number: int, lengths: list[int], rank: int = 0) -> Iterator[list[int]]:
        """The micro-batches of the first pass: scored in these very shapes, the first ratio is exactly 1."""
        for step in range(self.rows // self.batch):
            yield from self.micro_batches(number, step, lengths, rank)
