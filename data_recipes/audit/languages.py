"""In which languages the rows are written (py3langid: 97 languages, a model inside the package, nothing is fetched)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

from data_recipes.audit.excerpts import place
from data_recipes.audit.model import FACT, LOOK, Bars, Context, Finding, Row, counted
from data_recipes.audit.registry import any_rows, check

LETTERS, SURE = 40, 0.98  # fewer letters, or a lower probability, and nothing is said: "hello" would be any language
RARE = 0.02  # a language of fewer rows than this share stands out
CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|<[^<>\n]{1,80}>", re.DOTALL)
LETTER = re.compile(r"[^\W\d_]")
DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
UNKNOWN = "too short or unclear"


@check("languages", "Languages", "Rows", needs=any_rows, also=("language-mismatch",),
       why="Rows in a language that nobody meant to train are usually scraping accidents or broken text.",
       mend="filter: language")
def languages(rows: Sequence[Row], context: Context) -> Iterator[Finding]:
    """The language of each row's answer (or its prompt), those that stand out, and answers in another than their prompt."""
    told = [(row, language(_prose(row))) for row in rows]
    counts = Counter(found or UNKNOWN for _, found in told)
    known = sum(counts.values()) - counts[UNKNOWN]
    rare = {name for name, count in counts.items() if name != UNKNOWN and count < max(RARE * known, 1.5)}
    places = [place(row, f"reads as {found}", next(iter(row.answers), "")) for row, found in told if found in rare]
    said = ", ".join(f"{name} {count:,}" for name, count in counts.most_common(8))
    yield Finding("languages", "Languages", LOOK if places else FACT, f"{said}. Listed are rows in a language of fewer than "
                  f"{RARE:.0%} of the rows.", len(places), max(known, 1), places=tuple(places),
                  bars=(Bars("rows by language", tuple(counts.most_common(12))),))
    yield _mismatch(rows)


def _mismatch(rows: Sequence[Row]) -> Finding:
    asked = [row for row in rows if row.prompt and row.answers]
    places = []
    for row in asked:
        prompt = language(row.prompt)
        places += [place(row, f"the prompt reads as {prompt}, the answer as {found}", name)
                   for name, text in row.answers.items() if prompt and (found := language(text)) and found != prompt]
    return counted("language-mismatch", "Answers in another language than their prompt", "The answer is in another language "
                   "than the question. Right for translations; else the model learns to switch.", places, max(len(asked), 1),
                   level=LOOK, why="A model that answers in another language than it was asked in is of no use to who asked.")


def _prose(row: Row) -> str:
    return " ".join(row.answers.values()) or row.prompt


@lru_cache(maxsize=1 << 16)
def language(text: str) -> str:
    """The language as an ISO 639-1 code, or "" where it cannot be told: code, sums, names and short texts have none."""
    prose = CODE.sub(" ", text[:4000])
    # a sign of a script without spaces says as much as three letters
    if len(LETTER.findall(prose)) + 2 * len(DENSE.findall(prose)) < LETTERS:
        return ""
    found, probability = _identifier().classify(prose)
    return found if probability >= SURE else ""


@lru_cache(maxsize=1)
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
