"""From messages to the text of a chat, and to the character spans of it which the assistant wrote.

Two ways lead to the spans. A template with `{% generation %}` marks says them itself. Any other is asked twice per
turn, with the generation prompt before the turn and without it after the turn; where both renderings are prefixes of
the whole row, what lies between them is exactly the turn. A row for which that does not hold is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from data_recipes.records import BadRow

MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")
REASONING = ("thinking", "reasoning_content", "reasoning")  # transformers copies one of them to the others
THINK_BLOCK = re.compile(r"^\s*<think>.*?</think>\s*", re.DOTALL)

Span = tuple[int, int]


@dataclass(frozen=True)
class Drawn:
    """The text of a row and the half-open character spans of its assistant turns."""

    text: str
    spans: list[Span]


def has_marks(template: str) -> bool:
    """Whether a chat template says by `{% generation %}` what the assistant writes."""
    return MARKS.search(template) is not None


def common_prefix(one, other) -> int:
    """The length of the longest common prefix of two texts or lists."""
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length


def as_dicts(messages) -> list[dict]:
    """Messages (records or plain dicts) as chat templates take them."""
    return [dict(message) if isinstance(message, dict) else message.as_dict() for message in messages]


def without_reasoning(message: dict) -> dict:
    """A copy of an assistant message without its reasoning, be it a field or a leading <think> block."""
    kept = {key: value for key, value in message.items() if key not in REASONING}
    if kept.get("role") == "assistant" and isinstance(kept.get("content"), str):
        kept["content"] = THINK_BLOCK.sub("", kept["content"], count=1)
    return kept


def tool_call(name: str, value: str) -> dict:
    """An assistant's message that calls one tool, to ask a template with."""
    function = {"name": name, "arguments": {"probe_key": value}}
    return {"role": "assistant", "content": "", "tool_calls": [
        {"type": "function", "id": "call00001", "function": function}]}


class ChatText:
    """A tokenizer's chat template with the switches of one run; knows nothing of token ids.

    Args:
        tokenizer: a fast tokenizer with a chat template.
        switches: variables handed to the template, such as `enable_thinking`.
    """

    def __init__(self, tokenizer, switches: dict[str, Any] | None = None) -> None:
        self.template: str = tokenizer.chat_template
        self.marked = has_marks(self.template)
        self.variables = {**tokenizer.special_tokens_map, **(switches or {})}

    def text(self, messages: list[dict], tools: list | None = None, *, prompt: bool = False) -> str:
        """The chat as text; with `prompt` it ends where the assistant begins to write.

        Raises:
            BadRow: the template refuses the messages (a role it does not know, an order it does not take).
        """
        return self._render(messages, tools, prompt, False)[0]

    def row(self, messages: list[dict], tools: list | None = None, turns: list[int] | None = None) -> Drawn:
        """The whole chat and the spans of its assistant turns.

        Args:
            turns: indices of the messages that are wanted; a template with marks gives all spans in any case.
        """
        if self.marked:
            return Drawn(*self._render(messages, tools, False, True))
        text = self.text(messages, tools)
        return Drawn(text, [self._turn(text, messages, tools, turn) for turn in turns or []])

    def _turn(self, text: str, messages: list[dict], tools: list | None, turn: int) -> Span:
        before = self.text(messages[:turn], tools, prompt=True)
        if not text.startswith(before):
            raise BadRow("prefix-differs", f"the template writes what stands before message {turn + 1} differently "
                         "once that message is there, so what the assistant wrote cannot be told exactly "
                         "(data.train_on: last asks for the last turn only)")
        last = turn == len(messages) - 1
        after = text if last else self.text(messages[: turn + 1], tools)
        return len(before), common_prefix(after, text)

    def _render(self, messages, tools, prompt: bool, spans: bool) -> tuple[str, list[Span]]:
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        messages = [{key: value for key, value in message.items() if value is not None} for message in messages]
        try:
            texts, found = render_jinja_template(
                conversations=[messages], tools=tools or None, chat_template=self.template,
                return_assistant_tokens_mask=spans, add_generation_prompt=prompt, **self.variables,
            )
        except (TemplateError, TypeError) as error:  # a TypeError is a template that adds None to a text
            raise BadRow("template-refused", f"the chat template does not take this row: {error}") from error
        return texts[0], found[0] if spans else []
