"""Rows by prompt, by source, or by the value of a column, as numbers."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from data_recipes.building import rows as parts
from data_recipes.building.steps.base import Build, first_of_each
from data_recipes.building.table import Rows
from data_recipes.errors import Refused


def numbered(build: Build, rows: Rows, per: str) -> tuple[np.ndarray, list[str]]:
    """The group of each row, int (N,), and the groups' names; prompts have none.

    Raises:
        Refused: a column that no row has.
    """
    if per == "source":
        return build.source_of(rows.table["row"]), list(build.weights)
    found = [value for _, value in build.each(f"{__name__}:value", {"per": per}, rows)]
    if per == "prompt":
        return first_of_each(np.frombuffer(b"".join(found), "S16")), []
    if all(value is None for value in found):
        raise Refused(f"no row has a column {per!r}", where="steps", expected="prompt, source, or a column of the sources")
    names = sorted({_name(value) for value in found})
    place = {name: number for number, name in enumerate(names)}
    return np.array([place[_name(value)] for value in found], np.int64), names


def value(*, per: str) -> Callable[[bytes], str | bytes | None]:
    """For `Build.each`: a line's key or value."""
    if per == "prompt":
        return lambda line: parts.opening_key(parts.from_line(line))

    def column(line: bytes) -> str | None:
        found = parts.from_line(line).get(per)
        return found if found is None or isinstance(found, str) else json.dumps(found, sort_keys=True)

    return column


def _name(value: str | None) -> str:
    return "(none)" if value is None else value
