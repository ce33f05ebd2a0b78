"""How records are written: the canonical layout of each kind, and others that tools ask for.

What is written is read again and compared before it counts, so a row that a layout has no place for (a tool call in an
alpaca row) is refused rather than cut.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from data_recipes import formats
from data_recipes.formats import Fields
from data_recipes.records import BadRow, Comparison, Demonstration, Labelled, Message, Prompt, Record, Text, Unpaired

JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)  # json.dumps would make one for each row
SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
TRANSCRIPT = {"user": "Human", "assistant": "Assistant"}


@dataclass(frozen=True)
class Layout:
    """name: what --to calls it. kind: of which rows. format: as which it is read again. row: a record's own columns."""

    name: str
    kind: str
    format: str
    row: Callable[[Any], dict]


def to_row(record: Record, layout: Layout) -> dict:
    """The row to write: the layout's columns, then tools and margin where there are any, then all other columns.

    Raises:
        BadRow: column-clash, or cannot-write where the layout has no place for what is in the record.
    """
    row = layout.row(record)
    for name in ("tools", "margin"):
        if (value := getattr(record, name, None)) is not None:
            row[name] = value
    if clash := row.keys() & record.extra.keys():
        raise BadRow("column-clash", f"the row has a column {sorted(clash)[0]!r}, which {layout.name} needs; --drop it")
    return {**row, **record.extra}


def check(record: Record, layout: Layout) -> None:
    """That the written row is read as the same record. Raises BadRow: column-clash or cannot-write."""
    row = to_row(record, layout)
    found = formats.fitting(row, layout.kind)
    if found != [layout.format]:
        raise BadRow("column-clash", f"written as {layout.name} it would be read as {' or '.join(found)}; --drop a column")
    ((_, back),) = formats.convert(formats.by_name(layout.format, layout.kind), layout.kind, Fields(row))
    if isinstance(back, BadRow):
        raise BadRow("cannot-write", f"{layout.name} has no place for this row: {back.reason}, {back.detail}")
    if back != replace(record, where=""):
        raise BadRow("cannot-write", f"read again from {layout.name} it would not be the same: {_difference(record, back)}")


