"""Single answers that were called good or bad (KTO), and texts with a class or a score."""

from __future__ import annotations

from typing import Any

from data_recipes import turns
from data_recipes.formats.base import Fields, told
from data_recipes.formats.chats import sharegpt_chat
from data_recipes.formats.trees import is_tree_message
from data_recipes.records import BadRow, Labelled, Unpaired, check_text

TRUTH = {"true": True, "false": False}  # a CSV file has only text
LABELS = ("label", "labels")
# Names of published label tables (GLUE, SNLI, hub sets): the text, or the two texts.
TEXTS = (("text", "text_pair"), ("sentence1", "sentence2"), ("question1", "question2"), ("premise", "hypothesis"),
         ("question", "sentence"), ("text",), ("sentence",))


def _truth(value: Any) -> bool | None:
    return TRUTH.get(value.lower()) if isinstance(value, str) else value if isinstance(value, bool) else None


def _verdict(fields: Fields, *keys: str) -> bool:
    key = next((key for key in keys if key in fields.row), keys[0])
    found = _truth(fields.value(key))
    if found is None:
        raise BadRow("wrong-type", f"{key} must be true or false")
    return found


def _split(chat: turns.Turns) -> tuple[turns.Turns, turns.Turns]:
    if chat[-1].role != "assistant":
        raise BadRow("bad-order", f"the last message is the {chat[-1].role}'s, not the assistant's")
    return chat[:-1], chat[-1:]


def _unpaired(prompt: turns.Turns, completion: turns.Turns, label: bool, fields: Fields) -> Unpaired:
    tools = fields.tools()
    return Unpaired(prompt, completion, label, tools, fields.where, fields.rest())


def _kto(fields: Fields) -> Unpaired:
    prompt = fields.system(fields.either("prompt", "user"))
    return _unpaired(prompt, fields.either("completion", "assistant"), _verdict(fields, "label"), fields)


def _kto_messages(fields: Fields) -> Unpaired:
    return _unpaired(*_split(fields.turns("messages")), _verdict(fields, "label"), fields)


def _kto_sharegpt(fields: Fields) -> Unpaired:
    return _unpaired(*_split(sharegpt_chat(fields)), _verdict(fields, "label", "kto_tag"), fields)


def _is_kto(*keys: str, by: tuple[str, ...] = ("label",)):
    return lambda row: all(key in row for key in keys) and any(_truth(row.get(key)) is not None for key in by)


def _labels(fields: Fields) -> Labelled:
    names = _texts(fields.row)
    text, *second = (check_text(name, fields.value(name)) for name in names)
    key = next((key for key in LABELS if key in fields.row), LABELS[0])
    label = fields.value(key)
    label = tuple(label) if isinstance(label, list) else label
    return Labelled(text, label, second[0] if second else None, fields.where, fields.rest())


def _texts(row: dict) -> tuple[str, ...]:
    return next((names for names in TEXTS if all(name in row and row[name] is not None for name in names)), TEXTS[-2])


def _is_labels(row: dict) -> bool:
    """Whether a row is a text with a label; OpenAssistant's messages have labels too, those of its reviewers."""
    named = any(key in row for key in LABELS) and any(set(names) <= row.keys() for names in TEXTS)
    return named and not is_tree_message(row)


UNPAIRED = (
    told("kto", "prompt, completion and a label true or false", "prompt completion label",
         _is_kto("prompt", "completion"), _kto),
    told("kto-messages", "messages and a label true or false", "messages label", _is_kto("messages"), _kto_messages),
    told("kto-sharegpt", "conversations and a label (or kto_tag) true or false", "conversations label",
         _is_kto("conversations", by=("label", "kto_tag")), _kto_sharegpt),
)
TABLES = (told("labels", "a text and a label", "text label", _is_labels, _labels),)
