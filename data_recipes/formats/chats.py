"""Demonstrations: chats that end with the answer to learn, and plain text."""

from __future__ import annotations

from collections.abc import Iterator

from data_recipes import turns
from data_recipes.formats.base import Fields, is_open, keyed
from data_recipes.records import BadRow, Demonstration, Message, Text, check_text


def chat(found: turns.Turns, fields: Fields) -> Demonstration:
    """A demonstration with the row's tools and its other columns."""
    return Demonstration(found, fields.tools(), fields.where, fields.rest())


def alpaca_chat(fields: Fields) -> turns.Turns:
    """Instruction and input as one user message, after LLaMA-Factory's optional `system` and `history` columns."""
    return fields.system((*_history(fields), _question(fields, "instruction", "input")))


def dolly_chat(fields: Fields) -> turns.Turns:
    """Instruction and context as one user message."""
    return fields.system((_question(fields, "instruction", "context"),))


def sharegpt_chat(fields: Fields) -> turns.Turns:
    """Turns of `from` and `value`, after an optional `system` column."""
    found = turns.from_sharegpt("conversations", fields.value("conversations"), fields.ignored)
    return fields.system(found)


def instances(fields: Fields) -> Iterator[dict]:
    """An instruction with several instances of input and output (self-instruct), as alpaca rows."""
    instruction, items = fields.value("instruction"), fields.items("instances", "instances of input and output")
    for item in items:
        yield {"instruction": instruction, **item, **fields.rest()}


def _question(fields: Fields, ask: str, about: str) -> Message:
    parts = [check_text(ask, fields.value(ask)), fields.optional_text(about)]
    return Message("user", "\n\n".join(part for part in parts if part is not None))


def _history(fields: Fields) -> turns.Turns:
    past = fields.row.get("history") or []
    fields.used.add("history")
    if not isinstance(past, list) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in past):
        raise BadRow("wrong-type", "history must be a list of [question, answer] pairs")
    roles = ("user", "assistant")
    return tuple(Message(role, check_text("history", text)) for pair in past for role, text in zip(roles, pair, strict=True))


def _messages(fields: Fields) -> Demonstration:
    return chat(fields.turns("messages"), fields)


def _prompt_completion(fields: Fields) -> Demonstration:
    return chat(fields.either("prompt", "user") + fields.either("completion", "assistant"), fields)


def _sharegpt(fields: Fields) -> Demonstration:
    return chat(sharegpt_chat(fields), fields)


def _alpaca(fields: Fields) -> Demonstration:
    answer = Message("assistant", check_text("output", fields.value("output")))
    return chat((*alpaca_chat(fields), answer), fields)


def _dolly(fields: Fields) -> Demonstration:
    answer = Message("assistant", check_text("response", fields.value("response")))
    return chat((*dolly_chat(fields), answer), fields)


def _text(fields: Fields) -> Text:
    return Text(check_text("text", fields.value("text")), fields.where, fields.rest())


CHATS = (
    # beside chosen and rejected (HuggingFaceH4's ultrafeedback_binarized) messages only repeat the chosen answer
    keyed("messages", "messages", "messages", _messages,
          own=lambda row: "messages" in row and not is_open(row) and not {"chosen", "rejected"} <= row.keys()),
    keyed("prompt-completion", "prompt and completion", "prompt completion", _prompt_completion),
    keyed("alpaca", "instruction and output", "instruction output", _alpaca),
    keyed("dolly", "instruction and response", "instruction response", _dolly, no="output"),
    keyed("self-instruct", "instruction and instances", "instruction instances", _alpaca, parts=instances),
    keyed("sharegpt", "conversations", "conversations", _sharegpt, no="chosen rejected",
          own=lambda row: "conversations" in row and not is_open(row) and not {"chosen", "rejected"} & row.keys()),
    keyed("text", "text", "text", _text, no="message_id",
          own=lambda row: "text" in row and not row.keys() & {"prompt", "message_id"}),
)
