"""Rows that are there more than once, to the letter or nearly."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterator, Sequence

from data_recipes import dedup, near
from data_recipes.audit.excerpts import place
from data_recipes.audit.model import FACT, LOOK, Context, Finding, Row, counted
from data_recipes.audit.registry import any_rows, check

SECTION = "Duplicates"
FEW, ALIKE = 4, 0.2  # answers of fewer word pairs must be equal; longer ones must share this much to be the same answer


@check("duplicates", "Exact duplicates", SECTION, needs=any_rows, also=("repeats",),
       why="A row that is there five times is trained five times: models recite it, and counts of rows mislead.",
       mend="dedup")
def duplicates(rows: Sequence[Row], context: Context) -> Iterator[Finding]:
    """Rows equal in all turns and answers but for spaces and Unicode's spelling, within one side of a split.

    A row that a recipe's mixture took several times is no such row: it is said beside.
    """
    first: dict[Hashable, Row] = {}
    sizes: dict[Hashable, int] = {}
    found: list[tuple[Row, Hashable]] = []
    once, repeats = parted(rows)
    for row in once:
        key = content_key(row)
        sizes[key] = sizes.get(key, 0) + 1
        if first.setdefault(key, row) is not row:
            found.append((row, key))
    places = [place(row, f"the same as {first[key].where}{_of(sizes[key])}", _main(row)) for row, key in found]
    clusters = len({key for _, key in found})
    text = f"Rows that repeat an earlier one, in {clusters:,} groups."
    yield counted("duplicates", "Exact duplicates", text, places, len(rows))
    yield counted("repeats", "Rows that a mixture repeats", "Rows taken again on purpose, by their column origin; they are no "
                  "duplicates.", [place(row, "taken again", _main(row)) for row in repeats], len(rows), level=FACT,
                  why="Where a source has fewer rows than its weight asks for, each is trained several times.",
                  mend="mix: {repeats: 1}, where that is not wanted")


def parted(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Rows, and those that a recipe's mixture took again: one source row, told by the column `origin`, in one file."""
    taken: set[Hashable] = set()
    once: list[Row] = []
    again: list[Row] = []
    for row in rows:
        origin = _origin(row)
        key = (content_key(row), origin) if origin is not None else None
        (again if key in taken else once).append(row)
        if key is not None:
            taken.add(key)
    return once, again


@check("near-duplicates", "Near duplicates", SECTION, needs=any_rows,
       why="They weigh as much as true copies, and a split by row puts one of them on each side.", mend="near_dedup")
def near_duplicates(rows: Sequence[Row], context: Context) -> Finding:
    """Rows that resemble an earlier one in prompt and answers, by word pairs; exact copies are not named again."""
    once = list({content_key(row): row for row in reversed(rows)}.values())[::-1]
    places, clusters = [], 0
    for cluster in dedup.clusters(map(_whole, once), context.threshold):
        leader = once[cluster.members[0]]
        alike = [(once[at], score) for at, score in zip(cluster.members[1:], cluster.similarities[1:], strict=True)
                 if _same_answers(leader, once[at])]
        clusters += bool(alike)
        places += [place(row, f"{score:.0%} like {leader.where}{_of(len(alike) + 1)}", _main(row)) for row, score in alike]
    return counted("near-duplicates", "Near duplicates", f"Rows that nearly repeat an earlier one, in {clusters:,} groups "
                   f"(word pairs shared: {context.threshold:.0%} or more, short texts up to {near.SHORT_THRESHOLD:.0%}).",
                   sorted(places, key=_order(rows)), len(rows), level=LOOK)


def content_key(row: Row) -> Hashable:
    """Equal for rows that say the same; a hash, so that the texts are not held twice."""
    record = row.record
    turns = tuple((turn.role, levelled(turn.content), repr(turn.tool_calls)) for turn in row.prompt_turns)
    answers = tuple((name, levelled(text)) for name, text in row.answers.items())
    calls = repr([turn.tool_calls for turn in getattr(record, "messages", ()) if turn.tool_calls])
    return hash((row.part, turns, answers, calls, repr(row.label)))


def levelled(text: str) -> str:
    """The text with one kind of blank and one spelling of each character."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _origin(row: Row) -> tuple | None:
    """Which row of which source a built file's row was made of; None where the row does not say so.

    Two files that were built from one source do not share their rows: only a file's own mixture repeats on purpose.
    """
    origin = row.extra.get("origin")
    if not isinstance(origin, dict) or not isinstance(origin.get("row"), int):
        return None
    return row.where.rpartition(":")[0], str(origin.get("source")), origin["row"]


def _whole(row: Row) -> str:
    return "\n".join((row.part, row.prompt, *row.answers.values()))


def _same_answers(one: Row, other: Row) -> bool:
    """Whether each answer resembles its like: one prompt with two answers, or a flipped pair, is no duplicate."""
    if one.part != other.part or one.answers.keys() != other.answers.keys() or one.label != other.label:
        return False
    return all(_alike(one.answers[name], other.answers[name]) for name in one.answers)


def _alike(one: str, other: str) -> bool:
    held, others = near.shingles(one), near.shingles(other)
    if min(len(held), len(others)) < FEW:
        return near.normal(one) == near.normal(other)
    return near.jaccard(held, others) >= ALIKE


def _main(row: Row) -> str:
    return next((name for name, _ in row.texts), "")


def _of(size: int) -> str:
    return f" (one of {size:,})" if size > 2 else ""


def _order(rows: Sequence[Row]):
    order = {row.where: at for at, row in enumerate(rows)}
    return lambda found: order[found.where]
