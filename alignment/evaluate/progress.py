"""Answers to the same held-out prompts from evaluation to evaluation: what a PPO run learned to say, to be read. Light."""

from __future__ import annotations

from pathlib import Path

from alignment.evaluate.curves import read_metrics

PROMPTS, EVALUATIONS = 2, 5  # shown of what the run kept


def over_time(file: Path) -> list[dict]:
    """The first prompts with their answers at the first, the last and some evaluations between; empty where none were kept."""
    by_step: dict[int, list[dict]] = {}
    for row in read_metrics(file):
        by_step.setdefault(row["step"], []).append(row)
    if not by_step:
        return []
    steps, last = sorted(by_step), len(by_step) - 1
    shown = sorted({round(place * last / (EVALUATIONS - 1)) for place in range(EVALUATIONS)})
    return [
        {"prompt": row["prompt"], "sides": [_side(by_step[steps[place]][number]) for place in shown]}
        for number, row in enumerate(by_step[steps[0]][:PROMPTS])
    ]


def _side(row: dict) -> dict:
    """An answer, from which step, and what it was given."""
    given = [f"{name} {row[name]:.2f}" for name in ("proxy", "gold") if name in row]
    return {"name": f"step {row['step']}", "text": row["answer"],
            "note": ", ".join(given + ([] if row["stopped"] else ["ran into the limit"]))}
