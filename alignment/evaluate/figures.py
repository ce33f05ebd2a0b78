"""Figures as bytes, drawn by matplotlib without a display and without any global state."""

from __future__ import annotations

import base64
import io
import math
import textwrap
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data_recipes.intervals import is_point

from alignment.evaluate.charts import STEPS, Chart, Points

INK, GRID, MUTED = "#1f2933", "#e4e7eb", "#7b8794"
COLOURS = ("#2563eb", "#d97706", "#0f766e", "#9333ea", "#be123c")
FONT = {"family": ["DejaVu Sans"], "size": 9}
MOST_POINTS = 500
METADATA = {"Date": None, "Creator": None}  # so that the same figures give the same bytes


def draw(chart: Chart, *, width: float = 5.6, height: float = 2.7) -> Figure:
    """One chart of curves over steps."""
    figure, axes = _sheet(width, height)
    for index, curve in enumerate(chart.curves):
        steps, values = zip(*(thin(curve.points) if chart.across == STEPS else curve.points), strict=True)
        marker = "o" if len(steps) < 20 else None
        axes.plot(
            steps,
            values,
            color=COLOURS[index % len(COLOURS)],
            label=curve.label,
            linewidth=1.4,
            marker=marker,
            markersize=3,
        )
    if chart.level:
        axes.axhline(chart.level[0], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), label=chart.level[1])
    if chart.mark:
        _mark(axes, *chart.mark)
    axes.xaxis.set_major_locator(MaxNLocator(integer=chart.across == STEPS, nbins=7))
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.set_xlabel(chart.across, fontdict=FONT, color=MUTED)
    if len(chart.curves) > 1 or chart.level:
        axes.legend(frameon=False, prop=FONT, labelcolor=INK)
    return figure


def _mark(axes: Any, across: float, value: float, words: str) -> None:
    """A ring around a point with words beside it, on the side where there is room."""
    axes.plot([across], [value], marker="o", markersize=9, fillstyle="none", color=INK, markeredgewidth=1.2, zorder=6)
    left, right = axes.get_xlim()
    late = across > (left + right) / 2
    axes.annotate(words, (across, value), xytext=(-8 if late else 8, 12), textcoords="offset points",
                  ha="right" if late else "left", fontsize=8, color=INK, zorder=6)
    axes.axvline(across, color=INK, linewidth=0.7, linestyle=(0, (1, 3)), zorder=1)


def thin(points: Points, most: int = MOST_POINTS) -> Points:
    """At most `most` points, each the mean of its neighbours: a long run would make a page of many megabytes."""
    size = -(-len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


def draw_bars(panels: list[dict]) -> Figure:
    """Panels of estimates with intervals: bars for shares, points for what has no natural zero.

    Args:
        panels: title, bars [{label, value, low, high}], percent (whether they are shares), and maybe level (value,
            name). A label has the same colour in every panel; a bar with `muted` is the trivial baseline.
    """
    columns = len(panels) if len(panels) <= 4 else 3
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.3 * max(columns, 2), 2.9 * lines), layout="constrained")  # a page is wider than one panel
    labels = list(dict.fromkeys(bar["label"] for panel in panels for bar in panel["bars"] if not bar.get("muted")))
    colours = {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(labels)}
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(lines, columns, index + 1)
        style(axes)
        _marks(axes, panel["bars"], colours, percent=panel["percent"])
        if panel.get("level"):
            _level(axes, *panel["level"], scale=100 if panel["percent"] else 1)
        axes.set_title(textwrap.fill(panel["title"], 36), fontsize=9.5, color=INK, loc="left")
    return figure


def _marks(axes: Any, bars: list[dict], colours: dict[str, str], *, percent: bool) -> None:
    scale, places = 100 if percent else 1, range(len(bars))
    values, lows, highs = ([scale * bar[key] for bar in bars] for key in ("value", "low", "high"))
    alike = [is_point(low, high) for low, high in zip(lows, highs, strict=True)]
    drawn = [MUTED if bar.get("muted") else colours[bar["label"]] for bar in bars]
    if percent:
        axes.bar(places, values, width=0.62, color=drawn, alpha=0.85, zorder=2)
    else:
        axes.scatter(places, values, s=36, color=drawn, zorder=4)
    errors = np.abs(np.subtract([lows, highs], values))
    errors[:, alike] = math.nan  # a bar of no length would look like certainty
    axes.errorbar(places, values, yerr=errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=4, zorder=3)
    for place, value, high, point in zip(places, values, highs, alike, strict=True):
        axes.annotate(
            (f"{value:.1f} %" if percent else f"{value:.2f}") + "\n(all alike)" * point,
            (place, high),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=INK,
        )
    axes.set_xticks(places, ["\n".join(textwrap.wrap(bar["label"], 16)) for bar in bars], fontsize=8.5, color=INK)
    axes.set_xlim(-0.8, len(bars) - 0.4)  # the left has room for the name of a level
    room = 0.25 * (max(highs) - min(lows)) or 1.0
    axes.set_ylim(*(0, 112) if percent else (min(lows) - room, max(highs) + room))
    if percent:
        axes.set_yticks(range(0, 101, 25))


