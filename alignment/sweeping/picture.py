"""The plot of a sweep: each run a point, each setting its mean with the spread over seeds."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from matplotlib.transforms import offset_copy

from alignment.evaluate.figures import COLOURS, FONT, INK, MUTED, draw_intervals, style
from alignment.sweeping.grid import Grid, leaves, shown
from alignment.sweeping.metrics import By
from alignment.sweeping.table import is_number, number

MOST_LINES = len(COLOURS)
LOG_SPAN = 8  # positive values whose largest is so many times the smallest stand on a logarithmic axis


def draw_sweep(grid: Grid, by: By, rows: list[dict], best: dict | None) -> Figure | None:
    """One key: a line. Two keys: a line for each value of one, or a map where these are many. More: settings by name.

    rows: of `table.tabulate`. None where no run has a figure.
    """
    rows = [row for row in rows if row["figures"]]
    if not rows:
        return None
    if len(grid.keys) in (1, 2):
        across, other = _axes_of(grid)
        if other is None or len(_tried(grid, other)) <= MOST_LINES:
            return _lines(grid, by, rows, across, other, best)
        return _map(grid, by, rows, across, other, best)
    series = [{"name": ", ".join(map(shown, row["values"].values())) or "as given", by.name: _bounds(row["figures"][by.name])}
              for row in rows]
    label, title = f"{by.words}; min to max over seeds", f"The best first: {', '.join(leaves(grid.keys))}"
    return draw_intervals(series, series=(by.name,), label=label, title=title)


def _bounds(found: dict) -> dict[str, float]:
    return {"value": found["mean"], "low": found["smallest"], "high": found["largest"]}


def _axes_of(grid: Grid) -> tuple[str, str | None]:
    """The key across: of two the one with numbers, or with more values."""
    if len(grid.keys) == 1:
        return grid.keys[0], None
    order = sorted(grid.keys, key=lambda key: (_numeric(grid, key), len(_tried(grid, key))), reverse=True)
    return order[0], order[1]


def _tried(grid: Grid, key: str) -> list:
    """The values of a key; numbers in their order, others as they were given."""
    values: list = []
    for setting in grid.settings:
        if setting.values[key] not in values:
            values.append(setting.values[key])
    return sorted(values) if all(map(is_number, values)) else values


def _numeric(grid: Grid, key: str) -> bool:
    return all(map(is_number, _tried(grid, key)))


def _places(grid: Grid, key: str) -> tuple[list[float], bool]:
    """Where the values of a key stand, and whether the axis is logarithmic."""
    values = _tried(grid, key)
    if not _numeric(grid, key):
        return [float(place) for place in range(len(values))], False
    return list(map(float, values)), min(values) > 0 and max(values) >= LOG_SPAN * min(values)


def _lines(grid: Grid, by: By, rows: list[dict], across: str, other: str | None, best: dict | None) -> Figure:
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    style(axes)
    values, (places, logarithmic) = _tried(grid, across), _places(grid, across)
    at = {shown(value): place for value, place in zip(values, places, strict=True)}
    groups = [None] if other is None else _tried(grid, other)
    for index, group in enumerate(groups):
        members = [row for row in rows if other is None or row["values"][other] == group]
        members.sort(key=lambda row: at[shown(row["values"][across])])
        label = "mean and standard deviation" if other is None else f"{leaves([other])[0]} {shown(group)}"
        marks = _marks(axes, by, members, [at[shown(row["values"][across])] for row in members], COLOURS[index], label)
        marks[0].set_linestyle("-" if _numeric(grid, across) else "")
    if best:
        axes.scatter(at[shown(best["values"][across])], best["figures"][by.name]["mean"], s=150, facecolors="none",
                     edgecolors=INK, linewidths=1.2, zorder=6, label="best mean")
    if logarithmic:
        axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(places, [shown(value) for value in values])
    _margins(axes, places, logarithmic)
    _words(axes, across, by)
    return figure


def _marks(axes: Any, by: By, members: list[dict], places: list[float], colour: str, label: str) -> Any:
    """Each run as a small point, beside the means joined by a line with their standard deviations."""
    beside = offset_copy(axes.transData, fig=axes.figure, x=7, units="points")  # else the bars would hide them
    for place, row in zip(places, members, strict=True):
        values = [run["value"] for run in row["runs"]]
        axes.scatter([place] * len(values), values, s=16, color=colour, alpha=0.55, linewidths=0, zorder=3, transform=beside)
    means = [row["figures"][by.name]["mean"] for row in members]
    spreads = [row["figures"][by.name]["sd"] or 0.0 for row in members]
    return axes.errorbar(places, means, yerr=spreads, color=colour, marker="o", markersize=5, linewidth=1.4, capsize=4,
                         elinewidth=1.2, zorder=4, label=label)


def _margins(axes: Any, places: list[float], logarithmic: bool) -> None:
    low, high = min(places), max(places)
    if logarithmic:
        room = (high / low) ** 0.12
        axes.set_xlim(low / room, high * room)
    else:
        room = 0.12 * (high - low) or 0.5
        axes.set_xlim(low - room, high + room)


def _words(axes: Any, across: str, by: By) -> None:
    axes.set_xlabel(across, fontdict=FONT, color=MUTED)
    axes.set_ylabel(by.words, fontdict=FONT, color=MUTED)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.legend(frameon=False, prop=FONT, labelcolor=INK)


def _map(grid: Grid, by: By, rows: list[dict], across: str, other: str, best: dict | None) -> Figure:
    """A field a setting, darker where it is better, with its mean in it."""
    columns, lines = _tried(grid, across), _tried(grid, other)
    figure = Figure(figsize=(1.6 + 0.85 * len(columns), 1.2 + 0.42 * len(lines)), layout="constrained")
    axes = figure.add_subplot()
    means = {(shown(row["values"][across]), shown(row["values"][other])): row["figures"][by.name]["mean"] for row in rows}
    field = [[means.get((shown(x), shown(y)), float("nan")) for x in columns] for y in lines]
    axes.imshow(field, cmap="Blues_r" if by.lower else "Blues", aspect="auto", alpha=0.75)
    for line, y in enumerate(lines):
        for column, x in enumerate(columns):
            chosen = best is not None and (best["values"][across], best["values"][other]) == (x, y)
            axes.text(column, line, number(means.get((shown(x), shown(y)))), ha="center", va="center", color=INK, fontsize=8,
                      fontweight="bold" if chosen else "normal")
    axes.set_xticks(range(len(columns)), list(map(shown, columns)), fontsize=8, color=INK)
    axes.set_yticks(range(len(lines)), list(map(shown, lines)), fontsize=8, color=INK)
    axes.set_xlabel(across, fontdict=FONT, color=MUTED)
    axes.set_ylabel(other, fontdict=FONT, color=MUTED)
    axes.set_title(f"{by.words}; the best is bold", fontsize=9.5, color=INK, loc="left")
    return figure
