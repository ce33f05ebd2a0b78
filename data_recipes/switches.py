"""What a chat template can be told, found out by asking it: thinking on and off, tools, a system prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from data_recipes.chat_text import ChatText, tool_call
from data_recipes.errors import Refused
from data_recipes.records import BadRow

MARKER = "qzvx marker"
# the names under which templates keep the reasoning of earlier turns (Qwen3.6 and LFM2.5, GLM, Nemotron, Kimi)
KEEP = {"preserve_thinking": True, "clear_thinking": False, "truncate_history_thinking": False,
        "keep_past_thinking": True}
TOOL = {"type": "function", "function": {"name": "probe_tool", "description": "A probe.", "parameters": {
    "type": "object", "properties": {"key": {"type": "string", "description": "A key."}}, "required": ["key"]}}}


@dataclass(frozen=True)
class Switches:
    """Variables handed to the template in each rendering."""

    variables: dict[str, Any] = field(default_factory=dict)


def choose_switches(tokenizer, thinking: str) -> Switches:
    """The variables for `thinking`: template, off or keep.

    Raises:
        Refused: the template cannot do what was asked.
    """
    if thinking == "off":
        return _off(tokenizer)
    return _keep(tokenizer) if thinking == "keep" else Switches()


def refuse_unseen(chat: ChatText, system: str | None, tools: list | None) -> None:
    """Refuses a system prompt or tools that the template would raise on or, worse, silently leave out."""
    if system and MARKER not in _text(chat, [{"role": "system", "content": MARKER}, _said("user", "hi")]):
        raise Refused("this model's chat template has no place for a system prompt", where="data.system",
                      do="Leave data.system out, or write it into the user's first message.")
    if tools and "probe_tool" not in _text(chat, [_said("user", "hi")], [TOOL]):
        raise Refused("this model's chat template does not show tools to the model", where="data.tools",
                      do="Leave data.tools out, or take a model whose template knows tools.")


def shows_tools(chat: ChatText) -> bool:
    """Whether tools, a call and its result all reach the text; some templates drop one of them without a word."""
    messages = [_said("user", "hi"), tool_call("called_probe", "probe_value"),
                {"role": "tool", "name": "called_probe", "tool_call_id": "call00001", "content": "probe_result"}]
    text = _text(chat, messages)
    return all(word in text for word in ("called_probe", "probe_key", "probe_value", "probe_result"))


def shows_tool_list(chat: ChatText) -> bool:
    """Whether a list of tools reaches the text."""
    return "probe_tool" in _text(chat, [_said("user", "hi")], [TOOL])


def _off(tokenizer) -> Switches:
    made = Switches({"enable_thinking": False})
    prompt = ChatText(tokenizer, made.variables).text([_said("user", "hi")], prompt=True)
    if prompt.rstrip().endswith("<think>"):
        raise Refused("this model's chat template opens a <think> block in each answer and cannot be told not to",
                      where="data.thinking", do="Use thinking: template, with the reasoning in the rows.")
    return made


def _keep(tokenizer) -> Switches:
    thought = {"role": "assistant", "content": "yes", "reasoning_content": MARKER}
    messages = [_said("user", "hi"), thought, _said("user", "and?"), _said("assistant", "yes")]
    known = {name: value for name, value in KEEP.items() if name in tokenizer.chat_template}
    for variables in ({}, known):
        if MARKER in _text(ChatText(tokenizer, variables), messages):
            return Switches(variables)
    raise Refused("this model's chat template drops the reasoning of earlier turns and has no switch to keep it",
                  where="data.thinking", expected=f"a template with one of {', '.join(KEEP)}",
                  do="Use thinking: template, or train_on: last with one row for each turn.")


def _said(role: str, content: str) -> dict:
    return {"role": role, "content": content}


def _text(chat: ChatText, messages: list[dict], tools: list | None = None) -> str:
    try:
        return chat.text(messages, tools)
    except BadRow:
        return ""  # raising is one way of not taking it
