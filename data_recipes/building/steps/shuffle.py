"""Another order, drawn from the seed."""

from __future__ import annotations

import numpy as np

from data_recipes.building.steps.base import Build, Selection
from data_recipes.building.table import Rows, mix_bits, rank


def shuffle(build: Build, rows: Rows) -> Selection:
    """Orders the rows by what each draws; a row's draw does not depend on the others."""
    drawn = mix_bits(rows.table["row"] + (rank(rows.table["row"]) << 32), build.seed)  # copies draw by their number
    return Selection(rows.chosen(np.argsort(drawn, kind="stable")))
