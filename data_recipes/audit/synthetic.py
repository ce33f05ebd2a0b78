"""Rows that a generator made, beside people's: how many they are, and whether they are less varied."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from data_recipes.audit.model import FACT, LOOK, Context, Figure, Finding, Row
from data_recipes.audit.registry import check
from data_recipes.augment.diversity import compare, is_synthetic
from data_recipes.intervals import LEVEL, Interval

LEAST = 20  # texts on either side
WORDS = {"distinct_1": "different words", "distinct_2": "different word pairs", "distinct_3": "different word triples",
         "self_bleu": "self-BLEU"}
PARTS: dict[str, Callable[[Row], str]] = {
    "prompts": lambda row: row.prompt, "answers": lambda row: next(iter(row.answers.values()), ""),
}


def _needs(rows: Sequence[Row], context: Context) -> str:
    made = sum(is_synthetic(row.extra) for row in rows)
    enough = min(made, len(rows) - made) >= LEAST
    return "" if enough else f"{LEAST} rows with a column `synthetic`, and as many without"


@check("diversity", "Synthetic rows beside the others", "Answers", needs=_needs, mend="mix: {synthetic: {max_share: 0.3}}",
       why="Rows of one generator repeat its habits; a model trained on many of them says less.")
def diversity(rows: Sequence[Row], context: Context) -> Finding:
    """distinct-n and self-BLEU of both sides on draws of equal size; marked where the draws of the two lie apart."""
    made = [row for row in rows if is_synthetic(row.extra)]
    others = [row for row in rows if not is_synthetic(row.extra)]
    figures = [figure for part, of in PARTS.items() for figure in _figures(part, _texts(made, of), _texts(others, of), context)]
    poorer = sorted({figure.label.partition(",")[0] for figure in figures if figure.marked})
    text = f"{len(made):,} of {len(rows):,} rows were made by a generator. Measured on draws of equally many texts."
    if poorer:
        text += f" The synthetic {' and '.join(poorer)} are less varied."
    return Finding("diversity", "Synthetic rows beside the others", LOOK if poorer else FACT, text, len(made), len(rows),
                   figures=tuple(figures))


def _texts(rows: Sequence[Row], of: Callable[[Row], str]) -> list[str]:
    return [text for row in rows if (text := of(row)).strip()]


def _figures(part: str, made: list[str], others: list[str], context: Context) -> list[Figure]:
    found = compare(made, others, seed=context.seed) if min(len(made), len(others)) >= LEAST else None
    figures = []
    for name, sides in (found or {"measures": {}})["measures"].items():
        scale = 100 if name == "self_bleu" else 1  # sacrebleu's scale is 0 to 100
        apart = sides["difference"]
        poorer = apart["low"] > 0 if name == "self_bleu" else apart["high"] < 0
        for side, marked in (("synthetic", poorer), ("human", False)):
            value, low, high = (sides[side][key] / scale for key in ("value", "low", "high"))
            words = f"{part}, {WORDS[name]}, {'synthetic' if side == 'synthetic' else 'the others'}"
            figures.append(Figure(words, Interval(value, low, high, found["texts"], LEVEL), marked=marked))
    return figures
