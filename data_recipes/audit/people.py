"""How outcomes differ by the people a row is about, and how angry, sad or toxic its texts are.

Word lists know no context. What they give is a rate to look at with the rows behind it, never a verdict on a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot

from data_recipes.audit import wordlists
from data_recipes.audit.answers import OPENING, refusal_pattern
from data_recipes.audit.excerpts import place
from data_recipes.audit.judged import rate
from data_recipes.audit.model import CLEAN, FACT, LOOK, Context, Figure, Finding, Place, Row
from data_recipes.audit.registry import any_rows, check
from data_recipes.intervals import LEVEL, Interval, wilson
from data_recipes.records import Comparison

SECTION = "Bias and tone"
LEAST, MOST_GROUPS = 20, 20  # rows of a group below which nothing is said; groups of a column
SHARE, HITS = 0.05, 2  # a text is angry or sad with two words of the list, or one in twenty
TOXIC = 0.5  # of a model's score
PERCENT_ANGRY = 0.05


@dataclass(frozen=True)
class Outcome:
    """Something that may befall a row. of: true, false, or None where it cannot."""

    name: str
    of: Callable[[Row], bool | None]


@check("groups", "Outcomes by group", SECTION, needs=any_rows, mend="balance: {by: COLUMN}; write the rows that are missing",
       why="What differs by who is asked about, the model will do by who is asked about.")
def groups(rows: Sequence[Row], context: Context) -> Finding:
    """For each group (rows that name it, or have it in a column) and each outcome: its rate against that of all other rows."""
    members = {name: held for name, held in _members(rows, context).items() if len(held) >= LEAST}
    outcomes = _outcomes(rows, context)
    tests = [(name, outcome) for name in members for outcome in outcomes]
    compared = [(name, outcome, *_compared(rows, members[name], outcome)) for name, outcome in tests]
    compared = [one for one in compared if one[2] is not None and one[3] is not None]
    # several dozen comparisons at 95 % each would find something in noise; together they are held to 95 % (Bonferroni)
    level = 1 - (1 - LEVEL) / max(1, len(compared))
    marked = [(name, outcome, *sides) for name, outcome, *sides in compared if _apart(*sides, level)]
    figures = tuple(Figure(f"{outcome.name}: {name}", inside, outside.value, marked=True)
                    for name, outcome, inside, outside in marked)
    places = tuple(_place(row, name, outcome) for name, outcome, *_ in marked for row in rows
                   if row.where in members[name] and outcome.of(row))
    known = ", ".join(f"{name} {len(held):,}" for name, held in sorted(members.items(), key=lambda item: -len(item[1])))
    text = f"Rows by group: {known}. " if known else f"No group is named in {LEAST} rows or more. "
    text += f"{len(marked)} of {len(compared)} rates differ from the other rows' (the line), all held to 95 % together."
    return Finding("groups", "Outcomes by group", LOOK if marked else CLEAN, text, len(marked), len(compared), "comparisons",
                   places=places, figures=figures)


@check("tone", "Angry and sad texts", SECTION, needs=any_rows, mend="balance: {by: COLUMN}, or leave the rows out",
       why="A model takes the tone of its answers; where one tone wins, a policy drifts there.")
def tone(rows: Sequence[Row], context: Context) -> Finding:
    """How many prompts and answers are angry or sad by word lists, and whether pairs prefer it."""
    measures = {name: _share_of(context.listed(name)) for name in ("angry", "sad")}
    figures, places, skewed = [], [], []
    for name, measure in measures.items():
        listed = context.listed(name)
        for part, texts in _parts(rows).items():
            hits = [(row, key, text) for row, key, text in texts if measure(text)]
            figures.append(Figure(f"{part} that are {name}", wilson(len(hits), len(texts))))
            places += [place(row, name, key, *_first(text, listed)) for row, key, text in hits if part != "prompts"]
        found = rate(rows, _count_of(listed), context.seed)
        if found is not None:
            skewed += [name] if not found.low <= 0.5 <= found.high else []
            figures.append(Figure(f"the answer of more {name} words is better", found, 0.5, marked=name in skewed))
    heavy = any(figure.interval.low > PERCENT_ANGRY for figure in figures if "answers" in figure.label)
    text = f"The better answer differs in tone: {', '.join(skewed)}." if skewed else "By word lists; answers are listed."
    return Finding("tone", "Angry and sad texts", LOOK if skewed or heavy else FACT, text, len({one.where for one in places}),
                   len(rows), places=tuple(places), figures=tuple(figures))


@check("toxic", "Toxic terms", SECTION, needs=any_rows, mend="filter: {without: [WORDS.txt]}, or keep such answers as rejected",
       why="In an answer they are trained; in a prompt they may be wanted, to train the reply.")
def toxic(rows: Sequence[Row], context: Context) -> Finding:
    """Texts with profanity, insults or threats, by a word list or by a model's score."""
    figures, places = [], []
    for part, texts in _parts(rows).items():
        hits = _toxic(texts, context)
        figures.append(Figure(f"toxic {part}", wilson(len(hits), len(texts))))
        places += [place(row, said, key, *span) for row, key, said, span in hits if part != "prompts"]
    measure = _count_of(context.listed("toxic"))
    if context.toxicity is None and (found := rate(rows, measure, context.seed)) is not None:
        figures.append(Figure("the answer of more toxic words is better", found, 0.5, marked=found.low > 0.5))
    by = "the model's score of 0.5 or more" if context.toxicity else "a word list, which knows no context"
    trained = [one for one in places if "rejected" not in one.note]
    return Finding("toxic", "Toxic terms", LOOK if trained else FACT, f"By {by}. Listed are answers; {len(trained):,} of the "
                   f"{len(places):,} are trained on as good ones.", len({one.where for one in trained}), len(rows),
                   places=tuple(places), figures=tuple(figures))


