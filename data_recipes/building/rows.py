"""A row while a recipe works on it: the JSON object that a reader of its kind takes, and where its texts lie.

demonstrations: {"messages"} or {"text"};  prompts: {"prompt"};  comparisons: {"prompt", "chosen", "rejected"};
unpaired: {"prompt", "completion", "label"};  labelled: {"text", "label"}, a second text under "text_pair". Each may have
"tools", a comparison "margin"; all other columns of the source stay beside them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Literal

from data_recipes import files

Part = Literal["row", "prompt", "answer"]
CHATS = ("messages", "prompt", "chosen", "rejected", "completion")
TEXTS = ("text", "text_pair")


def to_line(row: dict) -> bytes:
    """A row as one line of JSON, always the same bytes for the same row."""
    return json.dumps(row, ensure_ascii=False, separators=(", ", ": ")).encode("utf-8") + b"\n"


def from_line(line: bytes) -> dict:
    """The row that a line holds."""
    return json.loads(line)


def places(row: dict) -> Iterator[tuple[dict, str]]:
    """Every text of a row, as the object that holds it and its key there; empty texts (beside tool calls) are left out."""
    for key in TEXTS:
        if row.get(key):
            yield row, key
    for message in (message for key in CHATS for message in row.get(key, ())):
        for key in ("content", "thinking"):
            if message.get(key):
                yield message, key


def changed(row: dict, change: Callable[[str], str]) -> dict:
    """The row with every text changed; the same object where nothing changes. The given row is never altered."""
    new = [change(holder[key]) for holder, key in places(row)]
    if all(text == holder[key] for text, (holder, key) in zip(new, places(row), strict=True)):
        return row
    copy = {**row, **{key: [dict(message) for message in row[key]] for key in CHATS if key in row}}
    for text, (holder, key) in zip(new, list(places(copy)), strict=True):
        holder[key] = text
    return copy


def prompt_messages(row: dict) -> list[dict]:
    """What stands before the last answer, as messages; of a row without messages, its texts as the user's."""
    if "messages" in row:
        return row["messages"][:-1]
    if "prompt" in row:
        return row["prompt"]
    return [{"role": "user", "content": row[key]} for key in TEXTS if key in row]


def opening(row: dict) -> list[dict]:
    """What stands before the assistant's first turn: two conversations that begin alike have the same opening."""
    messages = prompt_messages(row)
    end = next((number for number, turn in enumerate(messages) if turn["role"] == "assistant"), len(messages))
    return messages[:end]


def answer_messages(row: dict) -> list[dict]:
    """What a row trains on or compares: the last message, the chosen and the rejected one, the completion."""
    last = row["messages"][-1:] if "messages" in row else []
    return [*last, *(message for key in ("chosen", "rejected", "completion") for message in row.get(key, ()))]


def answers(row: dict) -> list[str]:
    """The texts of the answers; calls of tools have none."""
    return [message["content"] for message in answer_messages(row) if message["content"]]


def part_text(row: dict, part: Part | Literal["opening"]) -> str:
    """A part of a row as one text, without system messages: one that all rows share would make them all alike."""
    asked = opening(row) if part == "opening" else [] if part == "answer" else prompt_messages(row)
    given = answer_messages(row) if part in ("answer", "row") else []
    return "\n".join(turn["content"] for turn in (*asked, *given) if turn["content"] and turn["role"] != "system")


def equal_key(row: dict, part: Part) -> bytes:
    """What two rows share that are equal in this part but for letters' case and spaces: 16 bytes.

    Punctuation counts: 5+3 and 5-3 are different sums. Of a whole row, its label and its tools count too.
    """
    if part == "answer":
        return _digest(answer_messages(row), {})
    if part == "prompt":
        return _digest(prompt_messages(row), {})
    return _digest([*prompt_messages(row), *answer_messages(row)], {key: row.get(key) for key in ("label", "labels", "tools")})


def opening_key(row: dict) -> bytes:
    """What two rows share that begin with the same prompt, under whatever system message: 16 bytes."""
    return _digest([turn for turn in opening(row) if turn["role"] != "system"], {})


def _digest(messages: list[dict], beside: dict) -> bytes:
    turns = [[turn["role"], " ".join(turn["content"].casefold().split()), turn.get("tool_calls")] for turn in messages]
    return bytes.fromhex(files.sha256_json([turns, beside]))[:16]
