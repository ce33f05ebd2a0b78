"""Rows of encoder-decoder models (T5, BART): what the encoder reads, and what the decoder shall write.

What holds for every row that comes out of here:
- the encoder reads the conversation up to the answer as one text, inside the special tokens that the tokenizer itself
  puts around a text (T5: an end token behind it). A longer one is cut at its end; the special tokens stay;
- the decoder writes the answer's text and the tokenizer's end token, and every one of these tokens carries loss. A longer
  answer is cut, and then does not end in the end token: it would teach to stop there;
- the ids of `prompt()` are what the encoder read in training;
- reasoning (a field of its own, or a leading <think> block) is left out on both sides, and counted.

The text of a conversation is what the chat template writes. A tokenizer without one, which is the rule, gets PLAIN: a
single message is its own words and nothing else, so that `summarize: ...` stays what T5 was pretrained on; a system prompt
stands before it, a blank line between; several messages are a transcript that ends in `Assistant:`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from data_recipes.chat_text import ChatText, as_dicts, without_reasoning
from data_recipes.errors import Refused
from data_recipes.files import sha256_json, sha256_text
from data_recipes.records import BadRow, Demonstration, Text
from data_recipes.render import REMARKS, Rendered, Renderer, any_of
from data_recipes.templates import (
    Preparation, add_named, hidden_ids, pin_today, special_tokens, with_defaults, without_defaults,
)

CUTS = {
    "input-cut": "inputs are longer than data.max_length: the encoder reads their beginning",
    "answer-cut": "answers are longer than data.max_target_length: their beginning is trained, without an end token",
}
OPTIONS = ("max_length", "max_target_length", "system", "prefix", "train_on")
PLAIN = (
    "{%- if prefix is defined and prefix -%}{{- prefix -}}{%- endif -%}"
    "{%- set first = 1 if messages[0]['role'] == 'system' else 0 -%}"
    "{%- if first -%}{{- messages[0]['content'] + '\\n\\n' -}}{%- endif -%}"
    "{%- for message in messages[first:] -%}"
    "{%- if message['role'] == 'tool' or message['tool_calls'] -%}"
    "{{- raise_exception('this template has no form for tools') -}}{%- endif -%}"
    "{%- if messages | length == first + 1 -%}{{- message['content'] -}}"
    "{%- else -%}{{- message['role'] | capitalize + ': ' + message['content'] + '\\n' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if messages | length > first + 1 -%}{{- 'Assistant:' -}}{%- endif -%}"
)


@dataclass(frozen=True)
class Turn:
    """One answer with what comes before it: ids of the encoder and of the decoder, and whether either was cut."""

    input_ids: list[int]
    target_ids: list[int]
    input_cut: bool = False
    target_cut: bool = False


def prepare(tokenizer, add_tokens=()) -> Preparation:
    """Gives a tokenizer its template, in place; the second time it changes nothing. The sibling of `prepare_tokenizer`.

    Raises:
        Refused: the tokenizer has no end token, or none to pad with apart from it.
    """
    if tokenizer.eos_token_id is None:
        raise Refused("this tokenizer has no end token, so the model could not learn to stop",
                      do="Name it: tokenizer.eos_token = ...; tokenizer.save_pretrained(FOLDER)")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        raise Refused("this tokenizer has no pad token apart from its end token", do="Name one of its spare tokens: "
                      "tokenizer.pad_token = ...; tokenizer.save_pretrained(FOLDER)")
    made = Preparation(stop_ids=[tokenizer.eos_token_id], encoder_decoder=True)
    made.added = add_named(tokenizer, list(add_tokens), made.notes)
    bare, said = not tokenizer.chat_template, len(made.notes)
    tokenizer.chat_template = _template(tokenizer.chat_template, made.notes)
    made.chosen = " ".join(made.notes[said:]) if bare else ""
    made.template_fingerprint = sha256_text(without_defaults(tokenizer.chat_template))
    made.special_tokens = special_tokens(tokenizer, made.stop_ids, list(add_tokens))
    return made


def _template(own: Any, notes: list[str]) -> str:
    if isinstance(own, dict):
        raise Refused(f"the tokenizer has several chat templates ({', '.join(sorted(own))})", expected="one, or none")
    if own:
        return pin_today(own, notes)
    notes.append("the tokenizer has no chat template: the encoder reads a single message as it is, and a longer conversation "
                 "as a transcript")
    return PLAIN


class Seq2SeqRenderer:
    """Renders rows for one encoder-decoder tokenizer and one set of options; the sibling of `render.Renderer`.

    Args:
        tokenizer: what `prepare` has prepared.
        max_length: most tokens that the encoder reads; None for no limit. max_target_length: of the decoder's answer.
        system: system prompt for rows that have none.
        prefix: text in front of all that the encoder reads ("summarize: ").
        train_on: "all" assistant turns, each a row of its own with what comes before it, or the "last" one.

    Raises:
        Refused: an option that the tokenizer's own template cannot honour.
    """

    def __init__(self, tokenizer, *, max_length: int | None = None, max_target_length: int | None = None,
                 system: str | None = None, prefix: str | None = None, train_on: str = "all") -> None:
        self.tokenizer, self.max_length, self.max_target_length = tokenizer, max_length, max_target_length
        self.system, self.prefix, self.train_on = system, prefix or None, train_on
        self.counts: Counter = Counter()
        self._chat = ChatText(tokenizer, {"prefix": self.prefix} if self.prefix else {})
        self.stop_ids, self.pad_id = [tokenizer.eos_token_id], tokenizer.pad_token_id
        self._head, self._tail = _around(tokenizer)
        self._words = any_of(tokenizer.convert_ids_to_tokens(sorted(hidden_ids(tokenizer))))
        if max_length is not None and max_length <= len(self._head) + len(self._tail):
            raise Refused(f"{max_length} tokens leave no room for a text", where="data.max_length")
        for name in ("system", "prefix"):
            self._refuse_unseen(name)

    @classmethod
    def from_options(cls, tokenizer, options: dict, **overrides) -> Seq2SeqRenderer:
        """The renderer that a manifest's `template.options` describe; overrides win."""
        return cls(tokenizer, **{key: value for key, value in {**options, **overrides}.items() if key in OPTIONS})

    @property
    def options(self) -> dict[str, Any]:
        """What `from_options` takes; JSON-able."""
        return {key: getattr(self, key) for key in OPTIONS}

    @property
    def fingerprint(self) -> str:
        """A hash of all that decides which ids a row gets, lengths and the choice of turns apart."""
        sample = "Fingerprint: 0123 äß\n\n  <tab>\t" + self._text([{"role": "user", "content": "hi"}])
        return sha256_json({
            "template": self.template_to_save, "stop_ids": self.stop_ids, "special": self._chat.variables,
            "size": len(self.tokenizer), "sample": self._encoder(sample, None)[0], "target": self._decoder(sample, None)[0],
        })

    @property
    def template_to_save(self) -> str:
        """The chat template with this renderer's system prompt and prefix as its defaults, for the run folder."""
        return with_defaults(self._chat.template, self.system, {"prefix": self.prefix} if self.prefix else {})

    def turns(self, record: Text | Demonstration) -> list[Turn]:
        """The rows that a demonstration gives: one for each assistant turn that is trained on.

        Raises:
            BadRow: a plain text, which has no answer; or the template refuses the row.
        """
        if isinstance(record, Text):
            raise BadRow("no-answer", "a plain text has no input and no answer, and an encoder-decoder model learns to turn "
                         "the one into the other; pretraining by span corruption is not done here (give rows with prompt and "
                         "completion, or tune a decoder-only model)")
        messages = as_dicts(record.messages)
        self._refuse_tools(record.tools)
        wanted = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
        if self.control_tokens(record):
            self.counts["special-token-in-text"] += 1
        return [self._turn(messages, at) for at in (wanted if self.train_on == "all" else wanted[-1:])]

    def demonstration(self, record: Text | Demonstration) -> Rendered:
        """All its rows in one line, each input before its answer: what is shown to people and counted by audits."""
        turns = self.turns(record)
        ids = [token for turn in turns for token in (*turn.input_ids, *turn.target_ids)]
        trained = [flag for turn in turns for flag in [False] * len(turn.input_ids) + [True] * len(turn.target_ids)]
        return Rendered(ids, trained, any(turn.input_cut or turn.target_cut for turn in turns))

    def prompt(self, messages, tools: list | None = None) -> list[int]:
        """What the encoder reads of a conversation, cut at `max_length` as in training.

        Raises:
            BadRow: the template refuses the messages, or would leave tools out.
        """
        self._refuse_tools(tools)
        ids, cut = self._encoder(self._text(as_dicts(messages)), self.max_length)
        self.counts["input-cut"] += cut
        return ids

    def completion_text(self, ids: list[int]) -> str:
        """What the decoder wrote: without special tokens, cut at the first end token, blanks stripped."""
        ids = list(ids)
        end = next((index for index, token in enumerate(ids) if token in self.stop_ids), len(ids))
        return self.tokenizer.decode(ids[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()

    def control_tokens(self, record) -> list[str]:
        """Special tokens' texts that a row's own words contain: they become the real tokens when rendered."""
        if self._words is None:
            return []
        parts = [record.text] if isinstance(record, Text) else [turn["content"] for turn in as_dicts(record.messages)]
        return sorted({found for part in parts for found in self._words.findall(part)})

    def remarks(self) -> list[str]:
        """What happened to the rows so far that a user should know, in sentences with counts."""
        said = {**REMARKS, **CUTS}
        return [f"{count:,} {said[name]}" for name, count in sorted(self.counts.items()) if count]

    # --- ids

    def _turn(self, messages: list[dict], at: int) -> Turn:
        if messages[at].get("tool_calls"):
            raise BadRow("tools-not-supported", "an encoder-decoder model's answer is text, and this one is a tool call")
        answer = without_reasoning(messages[at])
        self.counts["reasoning-left-out"] += answer != {k: v for k, v in messages[at].items() if v is not None}
        target, target_cut = self._decoder(answer["content"], self.max_target_length)
        inputs, input_cut = self._encoder(self._text(messages[:at]), self.max_length)
        self.counts.update({"input-cut": input_cut, "answer-cut": target_cut})
        return Turn(inputs, target, input_cut, target_cut)

    def _text(self, messages: list[dict]) -> str:
        if self.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        return self._chat.text([without_reasoning(message) for message in messages], prompt=True)

    def _encoder(self, text: str, limit: int | None) -> tuple[list[int], bool]:
        """Ids inside the tokenizer's own special tokens (written once, where the template has them too), and whether cut."""
        inner = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if self._head and inner[: len(self._head)] == self._head:
            inner = inner[len(self._head):]
        if self._tail and inner[-len(self._tail):] == self._tail:
            inner = inner[: -len(self._tail)]
        room = len(inner) if limit is None else limit - len(self._head) - len(self._tail)
        return self._head + inner[:room] + self._tail, len(inner) > room

    def _decoder(self, text: str, limit: int | None) -> tuple[list[int], bool]:
        ids = list(self.tokenizer(text_target=text, verbose=False)["input_ids"])
        if ids[-1:] != self.stop_ids:
            ids += self.stop_ids
        return ids[:limit], limit is not None and len(ids) > limit

    def _refuse_tools(self, tools: list | None) -> None:
        if tools:
            raise BadRow("tools-not-supported", "the text of an encoder-decoder model has no place for a list of tools")

    def _refuse_unseen(self, name: str) -> None:
        """An option that the template does not write would be lost without a word."""
        value = getattr(self, name)
        if value and value.strip() not in self._text([{"role": "user", "content": "hi"}]):
            raise Refused(f"this model's chat template does not write the {name}", where=f"data.{name}",
                          do="Leave it out, or put it into the rows.")


AnyRenderer = Renderer | Seq2SeqRenderer


def make_renderer(tokenizer, preparation: Preparation, options: dict, **overrides) -> AnyRenderer:
    """The renderer of a prepared tokenizer, by the kind of model that it was prepared for."""
    kind = Seq2SeqRenderer if preparation.encoder_decoder else Renderer
    return kind.from_options(tokenizer, options, **overrides)


def _around(tokenizer) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and behind a text."""
    plain, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
    start = next(at for at in range(len(whole)) if whole[at: at + len(plain)] == plain)
    return whole[:start], whole[start + len(plain):]