def difference(one: Interval, other: Interval) -> tuple[float, float]:
    """Bounds of the difference of two shares from their Wilson intervals (Newcombe 1998, method 10)."""
    gap = one.value - other.value
    return (gap - hypot(one.value - one.low, other.high - other.value),
            gap + hypot(one.high - one.value, other.value - other.low))


def _apart(inside: Interval, outside: Interval, level: float) -> bool:
    one, other = (wilson(share.value * share.n, share.n, level=level) for share in (inside, outside))
    low, high = difference(one, other)
    return low > 0 or high < 0


def _members(rows: Sequence[Row], context: Context) -> dict[str, set[str]]:
    """Places of the rows of each group."""
    found: dict[str, set[str]] = {}
    if context.group_column:
        for row in rows:
            if (value := row.extra.get(context.group_column)) is not None:
                found.setdefault(str(value), set()).add(row.where)
        return dict(sorted(found.items(), key=lambda item: -len(item[1]))[:MOST_GROUPS])
    for name, listed in context.groups.items():
        seek = wordlists.pattern(listed).search
        found[name] = {row.where for row in rows if seek(row.prompt)}
    return found


def _outcomes(rows: Sequence[Row], context: Context) -> list[Outcome]:
    """Outcomes that at least some rows can have."""
    labels = {str(row.label) for row in rows if row.label is not None}
    refuses, toxic_words = refusal_pattern(context), wordlists.pattern(context.listed("toxic"))
    made = [Outcome("refused", lambda row: _holds(row, refuses, OPENING)),
            Outcome("toxic answer", lambda row: _holds(row, toxic_words)), Outcome("longer answer wins", _longer)]
    positive = max(labels) if len(labels) == 2 else None
    if positive is not None:
        made.append(Outcome(f"label {positive}", lambda row: None if row.label is None else str(row.label) == positive))
    return [one for one in made if any(one.of(row) is not None for row in rows)]


def _good(row: Row) -> str | None:
    """The answer that is trained as a good one."""
    return row.answers.get("chosen", row.answers.get("answer"))


def _holds(row: Row, pattern: re.Pattern, opening: int | None = None) -> bool | None:
    """Whether the start of the good answer, or all of it, holds what a pattern says."""
    answer = _good(row)
    return None if answer is None else bool(pattern.search(answer[:opening]))


def _longer(row: Row) -> bool | None:
    if not isinstance(row.record, Comparison):
        return None
    sizes = [len(row.answers[side].split()) for side in ("chosen", "rejected")]
    return None if sizes[0] == sizes[1] else sizes[0] > sizes[1]


def _compared(rows: Sequence[Row], members: set[str], outcome: Outcome) -> tuple[Interval | None, Interval | None]:
    sides: dict[bool, list[bool]] = {True: [], False: []}
    for row in rows:
        if (found := outcome.of(row)) is not None:
            sides[row.where in members].append(found)
    return tuple(wilson(sum(held), len(held)) if len(held) >= LEAST else None for held in (sides[True], sides[False]))


def _place(row: Row, group: str, outcome: Outcome) -> Place:
    return place(row, f"{outcome.name}, {group}", next(iter(row.answers), ""))


def _parts(rows: Sequence[Row]) -> dict[str, list[tuple[Row, str, str]]]:
    """All texts by what they are: prompts, answers, chosen answers, rejected answers."""
    found: dict[str, list[tuple[Row, str, str]]] = {}
    for row in rows:
        for name, text in row.texts:
            if name in row.answers or "(user)" in name:
                part = {"answer": "answers"}.get(name, f"{name} answers") if name in row.answers else "prompts"
                found.setdefault(part, []).append((row, name, text))
    return dict(sorted(found.items(), key=lambda item: item[0] != "prompts"))


def _count_of(listed: frozenset[str]) -> Callable[[str], int]:
    seek = wordlists.pattern(listed)
    return lambda text: len(seek.findall(text))


def _share_of(listed: frozenset[str]) -> Callable[[str], bool]:
    """Whether enough of a text's words are on the list."""
    count = _count_of(listed)

    def enough(text: str) -> bool:
        hits = count(text)
        return hits >= 1 and (hits >= SHARE * len(text.split()) or hits >= max(HITS, SHARE / 2 * len(text.split())))

    return enough


def _first(text: str, listed: frozenset[str]) -> tuple[int, int]:
    return wordlists.pattern(listed).search(text).span()


def _toxic(texts: list[tuple[Row, str, str]], context: Context) -> list[tuple[Row, str, str, tuple[int, int]]]:
    """(row, part, what was found, where in the text) of toxic texts."""
    if context.toxicity is not None:
        scores = context.toxicity([text for *_, text in texts])
        return [(row, name, f"score {score:.2f}", (0, 0)) for (row, name, _), score in zip(texts, scores, strict=True)
                if score >= TOXIC]
    seek = wordlists.pattern(context.listed("toxic"))
    return [(row, name, "a word of the list", match.span()) for row, name, text in texts if (match := seek.search(text))]
