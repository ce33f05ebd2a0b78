"""Comparisons that stand in one row each: two answers to one prompt, or two conversations that differ in the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from data_recipes import turns
from data_recipes.formats.base import Fields, PassedOver, keyed, number, told
from data_recipes.formats.chats import alpaca_chat, sharegpt_chat
from data_recipes.records import Comparison, check_text, wrong_type

STRENGTHS = ("preference_strength", "overall_preference")  # HelpSteer2 and HelpSteer3
ANSWERS = (("response_1", "response_2"), ("response1", "response2"))


def pair(prompt: turns.Turns, chosen: turns.Turns, rejected: turns.Turns, fields: Fields) -> Comparison:
    """A comparison with the row's tools, margin and other columns."""
    tools, margin = fields.tools(), fields.margin()
    return Comparison(prompt, chosen, rejected, tools, margin, fields.where, fields.rest())


def preference(fields: Fields) -> Comparison:
    """A prompt (text or messages) and two texts."""
    return pair(fields.system(fields.either("prompt", "user")), *_texts(fields), fields)


def conversations_pair(fields: Fields) -> Comparison:
    """Two whole conversations, split before the last answer."""
    return pair(*turns.split_pair(fields.turns("chosen"), fields.turns("rejected")), fields)


def hh(fields: Fields) -> Comparison:
    """Transcripts as in Anthropic's hh-rlhf; or its prompt apart, with the two answers as text."""
    opening = fields.value("prompt") if "prompt" in fields.row else ""
    sides = []
    for side in ("chosen", "rejected"):
        text = check_text(side, fields.value(side))
        whole = text if turns.is_transcript(text) else f"{check_text('prompt', opening).rstrip()} {text.strip()}"
        sides.append(turns.from_transcript(side, whole))
    return pair(*turns.split_pair(*sides), fields)


def is_hh(row: dict) -> bool:
    """Whether a row's sides, or its prompt, are transcripts."""
    return _pair_like(row) and (_any_side(row, turns.is_transcript) or turns.is_transcript(row.get("prompt")))


def is_conversations_pair(row: dict) -> bool:
    """Whether a row is two conversations without a prompt beside them."""
    return _pair_like(row) and "prompt" not in row and _any_side(row, _is_turns)


def _texts(fields: Fields) -> tuple[turns.Turns, turns.Turns]:
    chosen, rejected = (turns.from_text(side, fields.value(side), "assistant") for side in ("chosen", "rejected"))
    return chosen, rejected


def _preference_messages(fields: Fields) -> Comparison:
    """Answers alone, or whole conversations that repeat the prompt (as UltraFeedback's published pairs do)."""
    prompt = fields.system(fields.either("prompt", "user"))
    chosen, rejected = (fields.either(side, "assistant") for side in ("chosen", "rejected"))
    if chosen[0].role == "assistant":
        return pair(prompt, chosen, rejected, fields)
    found, chosen, rejected = turns.split_pair(chosen, rejected)
    turns.check_same_prompt(prompt, found)
    return pair(found, chosen, rejected, fields)


def _sharegpt_pair(fields: Fields) -> Comparison:
    prompt = sharegpt_chat(fields)
    sides = (turns.from_sharegpt(side, fields.value(side), fields.ignored) for side in ("chosen", "rejected"))
    return pair(prompt, *sides, fields)


def _openai_pair(fields: Fields) -> Comparison:
    """The input is an object of its own with messages and tools."""
    asked = fields.value("input")
    if not isinstance(asked, dict):
        raise wrong_type("input", "an object with messages", asked)
    inner = Fields(asked, fields.where, fields.ignored)
    prompt, tools = inner.turns("messages"), inner.tools()
    chosen, rejected = (fields.turns(side) for side in ("preferred_output", "non_preferred_output"))
    return Comparison(prompt, chosen, rejected, tools, fields.margin(), fields.where, {**inner.rest(), **fields.rest()})


def _alpaca_pair(fields: Fields) -> Comparison:
    return pair(alpaca_chat(fields), *_texts(fields), fields)


def _helpsteer_preference(fields: Fields) -> Comparison | PassedOver:
    """Below zero the first answer is better (HelpSteer2-Preference, arXiv:2410.01257); the margin is the strength."""
    key = next((key for key in STRENGTHS if key in fields.row), STRENGTHS[0])
    strength = number(key, fields.value(key))
    names = next((names for names in ANSWERS if names[0] in fields.row), ANSWERS[0])
    first, second = (fields.either(name, "assistant") for name in names)
    prompt = helpsteer_prompt(fields)
    if strength == 0:
        return PassedOver("tie", f"{key} is 0: neither answer is better")
    better, worse = (first, second) if strength < 0 else (second, first)
    return Comparison(prompt, better, worse, fields.tools(), abs(strength), fields.where, fields.rest())


def helpsteer_prompt(fields: Fields) -> turns.Turns:
    """HelpSteer's prompt: text in which <extra_id_1> begins each further turn, or (HelpSteer3) `context` as messages."""
    if "context" in fields.row:
        return fields.turns("context")
    return turns.from_extra_id("prompt", fields.value("prompt"))


def _pair_like(row: dict) -> bool:
    return "chosen" in row and "rejected" in row and "conversations" not in row


def _any_side(row: dict, test: Callable[[Any], bool]) -> bool:
    return test(row["chosen"]) or test(row["rejected"])


def _is_turns(value: Any) -> bool:
    return isinstance(value, (list, dict))


def _is_preference(row: dict) -> bool:
    return _pair_like(row) and "prompt" in row and not _any_side(row, _is_turns) and not is_hh(row)


def _is_preference_messages(row: dict) -> bool:
    return _pair_like(row) and "prompt" in row and _any_side(row, _is_turns)


def _is_alpaca_pair(row: dict) -> bool:
    told_so = _pair_like(row) and "instruction" in row and "prompt" not in row
    return told_so and not _any_side(row, _is_turns) and not is_hh(row)


def _is_helpsteer_preference(row: dict) -> bool:
    answers = any(set(names) <= row.keys() for names in ANSWERS)
    return answers and any(key in row for key in STRENGTHS) and ("prompt" in row or "context" in row)


PAIRS = (
    told("preference", "prompt, and chosen and rejected as text", "prompt chosen rejected", _is_preference, preference),
    told("preference-messages", "prompt, and chosen and rejected as messages", "prompt chosen rejected",
         _is_preference_messages, _preference_messages),
    told("conversations-pair", "chosen and rejected as whole conversations", "chosen rejected", is_conversations_pair,
         conversations_pair),
    told("hh", "chosen and rejected as Human/Assistant transcripts", "prompt chosen rejected", is_hh, hh),
    keyed("sharegpt-pair", "conversations, and chosen and rejected turns", "conversations chosen rejected",
          _sharegpt_pair),
    keyed("openai-pair", "input, and preferred and non-preferred output", "input preferred_output non_preferred_output",
          _openai_pair),
    told("alpaca-pair", "instruction, and chosen and rejected as text", "instruction chosen rejected", _is_alpaca_pair,
         _alpaca_pair),
    told("helpsteer-preference", "two responses and which is preferred", "prompt response_1 response_2 preference_strength",
         _is_helpsteer_preference, _helpsteer_preference),
)
