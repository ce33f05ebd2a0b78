"""What steps are given, and what they return."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import numpy as np

from data_recipes.building.table import Rows


class Drop(NamedTuple):
    """Why a row goes. reason: one kebab-case word to count by. detail: what was found, without personal data."""

    reason: str
    detail: str = ""


class Changed(NamedTuple):
    """A changed row, and what is worth saying about the change."""

    row: dict
    detail: str


class Event(NamedTuple):
    """What happened to a row at a stage.

    fate: "dropped" or "merged", after which it is gone; "changed", "repeated" or the side of a split, which it outlives.
    into: the row that a merged one is like.
    """

    row: int
    fate: str
    reason: str = ""
    detail: str = ""
    into: int | None = None


Verdict = dict | Drop | Changed
Judge = Callable[[dict], Verdict]


@dataclass
class Selection:
    """What a set step leaves. facts: what the data card says about it, JSON-able."""

    rows: Rows
    events: Iterable[Event] = ()
    facts: dict[str, Any] = field(default_factory=dict)


class Build(Protocol):
    """What steps may ask of the build they are part of."""

    seed: int
    weights: dict[str, float]  # of the sources, in the order of the recipe

    def source_of(self, rows: np.ndarray) -> np.ndarray:
        """The number of the source of each of these rows."""

    def scratch(self) -> Path:
        """A folder that is not there yet, for files that do not outlive the step."""

    def each(self, function: str, settings: dict, rows: Rows) -> Iterator[tuple[int, Any]]:
        """(row, result) of a worker's function `module:name`, in the order of the rows; see `workers.py`."""


@dataclass(frozen=True)
class Step:
    """An entry of the table.

    how: "edit" (row by row, may change them), "drop" (row by row, only drops) or "set" (all rows at once).
    function: `module:name` below this package; imported when a recipe uses it.
    """

    name: str
    how: Literal["edit", "drop", "set"]
    function: str

    @property
    def path(self) -> str:
        """The function as `package.module:name`."""
        return f"data_recipes.building.steps.{self.function}"

    def load(self) -> Callable:
        """The function."""
        return load(self.path)

    def settings(self) -> dict[str, inspect.Parameter]:
        """The function's keyword parameters."""
        found = inspect.signature(self.load(), eval_str=True).parameters.values()
        return {item.name: item for item in found if item.kind is inspect.Parameter.KEYWORD_ONLY}


def load(path: str) -> Callable:
    """The function that `package.module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def first_of_each(keys: np.ndarray) -> np.ndarray:
    """For each place of a 1-d array, the first place that holds an equal value, shape (N,)."""
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    return first[which]


# Settings of this type are paths of files; a stage is made anew where their content changes.
InputFiles = Annotated[list[str], "input files"]
