"""What the Trainer's evaluations say: the figures of a classifier, and the one that decides. Only numpy and torch's tensors."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from data_recipes.labels import Problem

from alignment.data import IGNORED
from alignment.labelling.measures import LOWER_IS_BETTER, Answered, figures, main_figure
from alignment.training.best import Figure


def figure_of(metric: str, problem: Problem) -> Figure:
    """The figure that decides which weights are kept."""
    name = main_figure(problem) if metric == "auto" else metric
    return Figure(f"eval_{name}", "lower" if name in LOWER_IS_BETTER else "higher")


def only_logits(logits, labels):
    """What is gathered of a model's output, cut to the text's own tokens."""
    logits = logits[0] if isinstance(logits, tuple) else logits
    return logits[:, -labels.shape[-1] :] if logits.dim() == 3 else logits


def evaluated(problem: Problem, scale: tuple[float, float]) -> Callable:
    """`compute_metrics` for the Trainer; a figure that is no number is left out."""

    def compute(prediction) -> dict[str, float]:
        found = figures(answered_of(problem, prediction.predictions, prediction.label_ids, scale))
        return {name: value for name, value in found.items() if math.isfinite(value)}

    return compute


def answered_of(problem: Problem, logits, labels, scale: tuple[float, float]) -> Answered:
    """Gathered outputs and labels as what is measured; of words those with a label."""
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if problem.task == "regression":
        values, truth = logits.reshape(len(labels)), labels.reshape(len(labels)).astype(np.float64)
        return Answered(problem, truth * scale[1] + scale[0], values * scale[1] + scale[0])
    if problem.task == "multi":
        return Answered(problem, labels > 0.5, logits)
    if problem.task == "single":
        return Answered(problem, labels, logits)
    kept = labels != IGNORED
    row, _ = np.nonzero(kept)
    return Answered(problem, labels[kept], logits[kept], np.unique(row, return_inverse=True)[1])
