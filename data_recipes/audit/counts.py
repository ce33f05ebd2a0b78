"""What is there: rows by file and kind, rows that cannot be read, lengths in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_recipes.audit.excerpts import excerpt
from data_recipes.audit.model import FACT, Bars, Context, Finding, Place, Refused, Row, counted
from data_recipes.audit.registry import any_rows, check
from data_recipes.records import Comparison, Demonstration, Labelled, Prompt, Text, Unpaired

SECTION = "Rows"
# Reasons of the reader that the check which looks for the same fault in rows that can be read points at, too.
CLAIMED = {
    "empty-text": "empty-answers", "bad-encoding": "encoding", "identical-pair": "identical-pairs",
    "bad-order": "turns", "bad-role": "turns", "bad-tool-call": "turns", "prompt-conflict": "turns",
}
KINDS = {Text: "text", Demonstration: "demonstration", Comparison: "comparison", Prompt: "prompt",
         Unpaired: "judged answer", Labelled: "labelled text"}
EDGES = (0, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


@check("rows", "Rows", SECTION, why="A source that is much larger than the others is what the model learns.",
       mend="mix, by the weights of the sources", needs=any_rows)
def rows_by_source(rows: Sequence[Row], context: Context) -> Finding:
    """Rows by part, source and kind."""
    sources = Counter(f"{Path(row.source).name} ({row.part})" for row in rows)
    kinds = Counter(type(row.record) for row in rows)
    said = ", ".join(f"{count:,} {KINDS[kind]}{'s' if count != 1 else ''}" for kind, count in kinds.most_common())
    return Finding("rows", "Rows", FACT, f"{said}.", len(rows), len(rows) + len(context.refused),
                   bars=(Bars("rows by source", tuple(sources.most_common(20))),))


@check("unreadable", "Rows that cannot be read", SECTION, why="A stage stops at them, or drops them with a count.",
       mend="mend the file; a build refuses them with their reason")
def unreadable(rows: Sequence[Row], context: Context) -> Finding:
    """All rows that the strict reader refused, by reason."""
    places = [_refused(row) for row in context.refused]
    reasons = Counter(row.reason for row in context.refused)
    said = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()) or "Every row can be read"
    return counted("unreadable", "Rows that cannot be read", f"{said}.", places, len(rows) + len(context.refused),
                   mend=mending(rows, context))


@check("lengths", "Lengths in words", SECTION, needs=any_rows,
       why="Very short answers teach the model to be curt; very long ones are cut at the stage's maximum.",
       mend="filter: {min_answer_words: 3, max_words: 2000}")
def lengths(rows: Sequence[Row], context: Context) -> Iterator[Finding]:
    """Quantiles of prompts and answers, and how many there are of each length."""
    words = {"prompts": [len(row.prompt.split()) for row in rows if row.prompt],
             "answers": [len(text.split()) for row in rows for text in row.answers.values()]}
    said = "; ".join(f"{name}: {quantiles(counts)}" for name, counts in words.items() if counts)
    bars = tuple(Bars(f"words of {name}", histogram(counts)) for name, counts in words.items() if counts)
    yield Finding("lengths", "Lengths in words", FACT, f"{said}.", bars=bars)


def refusals(context: Context, name: str) -> list[Place]:
    """The rows refused by the reader that one check points at beside `unreadable`."""
    return [_refused(row) for row in context.refused if CLAIMED.get(row.reason) == name]


def mending(rows: Sequence[Row], context: Context, name: str = "", step: str = "") -> str:
    """What mends a finding that has refused rows, which no step of a recipe ever sees; "" where it has none.

    Args:
        name: of the check that points at them, "" for all refused rows. step: what mends its rows that can be read.
    """
    if not (refusals(context, name) if name else context.refused):
        return ""
    refused = Counter(_file(row.where) for row in context.refused)
    read = Counter(_file(row.where) for row in rows) + refused
    share = max(-(-1000 * count // read[file]) / 1000 for file, count in refused.items())
    advice = f"mend the refused rows in the file, or leave them out with max_rejected: {share:g} in the recipe's source"
    return f"{advice}; for rows that can be read, {step}" if step else advice


def _file(where: str) -> str:
    return where.rpartition(":")[0]


def _refused(row: Refused) -> Place:
    return Place(row.where, f"{row.reason}: {row.detail}", excerpt(_as_text(row.row)))


def _as_text(row: Any) -> str:
    """A refused row as it may have stood in its file."""
    return row if isinstance(row, str) else json.dumps(row, ensure_ascii=False, default=str) if row else ""


def quantiles(counts: Sequence[int]) -> str:
    """Five quantiles in words."""
    low, quarter, half, most, top = (round(float(value)) for value in np.quantile(counts, (0.05, 0.25, 0.5, 0.75, 0.95)))
    return f"half have {quarter:,} to {most:,} (median {half:,}), nine in ten {low:,} to {top:,}, the longest {max(counts):,}"


def histogram(counts: Sequence[int], edges: tuple[int, ...] = EDGES) -> tuple[tuple[str, int], ...]:
    """How many lie between each two edges."""
    found, _ = np.histogram(counts, [*edges, np.inf])
    names = [f"{low:,} to {high - 1:,}" for low, high in zip(edges, edges[1:], strict=False)] + [f"{edges[-1]:,} or more"]
    return tuple((name, int(count)) for name, count in zip(names, found, strict=True) if count)
