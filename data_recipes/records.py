"""The kinds of row, validated when they are made. What cannot be one raises `BadRow` with a reason to count by.

Reasons raised here: missing-field, wrong-type, empty-text, bad-role, bad-order, bad-tool-call, identical-pair,
not-finite. They are short on purpose: they become keys in the manifest and lines of a table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

LARGEST_BITS = 1023  # of a whole number that a float can hold
ROLES = ("system", "user", "assistant", "tool")


class BadRow(Exception):
    """A row that cannot be used.

    Args:
        reason: one kebab-case word, the same for all rows with this fault.
        detail: what was found in this row, and what would have been right.
        row: what was read, for the list of rejected rows; filled in by the reader.
    """

    def __init__(self, reason: str, detail: str = "", row: Any = None) -> None:
        self.reason, self.detail, self.row = reason, detail, row
        super().__init__(f"{reason}: {detail}" if detail else reason)

    def __reduce__(self):
        return type(self), (self.reason, self.detail, self.row)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    role: system, user, assistant or tool. content: its text; empty only beside tool calls and as a tool's result.
    tool_calls: of an assistant, each {"type": "function", "function": {"name": str, "arguments": dict}}, maybe an id.
    name, tool_call_id: of a tool's result: which tool, which call. thinking: what an assistant wrote before its answer.
    """

    role: str
    content: str
    tool_calls: tuple[dict, ...] | None = None
    name: str | None = None
    thinking: str | None = None
    tool_call_id: str | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise BadRow("bad-role", f"the role is {str(self.role)[:40]!r}, not one of {', '.join(ROLES)}")
        if type(self.content) is not str:
            raise wrong_type(f"the {self.role}'s content", "text", self.content)
        if self.tool_calls and self.role != "assistant":
            raise BadRow("bad-role", f"a message of role {self.role} has tool_calls; only an assistant calls tools")
        if not self.tool_calls and self.role != "tool" and not self.content.strip():
            raise BadRow("empty-text", f"the {self.role}'s content is empty")

    def as_dict(self) -> dict:
        """The message as chat templates take it: keys without a value are left out."""
        made: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            made["tool_calls"] = list(self.tool_calls)
        for key in ("name", "thinking", "tool_call_id"):
            if (value := getattr(self, key)) is not None:
                made[key] = value
        return made


