"""From the ways in which data sets write a chat to tuples of `Message`. Nothing here knows files or format names."""

from __future__ import annotations

import re
from typing import Any

from data_recipes import strict_json
from data_recipes.records import BadRow, Message, check_text, wrong_type

MESSAGE_KEYS = frozenset(
    ("role", "content", "tool_calls", "function_call", "name", "thinking", "reasoning_content", "reasoning", "tool_call_id")
)
# Names seen in published sharegpt files; anything else is refused, since a guess would swap the two sides.
SHAREGPT_ROLES = {"system": "system", "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant",
                  "function_call": "assistant", "observation": "tool", "tool": "tool"}
SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
TRANSCRIPT_START = re.compile(r"\s*(Human|Assistant):")
EXTRA_ID = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")  # how HelpSteer writes the turns after the first

Turns = tuple[Message, ...]


def from_text(name: str, text: Any, role: str = "user") -> Turns:
    """One message that holds a text."""
    return (Message(role, check_text(name, text)),)


def from_messages(name: str, value: Any, ignored: set[str] | None = None) -> Turns:
    """Messages written as objects with `role` and `content` (OpenAI, transformers, TRL), or a single one.

    Args:
        ignored: receives the names of message fields that have no meaning here.

    Raises:
        BadRow: with the message's number, counted from 1.
    """
    items = [value] if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise wrong_type(name, "a list of messages", value)
    made = []
    for number, item in enumerate(items, 1):
        try:
            made.append(_message(item, ignored))
        except BadRow as error:
            raise BadRow(error.reason, f"{name}, message {number}: {error.detail}") from error
    if not made:
        raise BadRow("empty-text", f"{name} is an empty list")
    return tuple(made)


def from_either(name: str, value: Any, role: str, ignored: set[str] | None = None) -> Turns:
    """Text as one message of `role`, or messages as they are."""
    if isinstance(value, (list, dict)):
        return from_messages(name, value, ignored)
    return from_text(name, value, role)


def from_sharegpt(name: str, value: Any, ignored: set[str] | None = None) -> Turns:
    """Turns written as `from` and `value`; a function_call becomes the assistant's tool_calls, an observation a tool's
    result. `role` and `content` in their place are taken too.

    Raises:
        BadRow: with the turn's number, counted from 1.
    """
    items = [value] if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise wrong_type(name, "a list of turns", value)
    if items and all(isinstance(item, dict) and "role" in item and "from" not in item for item in items):
        return from_messages(name, items, ignored)
    made: list[Message] = []
    for number, item in enumerate(items, 1):
        try:
            made.append(_sharegpt_turn(item, made, ignored))
        except BadRow as error:
            raise BadRow(error.reason, f"{name}, turn {number}: {error.detail}") from error
    if not made:
        raise BadRow("empty-text", f"{name} is an empty list")
    return tuple(made)


def is_transcript(value: Any) -> bool:
    """Whether a value is text that begins as hh-rlhf transcripts do."""
    return isinstance(value, str) and TRANSCRIPT_START.match(value) is not None


def from_transcript(name: str, value: Any) -> Turns:
    """An hh-rlhf transcript, "\\n\\nHuman: ...\\n\\nAssistant: ...", one message a speaker's turn, spaces trimmed.

    Raises:
        BadRow: it does not begin with Human:, or a turn is empty.
    """
    text = check_text(name, value).strip()
    if not is_transcript(text):
        raise BadRow("wrong-format", f"{name} must begin with 'Human:', as hh-rlhf transcripts do")
    parts = SPEAKER.split(text)[1:]
    roles = ("user" if speaker == "Human" else "assistant" for speaker in parts[::2])
    try:
        return tuple(Message(role, content.strip()) for role, content in zip(roles, parts[1::2], strict=True))
    except BadRow as error:
        raise BadRow(error.reason, f"{name}: {error.detail}") from error


def from_open_transcript(name: str, value: Any) -> Turns:
    """A transcript that waits for the assistant: it may end with "Assistant:"."""
    return from_transcript(name, check_text(name, value).rstrip().removesuffix("Assistant:"))


def from_extra_id(name: str, value: Any) -> Turns:
    """HelpSteer's prompt: the user's text, then "<extra_id_1>Assistant" or "<extra_id_1>User" before each further turn."""
    first, *rest = EXTRA_ID.split(check_text(name, value))
    roles = ("user" if speaker == "User" else "assistant" for speaker in rest[::2])
    later = (Message(role, text) for role, text in zip(roles, rest[1::2], strict=True))
    return (*from_text(name, first), *later)


def split_pair(chosen: Turns, rejected: Turns) -> tuple[Turns, Turns, Turns]:
    """Two whole conversations as (prompt, chosen answer, rejected answer).

    Raises:
        BadRow: bad-order where one does not end with the assistant; prompt-conflict where they differ before that turn.
    """
    for side, turns in (("chosen", chosen), ("rejected", rejected)):
        if turns[-1].role != "assistant":
            raise BadRow("bad-order", f"{side} ends with the {turns[-1].role}'s message, not the assistant's")
    if chosen[:-1] != rejected[:-1]:
        raise BadRow("prompt-conflict", _first_difference(chosen[:-1], rejected[:-1]))
    if len(chosen) == 1:
        raise BadRow("bad-order", "there is no user's message before the answers")
    return chosen[:-1], chosen[-1:], rejected[-1:]


def check_same_prompt(given: Turns, found: Turns) -> None:
    """That a row's `prompt` is the one its conversations begin with. Raises BadRow: prompt-conflict.

    A prompt of one user message may stand for a longer conversation: it is then its first or last user message.
    """
    spoken = tuple(turn for turn in found if turn.role != "system")
    users = [turn for turn in found if turn.role == "user"]
    if given in (found, spoken) or (len(given) == 1 and users and given[0] in (users[0], users[-1])):
        return
    raise BadRow("prompt-conflict", "the prompt is not what the conversations begin with")


