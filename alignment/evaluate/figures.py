"""Figures as bytes, drawn by matplotlib without a display and without any global state."""

from __future__ import annotations

import base64
import io
import textwrap
from typing import Any

from matplotlib.figure import Figure

from alignment.evaluate.curves import Chart

INK, GRID, MUTED = "#1f2933", "#e4e7eb", "#7b8794"
COLOURS = ("#2563eb", "#d97706", "#0f766e", "#9333ea", "#be123c")
FONT = {"family": ["DejaVu Sans"], "size": 9}
METADATA = {"Date": None, "Creator": None}  # so that the same figures give the same bytes


def draw(chart: Chart, *, width: float = 5.6, height: float = 2.7) -> Figure:
    """One chart of curves over steps."""
    figure, axes = _sheet(width, height)
    for index, curve in enumerate(chart.curves):
        steps, values = zip(*curve.points, strict=True)
        marker = "o" if len(steps) < 20 else None
        axes.plot(steps, values, color=COLOURS[index % len(COLOURS)], label=curve.label, linewidth=1.4, marker=marker, markersize=3)
    if chart.level:
        axes.axhline(chart.level[0], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), label=chart.level[1])
    axes.set_xlabel("optimizer step", fontdict=FONT, color=MUTED)
    if len(chart.curves) > 1 or chart.level:
        axes.legend(frameon=False, prop=FONT, labelcolor=INK)
    return figure


def draw_bars(panels: list[dict], *, columns: int = 3) -> Figure:
    """Panels of bars with intervals.

    Args:
        panels: title, bars [{label, value, low, high}], and maybe level (value, name) and percent.
    """
    columns = min(columns, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(3.3 * columns, 2.9 * lines), layout="constrained")
    for index, panel in enumerate(panels):
        _bars(figure.add_subplot(lines, columns, index + 1), panel)
    return figure


def _bars(axes: Any, panel: dict) -> None:
    bars, scale = panel["bars"], 100 if panel.get("percent") else 1
    values = [scale * bar["value"] for bar in bars]
    errors = [[scale * (bar["value"] - bar["low"]) for bar in bars], [scale * (bar["high"] - bar["value"]) for bar in bars]]
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(bars))]
    axes.bar(range(len(bars)), values, width=0.62, color=colours, alpha=0.85, zorder=2)
    axes.errorbar(range(len(bars)), values, yerr=errors, fmt="none", ecolor=INK, elinewidth=1.1, capsize=4, zorder=3)
    _style(axes)
    top = max([*(scale * bar["high"] for bar in bars), 0])
    for place, (bar, value) in enumerate(zip(bars, values, strict=True)):
        text = f"{value:.1f} %" if scale == 100 else f"{value:.2f}"
        axes.annotate(text, (place, scale * bar["high"]), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=9, color=INK)
    if panel.get("level"):
        level, name = panel["level"]
        axes.axhline(scale * level, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(name, (1, scale * level), xycoords=("axes fraction", "data"), xytext=(-2, 3), textcoords="offset points",
                      ha="right", fontsize=7.5, color=MUTED)
    labels = ["\n".join(textwrap.wrap(bar["label"], 16)) for bar in bars]
    axes.set_xticks(range(len(bars)), labels, fontsize=8.5, color=INK)
    axes.set_xlim(-0.6, len(bars) - 0.4)
    axes.set_ylim(min(0, *(scale * bar["low"] for bar in bars)), top * 1.18 or 1)
    axes.set_title(textwrap.fill(panel["title"], 34), fontsize=10, color=INK, loc="left")


def svg_uri(figure: Figure) -> str:
    """The figure as a data URI for a page that may load nothing."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=METADATA)
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def png(figure: Figure) -> bytes:
    """The figure as PNG, for a README."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def _sheet(width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    _style(axes)
    return figure, axes


def _style(axes: Any) -> None:
    axes.grid(axis="y", color=GRID, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
