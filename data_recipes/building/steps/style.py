"""Rows whose answers break the team's style guide go; see `data_recipes.style`."""

from __future__ import annotations

from data_recipes import style as guides
from data_recipes.building import rows
from data_recipes.building.steps.base import Drop, InputFiles, Judge


def style(*, guide: InputFiles) -> Judge:
    """Drops rows whose trained answer (of a comparison the chosen one) breaks a rule of a guide.

    Args:
        guide: the YAML files of the guides.
    """
    held = [guides.load_guide(path) for path in guide]

    def judge(row: dict) -> dict | Drop:
        said = [turn["content"] for turn in rows.answer_messages(row)[:1] if turn["content"]]
        broken = [breach for one in held for text in said for breach in one.check(text)]
        return Drop(f"style-{broken[0].rule}", broken[0].detail) if broken else row

    return judge
