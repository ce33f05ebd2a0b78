"""In which languages the rows are written, and answers in another language than their question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from data_recipes.audit.excerpts import place
from data_recipes.audit.model import FACT, LOOK, Bars, Context, Finding, Row, counted
from data_recipes.audit.registry import any_rows, check
from data_recipes.languages import language

RARE = 0.02  # a language of fewer rows than this share stands out
UNKNOWN = "too short or unclear"


@check("languages", "Languages", "Rows", needs=any_rows, also=("language-mismatch",),
       why="Rows in a language that nobody meant to train are usually scraping accidents or broken text.",
       mend="filter: {language: [en], language_of: answer}")
def languages(rows: Sequence[Row], context: Context) -> Iterator[Finding]:
    """The language of each row's answer (or its prompt), those that stand out, and answers in another than their prompt."""
    told = [(row, name, language(text)) for row in rows for name, text in _prose(row).items()]
    counts = Counter(found or UNKNOWN for *_, found in told)
    known = sum(counts.values()) - counts[UNKNOWN]
    usual = next((name for name, _ in counts.most_common() if name != UNKNOWN), "")
    rare = {name for name, count in counts.items() if name not in (UNKNOWN, usual) and count < max(RARE * known, 1.5)}
    places = [place(row, f"reads as {found}", name) for row, name, found in told if found in rare]
    said = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(8))
    yield Finding("languages", "Languages", LOOK if places else FACT, f"{said}. Listed are texts in a language of fewer "
                  f"than {RARE:.0%} of them.", len(places), max(known, 1), "texts", places=tuple(places),
                  bars=(Bars("texts by language", tuple(counts.most_common(12))),))
    yield _mismatch([(row, name, found) for row, name, found in told if row.prompt and row.answers])


def _mismatch(answered: Sequence[tuple[Row, str, str]]) -> Finding:
    """Of rows with a prompt, the name of each answer and the language it was told to be in."""
    places = []
    for row, name, found in answered:
        if found and (prompt := language(row.prompt)) and found != prompt:
            places.append(place(row, f"the prompt reads as {prompt}, the answer as {found}", name))
    asked = len({row.where for row, *_ in answered})
    return counted("language-mismatch", "Answers in another language than their prompt", "The answer is in another language "
                   "than the question. Right for translations; else the model learns to switch.", places, max(asked, 1),
                   level=LOOK, why="A model that answers in another language than it was asked in is of no use to who asked.")


def _prose(row: Row) -> dict[str, str]:
    """The answers, or what was asked where there are none."""
    return row.answers or dict(row.texts[-1:])