def encoded(row: dict) -> bytes:
    """A row as one line of JSON. Raises BadRow: wrong-type where a column holds what JSON cannot."""
    try:
        return (JSON.encode(row) + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:
        raise BadRow("wrong-type", f"a column holds what JSON cannot: {error}") from error


def _difference(one: Record, other: Record) -> str:
    names = [name for name in one.__dataclass_fields__ if name != "where" and getattr(one, name) != getattr(other, name, None)]
    return ", ".join(names) or "another kind of row"


def _chat(messages: tuple[Message, ...]) -> list[dict]:
    return [message.as_dict() for message in messages]


def _is(record: Record, kind: type, what: str) -> None:
    if not isinstance(record, kind):
        raise BadRow("cannot-write", f"{what}, and this row is none")


def _messages(record: Demonstration) -> dict:
    _is(record, Demonstration, "messages are chats")
    return {"messages": _chat(record.messages)}


def _text(record: Text) -> dict:
    _is(record, Text, "text is plain text")
    return {"text": record.text}


def _prompt_completion(record: Demonstration) -> dict:
    _is(record, Demonstration, "prompt and completion are a chat")
    return {"prompt": _chat(record.messages[:-1]), "completion": _chat(record.messages[-1:])}


def _alpaca(record: Demonstration) -> dict:
    _is(record, Demonstration, "alpaca rows are chats")
    texts = [turn.content for turn in record.messages]
    row: dict[str, Any] = {}
    if record.messages[0].role == "system":
        row["system"], texts = texts[0], texts[1:]
    *past, question, answer = texts
    if past:
        row["history"] = [list(pair) for pair in zip(past[::2], past[1::2], strict=False)]
    return {**row, "instruction": question, "input": "", "output": answer}


def _sharegpt(record: Demonstration) -> dict:
    _is(record, Demonstration, "sharegpt rows are chats")
    return {"conversations": _turns(record.messages)}


def _turns(messages: tuple[Message, ...]) -> list[dict]:
    return [_turn(message) for message in messages]


def _turn(message: Message) -> dict:
    if not message.tool_calls:
        return {"from": SPEAKERS[message.role], "value": message.content}
    calls = [call["function"] for call in message.tool_calls]
    return {"from": "function_call", "value": json.dumps(calls[0] if len(calls) == 1 else calls, ensure_ascii=False)}


def _pairs(record: Comparison) -> dict:
    return {"prompt": _chat(record.prompt), "chosen": _chat(record.chosen), "rejected": _chat(record.rejected)}


def _preference(record: Comparison) -> dict:
    lone = len(record.prompt) == 1 and record.prompt[0].role == "user"
    prompt = record.prompt[0].content if lone else _chat(record.prompt)
    return {"prompt": prompt, "chosen": record.chosen[0].content, "rejected": record.rejected[0].content}


def _conversations_pair(record: Comparison) -> dict:
    return {side: _chat(record.prompt + getattr(record, side)) for side in ("chosen", "rejected")}


def _hh(record: Comparison) -> dict:
    return {side: "".join(map(_said, record.prompt + getattr(record, side))) for side in ("chosen", "rejected")}


def _said(message: Message) -> str:
    if message.role not in TRANSCRIPT:
        raise BadRow("cannot-write", f"hh transcripts have no {message.role} message")
    return f"\n\n{TRANSCRIPT[message.role]}: {message.content}"


def _sharegpt_pair(record: Comparison) -> dict:
    return {"conversations": _turns(record.prompt), "chosen": _turn(record.chosen[0]), "rejected": _turn(record.rejected[0])}


def _prompts(record: Prompt) -> dict:
    return {"prompt": _chat(record.messages)}


def _kto(record: Unpaired) -> dict:
    return {"prompt": _chat(record.prompt), "completion": _chat(record.completion), "label": record.label}


def _kto_messages(record: Unpaired) -> dict:
    return {"messages": _chat(record.prompt + record.completion), "label": record.label}


def _labels(record: Labelled) -> dict:
    second = {} if record.pair is None else {"text_pair": record.pair}
    many = isinstance(record.label, tuple)
    return {"text": record.text, **second, "labels" if many else "label": list(record.label) if many else record.label}


LAYOUTS = {layout.name: layout for layout in (
    Layout("messages", "demonstrations", "messages", _messages),
    Layout("prompt-completion", "demonstrations", "prompt-completion", _prompt_completion),
    Layout("alpaca", "demonstrations", "alpaca", _alpaca),
    Layout("sharegpt", "demonstrations", "sharegpt", _sharegpt),
    Layout("text", "demonstrations", "text", _text),
    Layout("pairs", "comparisons", "preference-messages", _pairs),
    Layout("preference", "comparisons", "preference", _preference),
    Layout("conversations-pair", "comparisons", "conversations-pair", _conversations_pair),
    Layout("hh", "comparisons", "hh", _hh),
    Layout("sharegpt-pair", "comparisons", "sharegpt-pair", _sharegpt_pair),
    Layout("prompts", "prompts", "prompt", _prompts),
    Layout("kto", "unpaired", "kto", _kto),
    Layout("kto-messages", "unpaired", "kto-messages", _kto_messages),
    Layout("labels", "labelled", "labels", _labels),
)}
CANONICAL = {"demonstrations": "messages", "comparisons": "pairs", "prompts": "prompts", "unpaired": "kto",
             "labelled": "labels"}


def canonical(kind: str, format: str = "") -> Layout:
    """The layout that `--to auto` writes for rows of a kind; plain text stays plain text."""
    return LAYOUTS["text" if format == "text" else CANONICAL[kind]]
