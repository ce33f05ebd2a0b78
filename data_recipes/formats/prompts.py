"""Prompts: chats that wait for the assistant, taken as they are or out of rows that have an answer too."""

from __future__ import annotations

from collections.abc import Callable

from data_recipes import turns
from data_recipes.formats.base import Fields, is_open, keyed, told
from data_recipes.formats.chats import alpaca_chat, dolly_chat, instances, sharegpt_chat
from data_recipes.formats.pairs import conversations_pair, hh, is_conversations_pair, is_hh
from data_recipes.formats.trees import TREE_PROMPTS, is_tree
from data_recipes.records import Comparison, Prompt, wrong_type


def _prompt(fields: Fields) -> Prompt:
    chat = fields.system(fields.either("prompt", "user"))
    return Prompt(chat, fields.tools(), fields.where, fields.rest())


def _question_of(chat: Callable[[Fields], turns.Turns]) -> Callable[[Fields], Prompt]:
    """Prompts from chats: the last assistant turn is dropped and kept as extra `completion`, where there is one."""

    def convert(fields: Fields) -> Prompt:
        found = chat(fields)
        tools, extra = fields.tools(), fields.rest()
        if found[-1].role == "assistant":
            extra.setdefault("completion", found[-1].content)
            found = found[:-1]
        return Prompt(found, tools, fields.where, extra)

    return convert


def _prompt_of_pair(convert: Callable[[Fields], Comparison]) -> Callable[[Fields], Prompt]:
    def prompt(fields: Fields) -> Prompt:
        pair = convert(fields)
        return Prompt(pair.prompt, pair.tools, pair.where, pair.extra)

    return prompt


def _first_turn(fields: Fields) -> Prompt:
    """MT-bench's questions: the first of the turns is the prompt; all of them stay in extra."""
    asked = fields.value("turns")
    if not isinstance(asked, list) or not asked:
        raise wrong_type("turns", "a list of questions", asked)
    return Prompt(turns.from_text("turns", asked[0]), None, fields.where, {**fields.rest(), "turns": asked})


def _transcript(fields: Fields) -> Prompt:
    return Prompt(turns.from_open_transcript("prompt", fields.value("prompt")), None, fields.where, fields.rest())


def _helpsteer(fields: Fields) -> Prompt:
    return Prompt(turns.from_extra_id("prompt", fields.value("prompt")), None, fields.where, fields.rest())


def _is_transcript(row: dict) -> bool:
    return turns.is_transcript(row.get("prompt")) and not is_hh(row)


def _is_helpsteer(row: dict) -> bool:
    text = row.get("prompt")
    return isinstance(text, str) and turns.EXTRA_ID.search(text) is not None


def _is_prompt(row: dict) -> bool:
    return "prompt" in row and not any(test(row) for test in (is_tree, is_hh, _is_transcript, _is_helpsteer))


def _never(_row: dict) -> bool:
    return False


def _is_open(key: str) -> Callable[[dict], bool]:
    return lambda row: key in row and is_open(row) and not {"chosen", "rejected"} <= row.keys()


PROMPTS = (
    told("prompt", "prompt", "prompt", _is_prompt, _prompt),
    told("transcript", "prompt as a Human/Assistant transcript", "prompt", _is_transcript, _transcript),
    told("helpsteer", "prompt with HelpSteer's marks of turns", "prompt", _is_helpsteer, _helpsteer),
    keyed("messages", "messages", "messages", _question_of(lambda fields: fields.turns("messages")),
          own=_is_open("messages")),
    keyed("alpaca", "instruction", "instruction", _question_of(alpaca_chat)),
    keyed("dolly", "instruction and response", "instruction response", _question_of(dolly_chat), no="output", own=_never),
    keyed("self-instruct", "instruction and instances", "instruction instances", _question_of(alpaca_chat),
          parts=instances, own=_never),
    keyed("sharegpt", "conversations", "conversations", _question_of(sharegpt_chat), own=_is_open("conversations")),
    keyed("turns", "turns", "turns", _first_turn, no="prompt"),
    told("conversations-pair", "chosen and rejected as whole conversations", "chosen rejected", is_conversations_pair,
         _prompt_of_pair(conversations_pair), own=_never),
    told("hh", "chosen and rejected as Human/Assistant transcripts", "chosen rejected", is_hh, _prompt_of_pair(hh),
         own=_never),
    *TREE_PROMPTS,
)
