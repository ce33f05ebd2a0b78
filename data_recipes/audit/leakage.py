"""Rows that a test would be fooled by: the same prompt on both sides of a split, and text of evaluation sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from data_recipes import near
from data_recipes.audit.excerpts import distinct, place
from data_recipes.audit.model import HELD_OUT, TRAIN, Context, Figure, Finding, Row, counted
from data_recipes.audit.registry import check
from data_recipes.decontaminate import Index, Span, overlaps
from data_recipes.intervals import wilson

SECTION = "Leakage"


def _both_sides(rows: Sequence[Row], context: Context) -> str:
    parts = {row.part for row in rows}
    return "" if parts == {TRAIN, HELD_OUT} else "a held-out side: --held-out FILE, or a folder that align data split wrote"


@check("leakage", "The same prompt on both sides", SECTION, needs=_both_sides, also=("near-leakage",),
       mend="split: {validation: 0.05}",
       why="A held-out row that was trained on measures memory: it looks better the more the model overfits.")
def leakage(rows: Sequence[Row], context: Context) -> Iterator[Finding]:
    """Held-out rows whose prompt is in the training rows, to the word or nearly."""
    train, held = ([row for row in rows if row.part == part] for part in (TRAIN, HELD_OUT))
    first = {_asked(row): row for row in reversed(train)}
    same = [(row, first[_asked(row)]) for row in held if _asked(row) in first]
    places = [place(row, f"the same prompt as {other.where}", _name(row)) for row, other in same]
    yield counted("leakage", "The same prompt on both sides", "Held-out rows whose prompt is also trained on, but for case, "
                  "spaces and punctuation.", places, len(held), unit="held-out rows")
    taken = {row.where for row, _ in same}
    yield _near_leakage(first, [row for row in held if row.where not in taken], len(held), context)


def _near_leakage(train: dict[str, Row], held: list[Row], total: int, context: Context) -> Finding:
    index, places = near.Index(context.threshold), []
    for row in held:
        index.add(row, _text(row))
    found: dict[str, tuple[Row, Row, float]] = {}
    for row in train.values():
        for other, score in index.near(_text(row)):
            if score > found.get(other.where, (None, None, 0.0))[2]:
                found[other.where] = (other, row, score)
    places = [place(row, f"{score:.0%} like the prompt of {other.where}", _name(row))
              for row, other, score in (found[row.where] for row in held if row.where in found)]
    return counted("near-leakage", "Nearly the same prompt on both sides", "Held-out rows whose prompt is trained on with "
                   "other words here and there.", places, total, unit="held-out rows", mend="split: {near_prompts: 0.4}")


@check("overlap", "Overlap with evaluation sets", SECTION, mend="decontaminate: {against: [EVAL]}",
       needs=lambda rows, context: "" if context.against else "evaluation sets: --against FILE",
       why="A benchmark that was trained on says nothing; UltraFeedback carried TruthfulQA's questions for months.")
def overlap(rows: Sequence[Row], context: Context) -> Finding:
    """Texts of rows, prompts and answers, that cover a good part of an evaluation item's prompt or answer."""
    items = [item for found in context.against.values() for item in found]
    index = Index(items, allowed=context.allowed)
    found = [(row, name, span) for row in rows for name, text in row.texts for span in overlaps(text, index)[:3]]
    places = distinct(place(row, _said(span), name, span.start, span.end) for row, name, span in found)
    hit = {(span.item.where, span.item.part, span.item.text) for *_, span in found}
    figures = tuple(Figure(f"items of {name} that are covered", wilson(len({item for item in items_of if tuple(item) in hit}),
                                                                       len(set(items_of))))
                    for name, items_of in context.against.items() if items_of)
    let_pass = f" {len(context.allowed):,} reviewed phrases were let pass." if context.allowed else ""
    text = (f"Rows that repeat a good part of one of {len(items):,} evaluation texts.{let_pass} Look at the span: a common "
            "phrase belongs into the allow-list.")
    return counted("overlap", "Overlap with evaluation sets", text, places, max(len(rows), 1), figures=figures)


def _said(span: Span) -> str:
    return f"covers {span.share:.0%} of the {span.item.part} at {span.item.where}"


def _asked(row: Row) -> str:
    return row.prompt_key or near.normal(_text(row))


def _text(row: Row) -> str:
    return row.prompt or " ".join(row.answers.values())


def _name(row: Row) -> str:
    """The part of the row that asked last."""
    asked = [name for name, _ in row.texts if name not in row.answers]
    return asked[-1] if asked else ""
