"""A mixture of the sources by their weights, with a bound on the share of synthetic rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from data_recipes.building import rows as parts
from data_recipes.building.steps.base import Build, Event, Selection
from data_recipes.building.table import Rows, mix_bits, rank
from data_recipes.errors import Refused

Share = Annotated[float, Field(ge=0, le=1)]
MARK = b'"synthetic"'


def mix(
    build: Build, held: Rows, *, rows: Annotated[int, Field(ge=1)] | None = None,
    repeats: Annotated[int, Field(ge=1)] = 1, synthetic: dict[Literal["max_share"], Share] = {},  # noqa: B006
) -> Selection:
    """Draws from each source by its weight; after a split, from the training rows alone.

    Args:
        rows: how many in all; by default as many as the weights allow.
        repeats: how often one row may be taken where a source has too few.
        synthetic: `max_share` of rows with a column `synthetic` among the rows that are left; the rest of them goes.
    """
    train = np.flatnonzero(held.table["side"] == 0)
    source, drawn = build.source_of(held.table["row"][train]), mix_bits(held.table["row"][train], build.seed)
    weights = np.array(list(build.weights.values()))
    available = np.bincount(source, minlength=len(weights))
    planned = _planned(weights, available * repeats, rows, list(build.weights))
    realised = np.minimum(planned, available * repeats)
    times = _times(source, drawn, available, realised)
    made = np.fromiter((found for _, found in build.each(f"{__name__}:is_synthetic", {}, held.chosen(train))), bool, len(train))
    bounded = _bound_synthetic(times, made, drawn, synthetic.get("max_share", 1.0))
    all_times = np.ones(len(held), np.int64)
    all_times[train] = bounded
    facts = _facts(build, available, planned, np.bincount(source, bounded, len(weights)).astype(int), bounded, made)
    return Selection(held.chosen(np.repeat(np.arange(len(held)), all_times)), _events(held, train, times, bounded), facts)


def is_synthetic() -> Callable[[bytes], bool]:
    """For `Build.each`: whether a line has a column `synthetic` that says how it was made."""
    return lambda line: MARK in line and bool(parts.from_line(line).get("synthetic"))


def _planned(weights: np.ndarray, most: np.ndarray, wanted: int | None, names: list[str]) -> np.ndarray:
    """Rows of each source, by largest remainders, which add up to what is wanted."""
    if wanted is None:
        if not most.all():
            raise Refused(f"the source {names[int(np.argmin(most))]} has no row left to mix", where="mix",
                          do="Leave it out, or see in a dry run or the data card which step dropped its rows.")
        wanted = int(np.floor((most / weights).min() * weights.sum() + 1e-9))
    exact = weights / weights.sum() * wanted
    planned = np.floor(exact).astype(np.int64)
    planned[np.argsort(planned - exact, kind="stable")[:wanted - planned.sum()]] += 1
    return planned


def _times(source: np.ndarray, drawn: np.ndarray, available: np.ndarray, realised: np.ndarray) -> np.ndarray:
    """How often each row is taken: whole rounds of its source, and once more for those that draw the lowest."""
    rounds, more = np.divmod(realised, np.maximum(available, 1))
    return rounds[source] + (rank(source, drawn) < more[source])


def _bound_synthetic(times: np.ndarray, made: np.ndarray, drawn: np.ndarray, most: float) -> np.ndarray:
    """`times` with synthetic rows taken out, those that draw the highest first, until their share is at most `most`."""
    human, synthetic = int(times[~made].sum()), int(times[made].sum())
    allowed = synthetic if most >= 1 else min(synthetic, int(np.floor(most / (1 - most) * human + 1e-9)))
    bounded = times.copy()
    places = np.flatnonzero(made)[np.argsort(drawn[made], kind="stable")]
    before = np.cumsum(times[places]) - times[places]
    bounded[places] = np.clip(allowed - before, 0, times[places])
    return bounded


def _events(rows: Rows, train: np.ndarray, times: np.ndarray, bounded: np.ndarray) -> Iterator[Event]:
    numbers = rows.table["row"][train]
    for at in np.flatnonzero(bounded == 0).tolist():
        reason = "synthetic-share" if times[at] else "not-drawn"
        yield Event(int(numbers[at]), "dropped", reason)
    for at in np.flatnonzero(bounded > 1).tolist():
        yield Event(int(numbers[at]), "repeated", "", f"{bounded[at]} times")


def _facts(build: Build, available, planned, realised, times: np.ndarray, made: np.ndarray) -> dict[str, Any]:
    total, synthetic = int(times.sum()), int(times[made].sum())
    mixture = {
        name: {"weight": weight, "available": int(available[at]), "planned": int(planned[at]), "realised": int(realised[at]),
               "share": round(int(realised[at]) / max(1, total), 4)}
        for at, (name, weight) in enumerate(build.weights.items())
    }
    return {"mixture": mixture, "synthetic": {"rows": synthetic, "share": round(synthetic / max(1, total), 4)}}
