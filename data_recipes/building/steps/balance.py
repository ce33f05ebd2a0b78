"""No value of a column, and no source, much more frequent than the rarest."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from data_recipes.building.steps.base import Build, Event, Selection
from data_recipes.building.steps.groups import numbered
from data_recipes.building.table import Rows, mix_bits, rank


def balance(build: Build, rows: Rows, *, by: str, max_ratio: Annotated[float, Field(ge=1)] = 1.0) -> Selection:
    """Drops rows of the frequent values, as the seed draws; after a split, of the training rows alone.

    Args:
        by: "source", or a column such as "label" or "category". max_ratio: of the most frequent value to the rarest.
    """
    group, names = numbered(build, rows, by)
    train = rows.table["side"] == 0
    counts = np.bincount(group[train], minlength=len(names))
    most = int(counts[counts > 0].min(initial=len(rows)) * max_ratio)
    kept = ~train
    kept[train] = rank(group[train], mix_bits(rows.table["row"][train], build.seed)) < most
    numbers = rows.table["row"]
    events = (Event(int(numbers[at]), "dropped", "over-represented", f"more than {most} rows with {by} {names[group[at]]}")
              for at in np.flatnonzero(~kept).tolist())
    facts = {"by": by, "before": dict(zip(names, counts.tolist(), strict=True)), "at_most": most}
    return Selection(rows.chosen(kept), events, facts)
