"""What a classify run is checked for: what was asked for, before anything heavy; and what must hold at step 0."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from data_recipes.errors import Failed, Refused
from data_recipes.labels import Problem

RATES = ("accuracy", "macro_f1", "weighted_f1", "precision", "recall", "matthews")
FIGURES = {
    "single": (*RATES, "auroc"),
    "multi": (*RATES, "micro_f1", "auroc"),
    "regression": ("pearson", "spearman", "mae", "rmse", "r2"),
    "plain": RATES,
    "BIO": ("entity_f1", "entity_macro_f1", "accuracy"),
}


def known_labels(source) -> Sequence[str]:
    """The classes of a parent run or model folder, in the order of its head; nothing where it has none or did not name them."""
    manifest = source.manifest
    if manifest is not None:
        return tuple((manifest.get("task") or {}).get("labels", ()))
    file = source.path / "config.json" if source.path else None
    if file is None or not file.is_file():
        return ()
    held = json.loads(file.read_text(encoding="utf-8"))
    if not any("Classification" in name for name in held.get("architectures") or []):
        return ()
    named = held.get("id2label") or {}
    names = tuple(str(named[key]) for key in sorted(named, key=int))
    return () if all(name == f"LABEL_{place}" for place, name in enumerate(names)) else names


def check_asked(config, problem: Problem) -> None:
    """Raises Refused for settings that the problem has no use for."""
    asked, words = config.classify, problem.scheme or problem.task
    if asked.metric not in ("auto", "loss", *FIGURES[words]):
        raise Refused(
            f"classify.metric cannot be {asked.metric}: a {words} task has no such figure",
            where=config.origin("classify.metric"),
            expected=", ".join(("auto", "loss", *FIGURES[words])),
        )
    weights = asked.class_weights
    if weights != "none" and problem.task == "regression":
        raise Refused("a number has no classes to weigh", where=config.origin("classify.class_weights"), expected="none")
    if isinstance(weights, list) and len(weights) != len(problem.names):
        raise Refused(
            f"{len(weights)} weights for {len(problem.names)} classes",
            where=config.origin("classify.class_weights"),
            expected=f"one for each of {', '.join(problem.names)}",
        )


def check_start(trainer, rows: int) -> None:
    """Step 0: rows padded together give what each gives alone, and the loss is finite.

    It has no other bound: a new head is drawn, and on a wide decoder's hidden states that is nats above ln(classes).

    Raises:
        Failed: one of the two does not hold.
    """
    from alignment.invariants import first_batch
    from alignment.labelling.trainer import padded_equals_alone

    padded_equals_alone(trainer.model, trainer.data_collator.inner, [trainer.train_dataset[at] for at in range(rows)])
    if not math.isfinite(loss := first_batch(trainer, rows)[0]):
        raise Failed(f"step 0: the loss is {loss}", expected="a finite loss")
