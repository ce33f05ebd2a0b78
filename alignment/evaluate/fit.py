"""The parts of `align eval` that say whether tuning went wrong: what was forgotten, and what was learned by heart. Light."""

from __future__ import annotations

from typing import Any

from alignment.evaluate import memorised, retained
from alignment.evaluate.arms import Arm

PARTS = {"retained": retained, "memorised": memorised}


def bare(compared: list[Arm]) -> dict:
    """A result without rows of its own."""
    arms = [{"name": arm.name, "members": [member.text for member in arm.members]} for arm in compared]
    return {"task": "fit", "arms": arms, "overlap": {}, "warnings": []}


def add(question: Any, compared: list[Arm], result: dict, ui: Any) -> None:
    """Measures what was asked for and puts it into the result."""
    if question.retain:
        result["retained"] = retained.measure(question, compared, ui)
    if question.memorised:
        result["memorised"] = memorised.measure(question, compared, ui)


def tables(result: dict) -> list[tuple]:
    """Their tables, in the order in which they are printed."""
    return [table for name, part in PARTS.items() if name in result for table in part.tables(result[name])]


def notes(result: dict) -> list[str]:
    """What they come to."""
    return [note for name, part in PARTS.items() if name in result for note in part.notes(result[name])]
