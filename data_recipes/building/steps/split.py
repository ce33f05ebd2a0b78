"""Held-out rows by prompt: rows whose prompts are the same or nearly the same are always on the same side."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from data_recipes import near
from data_recipes.building.steps.base import Build, Event, Selection
from data_recipes.building.steps.groups import numbered
from data_recipes.building.steps.near_dedup import prepared
from data_recipes.building.table import SIDES, Rows, mix_bits
from data_recipes.dedup import Groups, linked
from data_recipes.errors import Refused

Share = Annotated[float, Field(ge=0, lt=1)]


def split(
    build: Build, rows: Rows, *, validation: Share = 0.05, test: Share = 0.0,
    near_prompts: Annotated[float, Field(gt=0, le=1)] | None = near.THRESHOLD, together: list[str] = [],  # noqa: B006
) -> Selection:
    """Draws whole clusters of prompts for validation and test; where a cluster is larger than the side, it stays in train.

    A cluster's draw depends on its own prompts and the seed. The shares are therefore met on average only.

    Args:
        validation, test: the shares of the rows that are held out.
        near_prompts: the similarity from which two prompts (their openings) are linked; null links equal ones alone.
        together: columns, such as a conversation's id, whose equal values are linked, too.
    """
    if validation + test >= 1:
        raise Refused("validation and test leave nothing to train on", where="split",
                      expected="shares that add up to less than 1")
    cluster, key = _clusters(build, rows, near_prompts, together)
    size = np.bincount(cluster, minlength=len(rows))
    side, facts = np.zeros(len(rows), np.int32), {}
    drawn = mix_bits(key, build.seed) / 2.0**64
    start = 0.0
    for name, share in (("validation", validation), ("test", test)):
        if share:
            taken, facts[name] = _taken(drawn, cluster, size, side == 0, start, share)
            side[taken] = SIDES.index(name)
        start += share
    table = rows.table.copy()
    table["side"] = side
    facts = {"clusters": int((size > 0).sum()), "largest_cluster": int(size.max(initial=0)), **facts}
    return Selection(Rows(rows.store, table), _events(rows, cluster, side), facts)


def _clusters(build: Build, rows: Rows, threshold: float | None, together: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Each row's cluster, named by a place in the rows, int (N,); and the key of each row's cluster, uint64 (N,)."""
    groups = Groups(len(rows))
    keys = np.frombuffer(b"".join(key for _, key in build.each(
        "data_recipes.building.steps.groups:value", {"per": "prompt"}, rows)), np.dtype("S16"))
    groups.join_equal(keys)
    for column in together:
        number, names = numbered(build, rows, column)
        alone = np.array([name == "(none)" for name in names])[number]
        groups.join_equal(np.where(alone, -1 - np.arange(len(rows)), number))
    if threshold is not None:
        with prepared(build, rows, "opening") as held:
            for at, first in enumerate(linked(held, threshold).tolist()):
                groups.join(at, first)
    cluster = groups.first()
    # the smallest key of a cluster names it, whatever order its rows come in
    order = np.lexsort((keys, cluster))
    _, first, which = np.unique(cluster[order], return_index=True, return_inverse=True)
    named = np.empty(len(rows), np.uint64)
    smallest = np.frombuffer(keys[order][first].tobytes(), np.uint64)[::2]
    named[order] = smallest[which]
    return cluster, named


def _taken(drawn: np.ndarray, cluster: np.ndarray, size: np.ndarray, free: np.ndarray, start: float, share: float):
    """Rows of a side, bool (N,), and facts: clusters that draw a number in its range and are no larger than it."""
    fits = free & (size[cluster] <= max(1.0, share * len(drawn)))
    wanted = free & (drawn >= start) & (drawn < start + share)
    taken = wanted & fits
    if not taken.any() and (free & fits).any() and len(np.unique(cluster)) > 1:
        lowest = np.flatnonzero(free & fits)[np.argmin(drawn[free & fits])]
        taken = cluster == cluster[lowest]
    facts: dict[str, Any] = {"planned_share": share, "rows": int(taken.sum()), "share": round(float(taken.mean()), 4)}
    if stay := int((wanted & ~fits).sum()):
        facts["too_large_to_hold_out"] = stay
    return taken, facts


def _events(rows: Rows, cluster: np.ndarray, side: np.ndarray):
    numbers = rows.table["row"]
    for at in np.flatnonzero(side).tolist():
        yield Event(int(numbers[at]), SIDES[side[at]], "", f"with the prompts like row {int(numbers[cluster[at]])}'s")
