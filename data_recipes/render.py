"""The only place where a chat becomes token ids and a loss mask: training, evaluation, generation and chat all ask it.

What holds for every row that comes out of here:
- it ends at the token that ends the assistant's turn; what a template writes after it (ChatML's newline) is dropped;
- of a chat, exactly what the assistant would have to generate carries loss: its words and the stop token of each
  trained turn, not its header and nothing that the generation prompt already holds;
- the ids of `prompt()` are, token by token, how the row begins. Where a tokenizer would merge across that border
  ("\\n" + "\\n"), the answer is encoded apart, so that training sees the tokens which generation will see;
- both rows of a comparison have the same prompt ids.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from data_recipes.chat_text import REASONING, ChatText, Span, as_dicts, common_prefix, without_reasoning
from data_recipes.errors import Refused
from data_recipes.files import sha256_json
from data_recipes.records import BadRow, Comparison, Demonstration, Text
from data_recipes.switches import choose_switches, refuse_unseen, shows_tool_list, shows_tools
from data_recipes.templates import (
    PROBE, Preparation, find_stops, hidden_ids, prepare_tokenizer, special_ids, special_tokens, with_defaults,
)

__all__ = ["Preparation", "Rendered", "RenderedPair", "Renderer", "prepare_tokenizer", "special_tokens"]

PREPARE = "Call prepare_tokenizer(tokenizer) first."
OPTIONS = ("max_length", "system", "tools", "thinking", "train_on")
REMARKS = {
    "special-token-in-text": "rows hold the text of a special token (such as an end mark) in their words: the model "
                             "sees the real token there",
    "reasoning-left-out": "rows have reasoning that the chat template does not write",
    "border-split": "rows have their answer encoded apart from the prompt, since tokens would merge across that border",
    "border-cut": "rows have tokens that merge across the border of prompt and answer; the answer begins before it",
}


@dataclass(frozen=True)
class Rendered:
    """One row: ids and, for each, whether it carries loss. `truncated`: it was cut at max_length."""

    input_ids: list[int]
    trained: list[bool]
    truncated: bool = False


@dataclass(frozen=True)
class RenderedPair:
    """One comparison: both completions follow the same prompt and end at the stop token."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    truncated: bool = False


@dataclass
class _Row:
    ids: list[int]
    trained: list[bool]
    border: int  # how many ids the prompt has


