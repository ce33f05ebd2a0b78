"""The confusion matrix and the reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

import numpy as np
from matplotlib.figure import Figure

from alignment.evaluate.figures import COLOURS, FONT, GRID, INK, MUTED

COUNTED = 15  # classes up to which each cell shows its count


def draw_confusion(counts, names: Sequence[str]) -> Figure:
    """Rows by true class (down) and called class (across): coloured by the share of the true class, with share and count."""
    counts_CC = np.asarray(counts, dtype=np.float64)
    share_CC = counts_CC / np.maximum(counts_CC.sum(1, keepdims=True), 1)
    size = max(3.6, 1.9 + 0.62 * len(names)) if len(names) <= COUNTED else 3.0 + 0.22 * len(names)
    figure = Figure(figsize=(size + 1.2, size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share_CC, cmap="Blues", vmin=0, vmax=1)
    labels = [shorten(name, 18, placeholder="...") for name in names]
    small = 8.5 if len(names) <= COUNTED else 6.5
    axes.set_xticks(range(len(names)), labels, rotation=0 if len(names) <= 4 else 45, fontsize=small, color=INK,
                    ha="center" if len(names) <= 4 else "right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), labels, fontsize=small, color=INK)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(names) <= COUNTED:
        for (row, column), share in np.ndenumerate(share_CC):
            axes.text(column, row, f"{100 * share:.0f} %\n{int(counts_CC[row, column]):,}", ha="center", va="center",
                      fontsize=8, color="white" if share > 0.55 else INK)
    axes.set_xlabel("called", fontdict=FONT, color=MUTED)
    axes.set_ylabel("true", fontdict=FONT, color=MUTED)
    bar = figure.colorbar(image, ax=axes, shrink=0.75)
    bar.set_label("share of the true class", fontsize=8, color=MUTED)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5, length=0, colors=MUTED)
    return figure


def draw_reliability(calibration: dict) -> Figure:
    """How often right by how sure, before and after the temperature; on the dashed line a model is as right as it is sure."""
    figure = Figure(figsize=(5.2, 4.3), layout="constrained")
    axes = figure.add_subplot()
    before, after = calibration["reliability_before"], calibration["reliability_after"]
    low = min(part["from"] for part in before + after)
    axes.plot([low, 1], [low, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), label="as right as sure")
    for colour, name, parts, ece in ((COLOURS[1], "as trained", before, "ece_before"),
                                     (COLOURS[0], f"temperature {calibration['temperature']:.3g}", after, "ece_after")):
        sure, right = ([part[key] for part in parts] for key in ("confidence", "accuracy"))
        errors = [[part["accuracy"] - part["low"] for part in parts], [part["high"] - part["accuracy"] for part in parts]]
        axes.errorbar(sure, right, yerr=errors, fmt="o-", markersize=4, linewidth=1.3, elinewidth=0.9, capsize=2, color=colour,
                      label=f"{name}: error {calibration[ece]['value']:.3f}")
    axes.set_xlim(low, 1.01)
    axes.set_ylim(0, 1.03)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    axes.set_xlabel("how sure (probability of the answer)", fontdict=FONT, color=MUTED)
    axes.set_ylabel("how often right", fontdict=FONT, color=MUTED)
    figure.legend(loc="outside lower left", ncols=1, frameon=False, prop=FONT, labelcolor=INK)
    return figure
