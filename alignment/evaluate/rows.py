"""The rows of an evaluation: what they are, where nobody says it, and the prompts in them. Light."""

from __future__ import annotations

from itertools import islice
from typing import Any

from data_recipes.errors import Refused
from data_recipes.records import Demonstration, Prompt

LOOKED_AT = 100
KINDS = ("demonstrations", "comparisons", "prompts")


def read_rows(data: tuple[str, ...], kind: str, *, format: str, max_rejected: float, limit: int | None) -> Any:
    """`readers.Rows` of all files. Raises Refused for bad rows beyond the share, or where there is none."""
    from data_recipes.readers import read

    rows = read(list(data), kind, format=format, max_rejected=max_rejected)
    rows.ledger.check(max_rejected)
    rows.records[:] = rows.records[:limit]
    if not rows.records:
        raise Refused("there are no rows", where=", ".join(data), expected="one row or more")
    return rows


def kind_of(source: str) -> str:
    """What the first rows of a file or hub data set are: "comparisons", "demonstrations" or "prompts".

    Raises:
        Refused: they look like none of them, or none can be read.
    """
    from data_recipes.origins import resolve

    found = list(islice(resolve(source)[0].rows(), LOOKED_AT))
    rows = [row for _, row in found if isinstance(row, dict)]
    if not rows:
        what = f"none of the first {len(found)} rows can be read" if found else "there are no rows"
        do = "Mend the file: align data audit names each bad row." if found else ""
        raise Refused(what, where=source, expected="one row or more", do=do)
    return kind_of_rows(rows, source)


def kind_of_rows(rows: list[dict], where: str = "") -> str:
    """By what most rows have, where they fit one kind alone. Raises Refused where they fit none, or several."""
    from data_recipes import formats

    return formats.detect_kind(rows, where, KINDS)[0]


def as_prompts(records: list) -> list[Prompt]:
    """Prompts from prompts or demonstrations: a chat up to its last answer. A plain text asks nothing: refused."""
    made = []
    for record in records:
        if isinstance(record, Demonstration):
            record = Prompt(record.messages[:-1], record.tools, record.where, record.extra)
        if not isinstance(record, Prompt):
            raise Refused(
                "a plain text has no prompt to answer",
                where=record.where,
                do="Leave --reward and --references out, or give prompts.",
            )
        made.append(record)
    return made
