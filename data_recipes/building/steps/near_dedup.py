"""Nearly equal rows are merged into one: MinHash with the bands on the disk, every pair compared by its true word pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
from pydantic import Field

from data_recipes import dedup, near
from data_recipes.building import other_rows
from data_recipes.building import rows as parts
from data_recipes.building.steps.base import Build, InputFiles, Selection
from data_recipes.building.steps.merging import Keep, merged
from data_recipes.building.table import Rows


def near_dedup(
    build: Build, rows: Rows, *, on: parts.Part = "row", threshold: Annotated[float, Field(gt=0, le=1)] = near.THRESHOLD,
    keep: Keep = "first", against: InputFiles = [],  # noqa: B006
) -> Selection:
    """Keeps one of each group of near rows. Each row joins the earlier one it resembles most; see `data_recipes.near`.

    Args:
        on: what has to be alike: the whole row, its prompt or its answers.
        threshold: Jaccard index of the word pairs from which rows are near; short texts are held to a higher one.
        keep: which one stays; see `dedup`. against: files that are not to be repeated: a row near one of theirs goes.
    """
    others = list(other_rows.as_rows(against))
    with prepared(build, rows, on, [row for _, row in others]) as held:
        leader, score = dedup.leaders(held, threshold, leading=len(others))
    return merged(rows, leader, [place for place, _ in others], keep, score)


def prepared(build: Build, rows: Rows, on: parts.Part, others: list[dict] = []) -> dedup.Prepared:  # noqa: B006
    """Shingles and bands of a part of other rows and of these, on the disk until the returned one is closed."""
    here = sketch(on=on)
    mine = (both for _, both in build.each(f"{__name__}:sketch", {"on": on}, rows))
    packed = (both for source in ((here(parts.to_line(row)) for row in others), mine) for both in source)
    return dedup.prepare(_unpacked(packed), build.scratch())


def sketch(*, on: parts.Part) -> Callable[[bytes], bytes]:
    """For `Build.each`: a line's signature and then its shingles, as bytes of uint32."""
    def both(line: bytes) -> bytes:
        shingles = near.shingles(parts.part_text(parts.from_line(line), on))
        return near.signature(shingles).astype(np.uint32).tobytes() + shingles.tobytes()

    return both


def _unpacked(packed: Iterator[bytes]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for both in packed:
        numbers = np.frombuffer(both, np.uint32)
        yield numbers[near.PERMUTATIONS:], numbers[:near.PERMUTATIONS]
