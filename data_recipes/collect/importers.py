"""Items of other tools, told by their shape. Only items are taken: votes of another tool do not say which side was shown.

Argilla: a record with `fields` (its JSON export), or the same fields as columns beside `QUESTION.responses` (its export to
`datasets`). Label Studio: a task with `data`. In both the fields are the team's own: the answers are those whose names differ
in a last number or letter only (answer1, answer2; response-1, response-2; text_a, text_b), and the prompt is one of PROMPTS.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from data_recipes.records import BadRow

PROMPTS = ("prompt", "messages", "instruction", "question", "input", "context", "conversation", "query", "task")
NUMBERED = re.compile(r"(?P<stem>.*?)[ _.-]?(?P<number>\d{1,2}|[a-h])", re.IGNORECASE)
AUTHORS = {"user": "user", "human": "user", "customer": "user", "assistant": "assistant", "bot": "assistant",
           "agent": "assistant", "system": "system"}
SOURCES = ("source", "model", "generator", "model_name")


def as_ours(row: dict) -> tuple[dict, str]:
    """A raw row in our shape, and whose it was: items, argilla or label-studio. Raises BadRow."""
    if isinstance(row.get("fields"), dict) and "prompt" not in row:
        extra = row.get("metadata") if isinstance(row.get("metadata"), dict) else {}
        return from_fields(row["fields"], extra, row.get("id")), "argilla"
    if isinstance(row.get("data"), dict) and "prompt" not in row:
        return from_fields(row["data"], {}, row.get("id")), "label-studio"
    if "responses" in row or not _numbered(row):
        return row, "items"
    told = (".responses", ".responses.", ".suggestion")
    own = {key: value for key, value in row.items() if not any(mark in key for mark in told)}
    return from_fields(own, {}, own.pop("id", None)), "argilla"


def from_fields(fields: dict, metadata: dict, name: Any) -> dict:
    """Fields with the team's own names as prompt, responses and the rest.

    Raises:
        BadRow: missing-field, naming what was found.
    """
    answers = _numbered(fields)
    prompt = next((key for key in PROMPTS if fields.get(key)), None)
    if prompt is None or not answers:
        shown = ", ".join(sorted(map(str, fields)))[:200]
        raise BadRow("missing-field", f"no prompt with numbered answers among the fields {shown}")
    sources = _sources(answers, {**metadata, **fields})
    rest = {key: value for key, value in fields.items() if key not in {prompt, *answers}}
    return {"prompt": _chat(fields[prompt]), "responses": [fields[key] for key in answers], **metadata, **rest,
            **({"sources": sources} if sources else {}), **({"id": name} if name is not None else {})}


def _numbered(fields: dict) -> list[str]:
    """The largest group of text fields whose names differ in a last number or letter only, in its order."""
    groups: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for key, value in fields.items():
        match = NUMBERED.fullmatch(str(key))
        if match and isinstance(value, str) and match["stem"].lower() not in SOURCES:
            number = match["number"].lower()
            groups[match["stem"].lower()].append((len(number), number, key))
    best = max(groups.values(), key=len, default=[])
    return [key for _, _, key in sorted(best)] if len(best) > 1 else []


def _sources(answers: list[str], values: dict) -> list[str] | None:
    """Who wrote each answer, where fields such as model1, model2 or source_a, source_b say so."""
    numbers = [NUMBERED.fullmatch(key)["number"].lower() for key in answers]
    for stem in SOURCES:
        named = {match["number"].lower(): value for key, value in values.items()
                 if (match := NUMBERED.fullmatch(str(key))) and match["stem"].lower() == stem and isinstance(value, str)}
        if all(number in named for number in numbers):
            return [named[number] for number in numbers]
    return None


def _chat(value: Any) -> Any:
    """Label Studio's dialogues are [{"author", "text"}]; all else is text or messages already."""
    talk = isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value)
    if not talk or not all({"author", "text"} <= set(turn) for turn in value):
        return value
    turns = []
    for turn in value:
        role = AUTHORS.get(str(turn["author"]).lower())
        if role is None:  # a guess would swap the two sides of the talk
            raise BadRow("bad-role", f"the author {str(turn['author'])[:40]!r} is not one of {', '.join(AUTHORS)}")
        turns.append({"role": role, "content": turn["text"]})
    return turns
