"""At most so many rows of each prompt, source, or value of a column."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from data_recipes.building.steps.base import Build, Event, Selection
from data_recipes.building.steps.groups import numbered
from data_recipes.building.table import Rows, mix_bits, rank


def cap(
    build: Build, held: Rows, *, rows: Annotated[int, Field(ge=1)], per: str = "prompt",
    keep: Literal["first", "random"] = "first",
) -> Selection:
    """Drops what is too much of one prompt, source or value; after a split, of the training rows alone.

    Args:
        rows: how many of each may stay.
        per: "prompt" (as it opens the row), "source", or the name of a column that the rows have.
        keep: which of them stay: the first in the present order, or those that the seed draws.
    """
    group, names = numbered(build, held, per)
    order = None if keep == "first" else mix_bits(held.table["row"], build.seed)
    kept = (rank(group, order) < rows) | (held.table["side"] != 0)
    numbers = held.table["row"]
    said = {number: f"{per} {name}" for number, name in enumerate(names)}
    events = [
        Event(int(numbers[at]), "dropped", "over-cap", f"more than {rows} rows of {said.get(int(group[at]), 'one prompt')}")
        for at in np.flatnonzero(~kept).tolist()
    ]
    return Selection(held.chosen(kept), events)
