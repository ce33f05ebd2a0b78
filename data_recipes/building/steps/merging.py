"""What `dedup` and `near_dedup` share: from "this row is like that one" to the rows that stay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from data_recipes.building.steps.base import Event, Selection
from data_recipes.building.table import Rows

Keep = Literal["first", "longest"]


def merged(rows: Rows, leader: np.ndarray, others: list[str], keep: Keep, score: np.ndarray | None = None) -> Selection:
    """Keeps one row of each group, and none of a group that another file's row leads.

    Args:
        leader: for the rows of other files, then for ours: the first of each one's group, int (len(others) + len(rows),).
        others: the places of the rows of other files. score: how like its leader each is, of the same shape.
    """
    stays = leader[len(others):].astype(np.int64) - len(others)
    if keep == "longest":
        stays = np.where(stays < 0, stays, _longest(rows, stays))
    kept = stays == np.arange(len(rows))
    similar = None if score is None else score[len(others):]
    groups = np.unique(stays[~kept & (stays >= 0)])
    facts = {"clusters": len(groups), "in_other_files": int((stays < 0).sum())}
    return Selection(rows.chosen(kept), _events(rows, stays, kept, others, similar), facts)


def _longest(rows: Rows, group: np.ndarray) -> np.ndarray:
    """The place of the longest line of each row's group; of two alike, the earlier."""
    lengths = np.array([len(line) for _, line in rows.lines()])
    order = np.lexsort((-lengths, group))
    _, first, which = np.unique(group[order], return_index=True, return_inverse=True)
    longest = np.empty_like(group)
    longest[order] = order[first[which]]
    return longest


def _events(rows: Rows, stays: np.ndarray, kept: np.ndarray, others: list[str], score) -> Iterator[Event]:
    numbers = rows.table["row"]
    for at in np.flatnonzero(~kept).tolist():
        like = "equal" if score is None else f"similarity {score[at]:.2f}"
        if stays[at] < 0:
            yield Event(int(numbers[at]), "dropped", "in-other-file", f"{like} to {others[int(stays[at])]}")
        else:
            yield Event(int(numbers[at]), "merged", "duplicate" if score is None else "near-duplicate", like,
                        int(numbers[stays[at]]))
