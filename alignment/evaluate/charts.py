"""What a chart is: curves with their words. Light."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

Points = list[tuple[float, float]]
STEPS = "optimizer step"


@dataclass(frozen=True)
class Curve:
    """One line of a figure. points: (place across, value)."""

    label: str
    points: Points


@dataclass(frozen=True)
class Chart:
    """A figure with its words. level: a dashed line with its name, such as chance. across: what its places are.

    mark: (place, value, words) of a point that matters.
    """

    title: str
    curves: list[Curve]
    meaning: str
    reading: list[str] = field(default_factory=list)
    level: tuple[float, str] | None = None
    across: str = STEPS
    mark: tuple[float, float, str] | None = None


@dataclass(frozen=True)
class Kind:
    """A chart that a run has where its keys are in the metrics. keys: metric -> label.

    read: what the curves say. weigh: what they say given how many rows were held out.
    """

    title: str
    keys: dict[str, str]
    meaning: str
    read: Callable[[dict[str, Points]], list[str]] = lambda points: []
    level: tuple[float, str] | None = None
    mark: Callable[[dict[str, Points]], tuple[float, float, str] | None] = lambda points: None
    weigh: Callable[[dict[str, Points], int], list[str]] = lambda points, held_out: []


def series(rows: list[dict], key: str) -> Points:
    """(step, value) of one metric; what is no finite number has no place in a curve."""
    return [
        (row["step"], float(row[key]))
        for row in rows
        if isinstance(row.get(key), (int, float)) and not isinstance(row[key], bool) and math.isfinite(row[key])
    ]


def part(points: Points) -> int:
    """A tenth of the points, at least one."""
    return max(1, len(points) // 10)


def mean(points: Points) -> float:
    """Of the values."""
    return sum(value for _, value in points) / len(points)