def tools_of(value: Any) -> list | None:
    """Function schemas in the form chat templates take, from a list or from JSON text; None where there are none."""
    if isinstance(value, str):
        value = _json_text("tools", value) if value.strip() else None
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise wrong_type("tools", "a list of functions", value)
    return [_tool(tool) for tool in value]


def _json_text(name: str, text: str) -> Any:
    try:
        return strict_json.loads(text)
    except BadRow as error:
        raise BadRow(error.reason, f"{name}: {error.detail}") from error


def _tool(tool: Any) -> dict:
    inner = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise BadRow("wrong-type", "each of the tools must be an object with a name")
    return tool if "function" in tool else {"type": "function", "function": tool}


def _message(item: Any, ignored: set[str] | None) -> Message:
    if not isinstance(item, dict):
        raise BadRow("wrong-type", "a message must be an object with role and content")
    if "role" not in item:
        raise BadRow("missing-field", "no role")
    if len(item) == 2 and type(item.get("content")) is str:  # the common case, at half the time
        return Message(item["role"], item["content"])
    if ignored is not None and not MESSAGE_KEYS.issuperset(item):
        ignored.update(set(item) - MESSAGE_KEYS)
    called = item.get("function_call")  # OpenAI's older way: one call beside the content, answered by the role function
    calls = _tool_calls(item.get("tool_calls") or (called if called is None else [called]))
    role = "tool" if item["role"] == "function" else item["role"]
    return Message(
        role, _content(item, calls), calls, _optional(item, "name"), _thinking(item),
        _optional(item, "tool_call_id"),
    )


def _content(item: dict, calls: tuple | None) -> str:
    content = item.get("content")
    if type(content) is str:
        return content
    if content is None:
        if calls:
            return ""
        if "content" in item:
            raise BadRow("empty-text", "content is null")
        raise BadRow("missing-field", "no content")
    if isinstance(content, list):
        return "".join(_part(part) for part in content)
    return content  # of a wrong type, which Message says


def _part(part: Any) -> str:
    """Text of one content part; chat templates put text parts one after the other."""
    if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise BadRow("wrong-type", "content has a part that is not text")
    return part["text"]


def _optional(item: dict, key: str) -> str | None:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise wrong_type(key, "text", value)
    return value


def _thinking(item: dict) -> str | None:
    """Three names are in use for it: gpt-oss's, DeepSeek's and vLLM's."""
    for key in ("thinking", "reasoning_content", "reasoning"):
        if value := _optional(item, key):
            return value
    return None


def _tool_calls(value: Any) -> tuple[dict, ...] | None:
    if value is None or value == []:
        return None
    if not isinstance(value, list):
        raise wrong_type("tool_calls", "a list", value)
    return tuple(_tool_call(call) for call in value)


def _tool_call(call: Any) -> dict:
    inner = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise BadRow("bad-tool-call", "a tool call must be an object with a name and arguments")
    arguments = inner.get("arguments")
    if isinstance(arguments, str):  # OpenAI writes them as text, which templates would quote once more
        arguments = _json_text(f"the arguments of {inner['name'][:40]!r}", arguments)
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise BadRow("bad-tool-call", f"the arguments of {inner['name']!r} must be an object")
    made = {"type": "function", "function": {"name": inner["name"], "arguments": arguments}}
    return {**made, "id": call["id"]} if isinstance(call.get("id"), str) else made


def _sharegpt_turn(item: Any, before: list[Message], ignored: set[str] | None) -> Message:
    if not isinstance(item, dict):
        raise BadRow("wrong-type", "a turn must be an object with from and value")
    for key in ("from", "value"):
        if key not in item:
            raise BadRow("missing-field", f"no {key}")
    if ignored is not None:
        ignored.update(set(item) - {"from", "value"})
    speaker = item["from"]
    if not isinstance(speaker, str) or speaker not in SHAREGPT_ROLES:
        raise BadRow("bad-role", f"from is {str(speaker)[:40]!r}, not one of {', '.join(SHAREGPT_ROLES)}")
    if speaker == "function_call":
        return Message("assistant", "", _called(item["value"]))
    if item["value"] is None:
        raise BadRow("empty-text", "value is null")
    role = SHAREGPT_ROLES[speaker]
    return Message(role, item["value"], name=_answering(before) if role == "tool" else None)


def _called(value: Any) -> tuple[dict, ...]:
    try:
        found = strict_json.loads(value) if isinstance(value, str) else value
    except BadRow as error:
        raise BadRow("bad-tool-call", f"a function_call's value must be JSON: {error.detail}") from error
    calls = _tool_calls(found if isinstance(found, list) else [found])
    if not calls:
        raise BadRow("bad-tool-call", "a function_call calls nothing")
    return calls


def _answering(before: list[Message]) -> str | None:
    """The tool that an observation comes from: results follow in the order of the calls."""
    results = 0
    while results < len(before) and before[-1 - results].role == "tool":
        results += 1
    calls = before[-1 - results].tool_calls if results < len(before) else None
    return calls[results]["function"]["name"] if calls and results < len(calls) else None


def _first_difference(one: Turns, other: Turns) -> str:
    for number, (left, right) in enumerate(zip(one, other, strict=False), 1):
        if left != right:
            return f"chosen and rejected differ before the last turn, at message {number}; only the last may differ"
    return f"chosen has {len(one) + 1} messages and rejected {len(other) + 1}; only the last may differ"
