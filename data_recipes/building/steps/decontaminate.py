"""Rows that repeat an evaluation set go: its prompts or its answers, as a whole or in a large part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from data_recipes import decontaminate as overlap
from data_recipes.building import other_rows, rows
from data_recipes.building.steps.base import Drop, InputFiles, Judge

SHOWN = 120  # characters of the span in the ledger


def decontaminate(
    *, against: InputFiles, parts: list[Literal["prompt", "answer"]] = ["prompt", "answer"],  # noqa: B006
    ngram: Annotated[int, Field(ge=2, le=50)] = overlap.NGRAM, share: Annotated[float, Field(gt=0, le=1)] = overlap.SHARE,
    allow: InputFiles = [],  # noqa: B006
) -> Judge:
    """Drops rows of which a message covers a large part of an evaluation text; see `data_recipes.decontaminate`.

    Args:
        against: evaluation files of any format. parts: what of them may not be repeated.
        ngram: words in a row that count as common. share: of an evaluation text that has to be covered by them.
        allow: text files with one reviewed phrase a line, which may be shared.
    """
    phrases = [line for path in allow for line in Path(path).read_text(encoding="utf-8").splitlines()]
    index = overlap.Index(_items(against, parts), ngram, share, phrases)

    def judge(row: dict) -> dict | Drop:
        for holder, key in rows.places(row):
            if spans := overlap.overlaps(holder[key], index):
                item, text = spans[0].item, " ".join(spans[0].text.split())
                shown = text if len(text) <= SHOWN else text[:SHOWN] + "..."
                return Drop(f"leaked-{item.part}", f"{spans[0].share:.0%} of {item.where}: {shown!r}")
        return row

    return judge


def _items(paths: list[str], parts: list[str]) -> Iterator[overlap.Item]:
    yield from (item for path in paths for item in other_rows.items(path) if item.part in parts)