@dataclass(frozen=True, slots=True)
class Text:
    """A row of continued pretraining: every token is trained. where: "file:line". extra: the row's other columns."""

    text: str
    where: str = ""
    extra: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_text("text", self.text)


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A chat that ends with the assistant's turn. tools: function schemas offered to the assistant, or None."""

    messages: tuple[Message, ...]
    tools: list | None = None
    where: str = ""
    extra: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_order(self.messages)
        if self.messages[-1].role != "assistant":
            raise BadRow("bad-order", f"the last message is the {self.messages[-1].role}'s, not the assistant's")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers to one prompt, each a single assistant message. margin: by how much the first is better, or None."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: list | None = None
    margin: float | None = None
    where: str = ""
    extra: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        for side in ("chosen", "rejected"):
            turns = getattr(self, side)
            if len(turns) != 1 or turns[0].role != "assistant":
                found = " ".join(turn.role for turn in turns) or "nothing"
                raise BadRow("bad-order", f"{side} must be one assistant message after the prompt; it is: {found}")
        if _same_answer(self.chosen[0], self.rejected[0]):
            raise BadRow("identical-pair", "chosen and rejected are the same answer")
        if self.margin is not None:
            check_finite("margin", self.margin)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat that waits for the assistant: the last message is the user's or a tool's."""

    messages: tuple[Message, ...]
    tools: list | None = None
    where: str = ""
    extra: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.messages)


@dataclass(frozen=True, slots=True)
class Unpaired:
    """One answer to a prompt, and whether it is a good one (KTO, arXiv:2402.01306)."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    label: bool
    tools: list | None = None
    where: str = ""
    extra: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        if len(self.completion) != 1 or self.completion[0].role != "assistant":
            found = " ".join(turn.role for turn in self.completion) or "nothing"
            raise BadRow("bad-order", f"completion must be one assistant message after the prompt; it is: {found}")
        if type(self.label) is not bool:
            raise wrong_type("label", "true or false", self.label)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text, or two, with its class, its classes or its score.

    label: a class as text or whole number, true or false, a finite score, or a tuple of classes (it may be empty).
    pair: the second text of rows that have two (premise and hypothesis), else None.
    """

    text: str
    label: str | int | float | bool | tuple[str | int, ...]
    pair: str | None = None
    where: str = ""
    extra: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_text("text", self.text)
        if self.pair is not None:
            check_text("the second text", self.pair)
        if type(self.label) is tuple:
            for one in self.label:
                _check_class("each of the labels", one)
        elif type(self.label) is float:
            check_finite("label", self.label)
        elif type(self.label) is not bool:
            _check_class("label", self.label)


@dataclass(frozen=True, slots=True)
class Tagged:
    """Words of a text with a label each.

    words: as the file has them, or cut by `tagging.words_of`. tags: as many, each a name or a whole number.
    text: the text in which the words lie. places: (first character, one past the last) of each word in it.
    """

    words: tuple[str, ...]
    tags: tuple[str | int, ...]
    text: str
    places: tuple[tuple[int, int], ...]
    where: str = ""
    extra: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.words:
            raise BadRow("empty-text", "there are no words")
        if len(self.words) != len(self.tags):
            raise BadRow("wrong-tags", f"{len(self.words)} words have {len(self.tags)} tags")
        for word in self.words:
            check_text("each of the words", word)
        for tag in self.tags:
            _check_class("each of the tags", tag)


Record = Text | Demonstration | Comparison | Prompt | Unpaired | Labelled | Tagged


def check_order(messages: tuple[Message, ...]) -> None:
    """An optional system message, then the user's and the assistant's in turn; tools only after an assistant's calls.

    Raises:
        BadRow: bad-order, naming the message (counted from 1).
    """
    start = 1 if messages and messages[0].role == "system" else 0
    if len(messages) <= start:
        raise BadRow("bad-order", "there is no message" if not messages else "there is nothing but a system message")
    before: Message | None = None
    for number, message in enumerate(messages[start:], start + 1):
        if fault := _order_fault(before, message):
            raise BadRow("bad-order", f"message {number}: {fault}")
        before = message


def check_prompt(messages: tuple[Message, ...]) -> None:
    """`check_order`, and the last message is one that waits for an answer. Raises BadRow otherwise."""
    check_order(messages)
    if messages[-1].role == "assistant":
        raise BadRow("bad-order", "the prompt ends with the assistant's message, so nothing waits for an answer")


def check_text(name: str, value: Any) -> str:
    """`value`, if it is text with something in it. Raises BadRow: wrong-type or empty-text, naming the field."""
    if value is None:
        raise BadRow("empty-text", f"{name} is null")
    if type(value) is not str:
        raise wrong_type(name, "text", value)
    if not value.strip():
        raise BadRow("empty-text", f"{name} is empty")
    return value


def _check_class(name: str, value: Any) -> None:
    if type(value) is not int:
        check_text(name, value)


def check_finite(name: str, value: Any) -> float:
    """`value` as a float, if it is a finite number. Raises BadRow: wrong-type or not-finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type(name, "a number", value)
    if isinstance(value, int) and value.bit_length() > LARGEST_BITS:  # math.isfinite would overflow
        raise BadRow("not-finite", f"{name} is beyond what a number can hold")
    if not math.isfinite(value):
        raise BadRow("not-finite", f"{name} is {value}")
    return float(value)


def wrong_type(name: str, expected: str, value: Any) -> BadRow:
    """The BadRow for a value of another type than expected; the value itself is not repeated."""
    return BadRow("wrong-type", f"{name} must be {expected}, not {type_word(value)}")


def type_word(value: Any) -> str:
    """What a value is, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    words = {str: "text", int: "a number", float: "a number", list: "a list", tuple: "a list", dict: "an object"}
    return words.get(type(value), f"a {type(value).__name__}")


def _order_fault(before: Message | None, message: Message) -> str:
    role, last = message.role, before.role if before else "start"
    if role == "system":
        return "a system message may only be the first"
    if role == "tool":
        answers = last == "tool" or (before is not None and before.tool_calls)
        return "" if answers else f"a tool's result must follow an assistant's tool_calls, not {_after(before)}"
    allowed = ("start", "assistant") if role == "user" else ("user", "tool")
    return "" if last in allowed else f"{role} cannot follow {_after(before)}"


def _after(before: Message | None) -> str:
    return f"{before.role}" if before else "the start of the chat"


def _same_answer(one: Message, other: Message) -> bool:
    return one.content.strip() == other.content.strip() and one.tool_calls == other.tool_calls
