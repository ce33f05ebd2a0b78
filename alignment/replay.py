"""Replay of general rows against forgetting: a share of each epoch comes from another source. Light until rows are rendered.

A little of the old data mixed into the new keeps most of what was known (Scialom et al. 2022, arXiv 2205.12393: 1 % replay;
Ibrahim et al. 2024, arXiv 2403.08763: 5 % and more for a strong shift). Which rows an epoch takes depends on seed and epoch
alone, so that a run resumes exactly. Some rows are held out of the source, and their loss is measured at each evaluation.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from data_recipes.readers import read
from data_recipes.split import by_prompt, prompt_key

from alignment.data import Rendered, RowSet

PART = "replay"  # of ledgers and counts
HELD_OUT = 256  # general rows at most whose loss is measured


def each_epoch(rows: int, share: float) -> int:
    """General rows of an epoch, so that they are `share` of all: share / (1 - share) of the stage's own."""
    return max(1, round(rows * share / (1 - share)))


def needed(rows: int, config) -> int:
    """How many different general rows the whole run can use."""
    training, each = config.training, each_epoch(rows, config.data.replay.share)
    epochs = training.epochs
    if training.max_steps:
        epochs = training.max_steps * training.batch_size / (rows + each)
    return each * math.ceil(epochs)


def read_replay(config, rows: RowSet, private, *, seed: int) -> RowSet:
    """The stage's rows with general ones beside them: `replay` to draw from, `replay_held_out` to measure.

    A general row whose prompt is held out of the stage's own rows is left out, and so is a held-out one whose prompt the
    stage trains on: nothing that is measured is trained on.
    seed: of the split; the rows that are drawn follow training.seed.
    """
    section = config.data
    found = read(section.replay.source, "demonstrations", max_rejected=section.max_rejected)
    found.ledger.check(section.max_rejected, private)
    seen = {prompt_key(record) for record in rows.validation}
    general = [record for record in found.records if prompt_key(record) not in seen]
    notes = list(rows.notes)
    if dropped := len(found.records) - len(general):
        notes.append(f"{dropped} general rows have a prompt that is held out, and are left out")
    general, held_out = by_prompt(general, section.validation_share, seed)
    trained = {prompt_key(record) for record in rows.train}
    held_out = [record for record in held_out if prompt_key(record) not in trained]
    random = np.random.default_rng([config.training.seed, len(found.records)])
    count = min(len(general), needed(len(rows.train), config))
    drawn = [general[i] for i in random.permutation(len(general))[:count]]
    wanted = each_epoch(len(rows.train), section.replay.share)
    if count < wanted:
        notes.append(f"{count} general rows for {wanted} places an epoch: each is trained on {wanted / count:.1f} times in it")
    return replace(rows, replay=drawn, replay_held_out=held_out[:HELD_OUT], notes=notes,
                   ledgers={**rows.ledgers, PART: found.ledger})


def mixed(train: Rendered, general: Rendered, share: float) -> Rendered:
    """Both parts as one, the general rows last; an epoch takes all of the first and `each` of the others."""
    start = len(train)
    columns = {name: [*values, *general.columns[name]] for name, values in train.columns.items()}
    columns["row"] = list(range(start + len(general)))
    counts = {**train.counts, **{f"{PART}_{name}": amount for name, amount in general.counts.items()}}
    each = each_epoch(start, share)
    return replace(train, columns=columns, names=[*train.names, *general.names], counts=counts,
                   general=len(general), drawn=each)


def replay_counts(train: Rendered) -> dict[str, int]:
    """Rows and tokens of the general part alone."""
    return {name.removeprefix(f"{PART}_"): amount for name, amount in train.counts.items() if name.startswith(f"{PART}_")}
