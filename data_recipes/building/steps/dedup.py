"""Equal rows are merged into one: equal but for letters' case and spaces."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from data_recipes.building import other_rows
from data_recipes.building import rows as parts
from data_recipes.building.steps.base import Build, InputFiles, Selection, first_of_each
from data_recipes.building.steps.merging import Keep, merged
from data_recipes.building.table import Rows


def dedup(
    build: Build, rows: Rows, *, on: parts.Part = "row", keep: Keep = "first", against: InputFiles = [],  # noqa: B006
) -> Selection:
    """Keeps one of each group of equal rows.

    Args:
        on: what has to be equal: the whole row, its prompt or its answers.
        keep: which one stays. "first" is the first in the order of the sources, so the source named first is preferred.
        against: files that are not to be repeated: a row that equals one of theirs goes.
    """
    others = list(other_rows.as_rows(against))
    keys = [parts.equal_key(row, on) for _, row in others]
    keys += [key for _, key in build.each(f"{__name__}:key", {"on": on}, rows)]
    leader = first_of_each(np.frombuffer(b"".join(keys), "S16"))
    return merged(rows, leader, [place for place, _ in others], keep)


def key(*, on: parts.Part) -> Callable[[bytes], bytes]:
    """For `Build.each`: a line's key."""
    return lambda line: parts.equal_key(parts.from_line(line), on)
