"""The rows of an evaluation: what they are, where nobody says it, and the prompts in them. Light."""

from __future__ import annotations

from itertools import islice
from typing import Any

from data_recipes.errors import Refused
from data_recipes.records import Demonstration, Prompt

LOOKED_AT = 100


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
        Refused: they look like none of them.
    """
    from data_recipes.origins import resolve

    stream = resolve(source)[0].rows()
    return kind_of_rows([row for _, row in islice(stream, LOOKED_AT) if isinstance(row, dict)], source)


def kind_of_rows(rows: list[dict], where: str = "") -> str:
    """By what most rows have. Pairs come first, since they have a prompt too; then chats that end with an answer."""
    tests = {"comparisons": _is_pair, "demonstrations": _is_answered, "prompts": _is_asked}
    counts = {kind: sum(test(row) for row in rows) for kind, test in tests.items()}
    best = max(counts, key=counts.get)
    if not counts[best]:
        keys = ", ".join(sorted({str(key) for row in rows for key in row})[:12]) or "(none)"
        raise Refused(
            f"rows with the columns {keys} are neither demonstrations nor pairs nor prompts",
            where=where or "--kind",
            expected="messages, prompt and completion, chosen and rejected, or prompt",
        )
    return best


def as_prompts(records: list) -> list[Prompt]:
    """Prompts from prompts or demonstrations: a chat up to its last answer. A plain text asks nothing: refused."""
    made = []
    for record in records:
        if isinstance(record, Demonstration):
            record = Prompt(record.messages[:-1], record.tools, record.where, record.extra)
        if not isinstance(record, Prompt):
            raise Refused(
                "a plain text has no prompt to answer", where=record.where, do="Leave --reward out, or give prompts."
            )
        made.append(record)
    return made


def _is_pair(row: dict) -> bool:
    return "chosen" in row and "rejected" in row


def _is_answered(row: dict) -> bool:
    if _is_pair(row):
        return False
    for key, roles in (("messages", ("assistant",)), ("conversations", ("gpt", "assistant", "chatgpt", "bot"))):
        if key in row:
            turns = row[key]
            last = turns[-1] if isinstance(turns, list) and turns else {}
            return isinstance(last, dict) and (last.get("role") or last.get("from")) in roles
    return any(all(key in row for key in keys) for keys in (("prompt", "completion"), ("instruction", "output"))) or (
        "text" in row and "prompt" not in row
    )


def _is_asked(row: dict) -> bool:
    return (
        not _is_pair(row)
        and not _is_answered(row)
        and any(key in row for key in ("prompt", "messages", "conversations", "instruction", "turns"))
    )