def _level(axes: Any, level: float, name: str, *, scale: int) -> None:
    axes.axhline(scale * level, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=5)
    axes.annotate(
        name,
        (0, scale * level),
        xycoords=("axes fraction", "data"),
        xytext=(2, 3),
        textcoords="offset points",
        fontsize=7.5,
        color=INK,
        zorder=5,
    )


def draw_plane(panels: list[dict]) -> Figure:
    """Policies in the plane of reward and distance, a panel a reward.

    Args:
        panels: title, points [{label, kl, reward}], each of the two a dict of value, low and high; across.
    """
    figure = Figure(figsize=(4.4 * len(panels), 3.1), layout="constrained")
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        style(axes)
        for number, point in enumerate(panel["points"]):
            x, y = ({key: max(0.0, point["kl"][key]) ** 0.5 for key in ("value", "low", "high")}, point["reward"])
            errors = [[[max(0.0, v["value"] - v["low"])], [max(0.0, v["high"] - v["value"])]] for v in (x, y)]
            axes.errorbar(x["value"], y["value"], xerr=errors[0], yerr=errors[1], fmt="o", markersize=6, capsize=3,
                          color=COLOURS[number % len(COLOURS)], elinewidth=1.2, label=point["label"])
        axes.set_xlabel(panel["across"], fontdict=FONT, color=MUTED)
        axes.set_title(textwrap.fill(panel["title"], 46), fontsize=9.5, color=INK, loc="left")
        axes.margins(0.12)
    axes.legend(frameon=False, prop=FONT, labelcolor=INK)
    return figure


def draw_intervals(rows: list[dict], *, series: tuple[str, ...], label: str, title: str) -> Figure:
    """Estimates with intervals, one line a row, from top to bottom.

    Args:
        rows: {"name", and under each name of `series` {"value", "low", "high"}}; a row with "gap" opens a new group.
        label: of the axis.
    """
    figure = Figure(figsize=(7.2, 1.2 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    style(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=0.8, zorder=0)
    places = [index + 0.7 * sum(bool(row.get("gap")) for row in rows[: index + 1]) for index in range(len(rows))]
    for number, name in enumerate(series):
        shift = 0.26 * (number - (len(series) - 1) / 2)
        values, lows, highs = ([row[name][key] for row in rows] for key in ("value", "low", "high"))
        errors = [[max(0.0, v - low) for v, low in zip(values, lows, strict=True)],
                  [max(0.0, high - v) for v, high in zip(values, highs, strict=True)]]
        axes.errorbar(values, [place + shift for place in places], xerr=errors, fmt="o", markersize=5.5, capsize=3,
                      color=COLOURS[number], elinewidth=1.3, label=name)
    axes.set_yticks(places, [textwrap.shorten(row["name"], 44) for row in rows], fontsize=9, color=INK)
    axes.set_ylim(places[-1] + 0.6, -0.6)
    axes.set_xlabel(label, fontdict=FONT, color=MUTED)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    if len(series) > 1:
        figure.legend(loc="outside lower left", ncols=len(series), frameon=False, prop=FONT, labelcolor=INK)
    return figure


def svg_uri(figure: Figure) -> str:
    """The figure as a data URI for a page that may load nothing."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg(figure)).decode()


def svg(figure: Figure) -> bytes:
    """The figure as SVG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": "align"}):  # without it the ids in the file are drawn anew each time
        figure.savefig(buffer, format="svg", metadata=METADATA)
    return buffer.getvalue()


def png(figure: Figure) -> bytes:
    """The figure as PNG, for a README."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def _sheet(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    style(axes)
    return figure, axes


def style(axes: Any) -> None:
    """What all figures look like: a light grid across, no frame."""
    axes.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
