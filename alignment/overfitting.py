"""Is a run learning its rows by heart? The held-out loss, where it was least, and whether it rose by more than noise. Light.

Training loss keeps falling whatever happens; the held-out loss turns. A rise is told from noise by the rows themselves: both
evaluations measured the same rows, so that the standard error of the difference comes from how much the rows differ in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Z = 1.96  # two-sided 95 %
FEWEST = 8  # units below which their spread says nothing
LOSS, CHANGE, ERROR = "eval_loss", "eval_loss_change", "eval_loss_change_error"


def paired_change(now_U, before_U, counts_U) -> tuple[float, float | None]:
    """Change of a loss per token between two evaluations of the same rows, and its standard error.

    r = sum(now - before) / sum(counts);  se = sqrt(U / (U - 1) * sum((now - before - r * counts)^2)) / sum(counts)

    The ratio estimator of Cochran, Sampling Techniques (1977), equation 6.13, without its correction for a finite population.

    Args:
        now_U, before_U: summed loss of each unit (a row, or a batch where rows are not told apart), shape (U,).
        counts_U: tokens (or rows) of each unit. The error is None for fewer than `FEWEST` units.

    Raises:
        ValueError: the two are not of the same units, or there are none.
    """
    difference_U = np.asarray(now_U, np.float64) - np.asarray(before_U, np.float64)
    counts_U = np.asarray(counts_U, np.float64)
    if difference_U.shape != counts_U.shape or difference_U.ndim != 1 or not counts_U.sum() > 0:
        raise ValueError(f"two evaluations of the same rows are needed, not {difference_U.shape} and {counts_U.shape}")
    total, units = counts_U.sum(), len(counts_U)
    change = float(difference_U.sum() / total)
    if units < FEWEST:
        return change, None
    rest = ((difference_U - change * counts_U) ** 2).sum()
    return change, float(math.sqrt(units / (units - 1) * rest) / total)


@dataclass
class Turning:
    """Follows the evaluations of a run and keeps the rows' losses of the best one. `state` lies in each checkpoint's seal."""

    best: list[float] = field(default_factory=list)

    def advance(self, sums_U, counts_U) -> dict[str, float]:
        """The change from the least loss so far, with its error: figures for metrics.jsonl; none at the first evaluation."""
        sums = [float(value) for value in sums_U]
        if len(self.best) != len(sums):
            self.best = sums
            return {}
        change, error = paired_change(sums, self.best, counts_U)
        if change < 0:
            self.best = sums
        return {CHANGE: change, **({ERROR: error} if error is not None else {})}


def describe(rows: list[dict]) -> dict[str, Any]:
    """What a run's metrics say of over-fitting; empty where nothing was held out. `rows`: of metrics.jsonl.

    Returns:
        least and last ({step, value}), gap ({training, held_out, value}), rise ({value, error} or None), turned (whether the
        rise is beyond the noise; None where that cannot be told), sentence.
    """
    held = [row for row in rows if isinstance(row.get(LOSS), (int, float)) and math.isfinite(row[LOSS])]
    if not held:
        return {}
    least, last = min(held, key=lambda row: row[LOSS]), held[-1]
    found: dict[str, Any] = {
        "least": {"step": least["step"], "value": least[LOSS]},
        "last": {"step": last["step"], "value": last[LOSS]},
        "gap": _gap(rows, last),
        "rise": None,
        "turned": False,
    }
    if last is not least:
        found["rise"] = {"value": last.get(CHANGE, last[LOSS] - least[LOSS]), "error": last.get(ERROR)}
        found["turned"] = None if last.get(ERROR) is None else found["rise"]["value"] > Z * last[ERROR]
    return {**found, "sentence": sentence(found, len(held))}


def from_series(points: dict[str, list[tuple[float, float]]]) -> list[dict]:
    """Rows as `describe` takes them, from (step, value) by metric."""
    rows: dict[int, dict] = {}
    for key, values in points.items():
        for step, value in values:
            rows.setdefault(step, {})[key] = value
    return [{**rows[step], "step": step} for step in sorted(rows)]


def _gap(rows: list[dict], last: dict) -> dict[str, float] | None:
    """Held-out loss minus the mean training loss of the last tenth of the steps before it."""
    train = [row["loss"] for row in rows if isinstance(row.get("loss"), (int, float)) and row["step"] <= last["step"]]
    if not train:
        return None
    end = train[-max(1, len(train) // 10) :]
    mean = sum(end) / len(end)
    return {"training": mean, "held_out": last[LOSS], "value": last[LOSS] - mean}


def advice(found: dict[str, Any], keep: str) -> str:
    """What to do about it; empty where there is nothing, or the best weights are kept already."""
    if not found.get("turned") or keep == "best":
        return ""
    return f"--set training.keep=best would keep the weights of step {found['least']['step']}; so would fewer epochs."


def sentence(found: dict[str, Any], evaluations: int) -> str:
    """What was found, in one sentence."""
    least, last, rise = found["least"], found["last"], found["rise"]
    gap = f", {found['gap']['value']:+.3f} from the training loss" if found["gap"] else ""
    if evaluations == 1:
        return f"The held-out loss is {last['value']:.3f}{gap}; it was measured once, so nothing shows whether it turned."
    if rise is None:
        at = f"step {last['step']} ({last['value']:.3f}{gap})"
        return f"The held-out loss was least at the end, {at}: no sign of learning by heart."
    since = f"The held-out loss was least at step {least['step']} ({least['value']:.3f}) and ended at {last['value']:.3f}{gap}"
    if found["turned"] is None:
        return f"{since}; the held-out rows are too few to tell a rise from noise."
    noise = f"{rise['value']:+.3f} ± {Z * rise['error']:.3f} (95 %, by the rows' spread)"
    if not found["turned"]:
        return f"{since}: a rise of {noise}, which is within the noise."
    return f"{since}: a rise of {noise}. From there on the rows were learned by heart."