class Renderer:
    """Renders rows with one tokenizer and one set of options.

    Args:
        tokenizer: what `prepare_tokenizer` has prepared.
        max_length: longest row in tokens; None for no limit.
        system: system prompt for rows that have none.
        tools: tools (JSON schemas) for rows that bring none.
        thinking: "template" as the template does; "off" passes `enable_thinking=False` and drops reasoning; "keep"
            keeps the reasoning of earlier turns, where the template can.
        train_on: "all" assistant turns or the "last" one.

    Raises:
        Refused: an option that this template cannot honour.
    """

    def __init__(self, tokenizer, *, max_length: int | None = None, system: str | None = None,
                 tools: list | None = None, thinking: str = "template", train_on: str = "all") -> None:
        if not tokenizer.chat_template:
            raise Refused("this tokenizer has no chat template", do=PREPARE)
        self.tokenizer, self.max_length, self.system, self.tools = tokenizer, max_length, system, tools or None
        self.thinking, self.train_on = thinking, _one_of("train_on", train_on, ("all", "last"))
        self.counts: Counter = Counter()
        self._switches = choose_switches(tokenizer, _one_of("thinking", thinking, ("template", "off", "keep")))
        self._chat = ChatText(tokenizer, self._switches.variables)
        refuse_unseen(self._chat, system, self.tools)
        stops = find_stops(tokenizer)
        self.stop_ids, self._turn_stops = stops.ends, {*stops.written, *stops.earlier}
        self._special, self._hidden = special_ids(tokenizer), hidden_ids(tokenizer)
        self._written = any_of(tokenizer.convert_ids_to_tokens(sorted(self._hidden)))
        self.pad_id = tokenizer.pad_token_id
        if self.pad_id is None or self.pad_id in self.stop_ids:
            raise Refused("this tokenizer has no pad token apart from its stop token", do=PREPARE)
        self._shift, self._header = self._measure()

    @classmethod
    def from_options(cls, tokenizer, options: dict, **overrides) -> Renderer:
        """The renderer that a manifest's `template.options` describe; overrides win."""
        return cls(tokenizer, **{key: value for key, value in {**options, **overrides}.items() if key in OPTIONS})

    @property
    def options(self) -> dict[str, Any]:
        """What `from_options` takes; JSON-able."""
        return {key: getattr(self, key) for key in OPTIONS}

    @property
    def switches(self) -> dict[str, Any]:
        """Variables that are handed to the chat template in each rendering."""
        return dict(self._switches.variables)

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides which ids a row gets: template, settings, stop tokens, and the tokenizer's words.

        `max_length` only cuts and `train_on` only masks, so they are no part of it.
        """
        chat = self._chat.text(self._messages([{"role": "user", "content": "hi"}]), self.tools, prompt=True)
        return sha256_json({
            "template": self.template_to_save, "tools": self.tools, "thinking": self.thinking,
            "stop_ids": self.stop_ids, "special": self._chat.variables, "size": len(self.tokenizer),
            "sample": self._encode("Fingerprint: 0123 äß\n\n  <tab>\t" + chat)[0],
        })

    @property
    def template_to_save(self) -> str:
        """The chat template with this renderer's system prompt, tools and thinking as its defaults, for the run folder."""
        return with_defaults(self._chat.template, self.system, self._switches.variables, self.tools)

    def demonstration(self, record: Text | Demonstration) -> Rendered:
        """A row of supervised training: all tokens of a text, or the assistant's turns of a chat.

        Raises:
            BadRow: the template refuses the row, or nothing to train on is left of it within `max_length`.
        """
        if isinstance(record, Text):
            self._count([{"content": record.text}])
            return self._cut(self._text(record.text))
        messages, tools = self._messages(record.messages), record.tools or self.tools
        self._count(messages)
        return self._cut(self._row(messages, len(messages) - 1, tools, self.train_on))

    def comparison(self, record: Comparison) -> RenderedPair:
        """A row of preference training.

        Raises:
            BadRow: the template refuses the row or writes both answers alike, or it is longer than `max_length`. It is
                not cut: a cut answer does not end at the stop token, where scores are taken.
        """
        prompt, tools = self._messages(record.prompt), record.tools or self.tools
        rows = [self._row(prompt + self._plain(side), len(prompt), tools, "last")
                for side in (record.chosen, record.rejected)]
        self._count(prompt + self._plain(record.chosen) + self._plain(record.rejected))
        longest, border = max(len(row.ids) for row in rows), min(row.border for row in rows)
        if rows[0].ids == rows[1].ids:
            raise BadRow("identical-pair", "chosen and rejected are the same once they are rendered: what tells them apart "
                         "(reasoning, blanks) is not written")
        if self.max_length is not None and longest > self.max_length:
            raise BadRow("too-long", f"prompt and answer have {longest} tokens, data.max_length is {self.max_length}")
        return RenderedPair(rows[0].ids[:border], rows[0].ids[border:], rows[1].ids[border:])

    def prompt(self, messages, tools: list | None = None) -> list[int]:
        """Ids of a conversation, up to where the assistant begins to write.

        Raises:
            BadRow: the template refuses the messages, or would leave tools out.
        """
        messages, tools = self._messages(messages), tools or self.tools
        self._refuse_dropped_tools(messages, tools)
        return self._encode(self._chat.text(messages, tools, prompt=True))[0]

    def conversation(self, messages, tools: list | None = None) -> list[int]:
        """Ids of a whole conversation, which ends at the stop token of its last answer; not cut at `max_length`."""
        messages = self._messages(messages)
        return self._row(messages, len(messages) - 1, tools or self.tools, "last").ids

    def completion_text(self, ids: list[int]) -> str:
        """What the assistant said: decoded without special tokens, cut at the first stop token, blanks stripped.

        What the template itself writes before each answer (an empty <think> block, a channel's header) is left out.
        """
        ids = list(ids)
        end = next((index for index, token in enumerate(ids) if token in self.stop_ids), len(ids))
        ids = ids[self._after_header(ids[:end]): end]
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()

    def control_tokens(self, record) -> list[str]:
        """Special tokens' texts that a row's own words contain: they become the real tokens when rendered."""
        if isinstance(record, Text):
            return self._found([{"content": record.text}])
        parts = [getattr(record, name, ()) for name in ("messages", "prompt", "chosen", "rejected")]
        return self._found([message for part in parts for message in as_dicts(part)])

    def remarks(self) -> list[str]:
        """What happened to the rows so far that a user should know, in sentences with counts."""
        return [f"{count:,} {REMARKS[name]}" for name, count in sorted(self.counts.items())]

    # --- messages

    def _messages(self, messages) -> list[dict]:
        plain = self._plain(messages)
        if self.system and (not plain or plain[0]["role"] not in ("system", "developer")):
            plain.insert(0, {"role": "system", "content": self.system})
        return plain

    def _plain(self, messages) -> list[dict]:
        plain = as_dicts(messages)
        return [without_reasoning(message) for message in plain] if self.thinking == "off" else plain

    def _found(self, messages: list[dict]) -> list[str]:
        if self._written is None:
            return []
        texts = [message.get("content") or "" for message in messages]
        return sorted({found for text in texts for found in self._written.findall(text)})

    def _count(self, messages: list[dict]) -> None:
        if self._found(messages):
            self.counts["special-token-in-text"] += 1

    def _count_reasoning(self, messages: list[dict], wanted: list[int], text: str) -> None:
        thoughts = [messages[index].get(name) for index in wanted for name in REASONING]
        if any(thought and thought.strip() not in text for thought in thoughts):
            self.counts["reasoning-left-out"] += 1

    def _refuse_dropped_tools(self, messages: list[dict], tools: list | None) -> None:
        calls = any(message.get("tool_calls") or message["role"] == "tool" for message in messages)
        if (calls and not self._takes_calls) or (tools and not self._takes_tools):
            raise BadRow("tools-not-supported", "the chat template would leave this row's tools, calls or results out")

    @cached_property
    def _takes_calls(self) -> bool:
        return shows_tools(self._chat)

    @cached_property
    def _takes_tools(self) -> bool:
        return shows_tool_list(self._chat)

    # --- ids

    def _encode(self, text: str) -> tuple[list[int], list[Span]]:
        out = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return out["input_ids"], out["offset_mapping"]

    def _text(self, text: str) -> _Row:
        ids = list(self.tokenizer(text, verbose=False)["input_ids"])  # with the tokenizer's own BOS, where it puts one
        end = self.tokenizer.eos_token_id
        end = self.stop_ids[0] if end is None else end
        if not ids or ids[-1] != end:
            ids.append(end)
        return _Row(ids, [True] * len(ids), 0)

    def _row(self, messages: list[dict], first: int, tools: list | None, train_on: str) -> _Row:
        """The chat whose last answer begins at message `first`, up to the stop token of its end."""
        self._refuse_dropped_tools(messages, tools)
        wanted = [index for index, message in enumerate(messages)
                  if message["role"] == "assistant" and (train_on == "all" or index >= first)]
        drawn = self._chat.row(messages, tools, wanted)
        before = self._chat.text(messages[:first], tools, prompt=True)
        if not drawn.text.startswith(before):
            raise BadRow("prompt-differs", _differs(before, drawn.text))
        self._count_reasoning(messages, wanted, drawn.text)
        ids, offsets, border = self._join(drawn.text, before)
        end = next((at for at in reversed(range(border, len(ids))) if ids[at] in self._turn_stops), None)
        if end is None:
            raise BadRow("no-stop-token", "the chat template does not end this row's last answer with its stop token")
        trained = self._trained(ids, offsets, [self._generated(drawn.text, span, len(before)) for span in drawn.spans])
        if train_on == "last":
            trained[:border] = [False] * border
        return _Row(ids[: end + 1], trained[: end + 1], border)

    def _join(self, text: str, before: str) -> tuple[list[int], list[Span], int]:
        """Ids and offsets of `text`, beginning with the ids of `before`; and how many of those it begins with."""
        ids, offsets = self._encode(text)
        head, head_offsets = self._encode(before)
        shared = common_prefix(head, ids)
        if shared == len(head):
            return ids, offsets, shared
        rest, rest_offsets = self._encode(text[len(before):])
        if self._decode(head + rest) != self._decode(ids):  # SentencePiece puts a blank before a text: cut as TRL does
            self.counts["border-cut"] += 1
            return ids, offsets, shared
        self.counts["border-split"] += 1
        moved = [(start + len(before), end + len(before)) for start, end in rest_offsets]
        return head + rest, head_offsets + moved, len(head)

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)

    def _generated(self, text: str, span: Span, border: int) -> Span:
        """The span without what the generation prompt holds of it, and with what the prompt leaves to be written."""
        start, end = span
        if start < border < end:
            return border, end
        lead, gap, rest = self._shift
        if gap and text.endswith(gap, 0, start):
            return start - len(gap), end
        for held in (lead, rest):
            start += len(held) if text.startswith(held, start) else 0
        return start, end

    def _trained(self, ids: list[int], offsets: list[Span], spans: list[Span]) -> list[bool]:
        starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
        trained = [False] * len(ids)
        for start, end in spans:
            low, high = bisect_right(ends, start), bisect_left(starts, end)
            high = self._to_stop(ids, low, high)
            trained[low:high] = [True] * (high - low)
            if ids[high - 1] in self._turn_stops and ids[high - 1] not in self.stop_ids:
                trained[high - 1] = False  # history's stand-in for the stop token, which no answer should end with
        return trained

    def _to_stop(self, ids: list[int], low: int, high: int) -> int:
        """Where a trained span ends: after its last stop token, or after the one that directly follows it."""
        for at in reversed(range(low, high)):
            if ids[at] in self._turn_stops:
                return at + 1
        at = high
        while at < len(ids) and ids[at] in self._special:
            at += 1
            if ids[at - 1] in self._turn_stops:
                return at
        if not self._chat.marked:
            raise BadRow("prefix-differs", "an earlier answer is written differently once more messages follow it, "
                         "so it cannot be trained on as it was generated (data.train_on: last leaves it out)")
        return high  # a turn in several marked pieces (Gemma 4's calls): the stop stands in a later one

    def _cut(self, row: _Row) -> Rendered:
        limit = len(row.ids) if self.max_length is None else self.max_length
        if not any(row.trained[:limit]):
            raise BadRow("nothing-to-train-on", f"no token that carries loss is left within {limit} tokens")
        return Rendered(row.ids[:limit], row.trained[:limit], len(row.ids) > limit)

    # --- the template, measured once

    def _measure(self) -> tuple[tuple[str, str, str], list[int]]:
        """How marked spans differ from what is generated, and the header that the template writes into each answer.

        The three texts: what a span begins with though the generation prompt holds it, what stands between prompt and
        span, and how the prompt may go on (an opened <think> that a row without reasoning does not have).
        """
        asked, told = {"role": "user", "content": "hi"}, {"role": "assistant", "content": PROBE}
        before, drawn = self._chat.text([asked], prompt=True), self._chat.row([asked, told])
        at, border = drawn.text.index(PROBE), common_prefix(before, drawn.text)
        start = next((start for start, end in drawn.spans if start <= at < end), border)
        shift = drawn.text[start:border], drawn.text[border:start], before[border:]
        return shift, self._encode(drawn.text[border:at])[0]

    def _after_header(self, ids: list[int]) -> int:
        """Where the answer itself begins. A header of special tokens (GPT-OSS's channels) is looked for anywhere."""
        size = len(self._header)
        if not size or len(ids) < size:
            return 0
        anywhere = self._hidden.intersection(self._header)
        for at in reversed(range(len(ids) - size + 1 if anywhere else 1)):
            if ids[at: at + size] == self._header:
                return at + size
        return 0


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise Refused(f"{value!r} is not a choice", where=f"data.{name}", expected=", ".join(choices))
    return value


def any_of(words: list[str]) -> re.Pattern | None:
    """A pattern that finds each of the words, the longest first; None for none."""
    words = sorted((word for word in words if word and not word.isspace()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words))) if words else None


def _differs(before: str, text: str) -> str:
    shared = common_prefix(before, text)
    return (f"the generation prompt goes on with {before[shared:][:40]!r} where this row's answer begins with "
            f"{text[shared:][:40]!r}: the model would be asked in another context than it was trained in. Where the "
            "template opens a <think> block, begin the answers with <think>...</think>, or say data.thinking: off")
