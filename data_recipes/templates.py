"""Which chat template a tokenizer gets, and which of its tokens end a turn and pad.

What is chosen here is written into the tokenizer, and with it into the run folder, so that transformers and vLLM
render a chat as training did. No token is added unless it was asked for by name.
"""

from __future__ import annotations

import datetime
import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path

from data_recipes.chat_text import ChatText, has_marks
from data_recipes.errors import Refused
from data_recipes.files import sha256_text
from data_recipes.records import BadRow

CHATML = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'tool' or message['tool_calls'] -%}"
    "{{- raise_exception('this template has no form for tools') -}}{%- endif -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|im_end|>' -}}{%- endif -%}"
    "{{- '\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
PLAIN = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'tool' or message['tool_calls'] -%}"
    "{{- raise_exception('this template has no form for tools') -}}{%- endif -%}"
    "{{- message['role'] | capitalize + ':' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- ' ' + message['content'] + eos_token -}}{%- endgeneration -%}"
    "{%- else -%}{{- ' ' + message['content'] + eos_token -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}"
)
BOS = "{{- bos_token -}}"
TODAY = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")
PINNED_DAY = datetime.date(2024, 7, 26)  # the day Llama 3's own templates fall back to
SPARE = re.compile(r"pad|reserved|unused|extra_id|filler", re.IGNORECASE)
PROBE = "qzvx"  # a word that no template writes by itself


@dataclass
class Preparation:
    """What `prepare_tokenizer` settled. `notes` are sentences for the user; `special_tokens` goes to the manifest."""

    notes: list[str] = field(default_factory=list)
    added: int = 0
    stop_ids: list[int] = field(default_factory=list)
    template_fingerprint: str = ""
    special_tokens: dict = field(default_factory=dict)


def prepare_tokenizer(tokenizer, add_tokens=()) -> Preparation:
    """Gives a tokenizer its training template and a pad token, in place; the second time it changes nothing.

    Args:
        tokenizer: a fast transformers tokenizer.
        add_tokens: texts of tokens to add, by name. Each costs a row in both embedding matrices.

    Raises:
        Refused: no template can be had, it does not end turns, or no token can pad.
    """
    if not tokenizer.is_fast:
        raise Refused("this model has only a slow tokenizer, which does not say where its tokens lie in the text",
                      do="Convert it once: AutoTokenizer.from_pretrained(MODEL, use_fast=True).save_pretrained(FOLDER)")
    made = Preparation()
    made.added = _add(tokenizer, list(add_tokens), made.notes)
    tokenizer.chat_template = choose_template(tokenizer, made.notes)
    turn_stops = find_turn_stops(tokenizer)
    made.stop_ids = all_stops(tokenizer, turn_stops)
    tokenizer.pad_token = choose_pad(tokenizer, made.stop_ids)
    made.notes += _remarks(tokenizer)
    made.template_fingerprint = sha256_text(tokenizer.chat_template)
    made.special_tokens = special_tokens(tokenizer, made.stop_ids, list(add_tokens))
    return made


def choose_template(tokenizer, notes: list[str]) -> str:
    """The template to train with, and aloud why."""
    own = tokenizer.chat_template
    if isinstance(own, dict):
        notes.append(f"the tokenizer has several chat templates ({', '.join(sorted(own))}): 'default' is used")
        own = own.get("default") or next(iter(own.values()))
    if not own:
        return _for_base(tokenizer, notes)
    if not has_marks(own):
        own = _with_marks(own, notes)
    return pin_today(own, notes)


def trl_training_template(template: str) -> str | None:
    """TRL's training variant of a template it knows, by TRL's own rule: equality of the text.

    Read from TRL's folder, since importing `trl.chat_template_utils` imports torch; a test compares the two.
    """
    found = importlib.util.find_spec("trl")
    for root in (found.submodule_search_locations or []) if found else []:
        for path in sorted((Path(root) / "chat_templates").glob("*_training.jinja")):
            original = path.with_name(path.name.replace("_training", ""))
            if original.is_file() and original.read_text(encoding="utf-8") == template:
                return path.read_text(encoding="utf-8")
    return None


def pin_today(template: str, notes: list[str]) -> str:
    """The template with each `strftime_now("...")` replaced by one fixed day.

    A template that writes today's date renders other tokens tomorrow: no resume would be exact, and evaluation would
    see prompts that training did not.
    """
    pinned = TODAY.sub(lambda found: repr(PINNED_DAY.strftime(found.group(2))), template)
    if pinned != template:
        notes.append(f"the chat template writes today's date into each prompt; it is pinned to {PINNED_DAY}, so that "
                     "rows are the same on every day")
    return pinned


def find_turn_stops(tokenizer) -> list[int]:
    """Ids of the tokens with which the template ends an assistant turn, the last turn's first.

    Found by rendering: the run of special tokens right after an answer's text, as the last turn, as an earlier one
    (GPT-OSS ends those by another token), and after a tool call.

    Raises:
        Refused: the template does not take a plain chat, or ends the answer without a token of its own.
    """
    chat = ChatText(tokenizer)
    asked, told = {"role": "user", "content": "hi"}, {"role": "assistant", "content": PROBE}
    try:
        last = chat.row([asked, told], turns=[1])
        earlier = chat.row([asked, told, asked, {"role": "assistant", "content": "yes"}], turns=[1])
    except BadRow as error:
        raise Refused(f"this model's chat template does not render a plain chat: {error}", do=HOW) from error
    stops = [_stop_after(tokenizer, last.text, len(last.text))]
    if stops == [None]:
        raise Refused("this model's chat template does not end the assistant's turn with a token of its own, so the "
                      "model could not learn to stop", do=HOW)
    if (other := _stop_after(tokenizer, earlier.text, _span_end(earlier))) is not None:
        stops.append(other)
    stops.append(_stop_of_call(tokenizer, chat, asked))
    return list(dict.fromkeys(stop for stop in stops if stop is not None))


def all_stops(tokenizer, turn_stops: list[int]) -> list[int]:
    """The turn's stop tokens and the model's own end token: generation stops at any of them."""
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    return list(dict.fromkeys([*turn_stops, *own]))


def choose_pad(tokenizer, stop_ids: list[int]) -> str:
    """An existing token that may pad: never one that ends a turn.

    Raises:
        Refused: every candidate ends a turn.
    """
    candidates = [tokenizer.pad_token, *_spare_tokens(tokenizer)]
    for token in candidates:
        if token is not None and tokenizer.convert_tokens_to_ids(token) not in stop_ids:
            return token
    raise Refused("this tokenizer has no token to pad with: its special tokens all end a turn or open one",
                  do="Add one by name: --set 'model.add_tokens=[\"<|pad|>\"]' (it costs one row in the embeddings).")


def special_ids(tokenizer) -> frozenset[int]:
    """Ids that stand for themselves in a text: the special and the added tokens."""
    return frozenset(tokenizer.all_special_ids) | frozenset(tokenizer.added_tokens_decoder)


def special_tokens(tokenizer, stop_ids: list[int], added: list[str]) -> dict:
    """What the manifest says about special tokens."""
    return {
        "bos": tokenizer.bos_token, "eos": tokenizer.eos_token, "pad": tokenizer.pad_token,
        "pad_id": tokenizer.pad_token_id, "stop": tokenizer.convert_ids_to_tokens(stop_ids), "stop_ids": stop_ids,
        "added": added, "vocabulary": len(tokenizer),
    }


def adds_bos(tokenizer) -> bool:
    """Whether the tokenizer itself puts a BOS before a text."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


HOW = ("Give the tokenizer a chat template whose assistant turns stand between {% generation %} and "
       "{% endgeneration %} and end in the model's end token (tokenizer.chat_template = ...; save_pretrained).")


def _add(tokenizer, names: list[str], notes: list[str]) -> int:
    from transformers import AddedToken

    new = [name for name in names if name not in tokenizer.get_vocab()]
    if new:
        tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in new], special_tokens=True)
        notes.append(f"{len(new)} token(s) added ({', '.join(new)}): the embedding matrices grow and are saved whole "
                     "with each adapter, and vLLM does not take such an adapter")
    return len(new)


def _for_base(tokenizer, notes: list[str]) -> str:
    bos = BOS if adds_bos(tokenizer) else ""
    vocabulary = tokenizer.get_vocab()
    if {"<|im_start|>", "<|im_end|>"} <= vocabulary.keys() and _single(tokenizer, "<|im_end|>"):
        notes.append("the model has no chat template; ChatML is used, whose marks are tokens of its vocabulary")
        return bos + CHATML
    if tokenizer.eos_token_id is None:
        raise Refused("this model has neither a chat template nor an end token", do=HOW)
    notes.append("the model has no chat template and no ChatML tokens; plain text is used, each turn ending in its own "
                 f"end token {tokenizer.eos_token!r}")
    return bos + PLAIN


def _single(tokenizer, text: str) -> bool:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"]) == 1


def _with_marks(template: str, notes: list[str]) -> str:
    training = trl_training_template(template)
    if training is not None:
        notes.append("the model's chat template has no {% generation %} marks; TRL's training variant of it is used")
        return training
    notes.append("the model's chat template has no {% generation %} marks and TRL knows no variant of it; what the "
                 "assistant wrote is found by rendering each row up to each turn, and checked for each row")
    return template


def _span_end(drawn) -> int:
    at = drawn.text.index(PROBE)
    ends = [end for start, end in drawn.spans if start <= at < end]
    return ends[0] if ends else len(drawn.text)


def _stop_after(tokenizer, text: str, end: int) -> int | None:
    """The last of the special tokens that follow the probe word within text[:end], blanks before them passed over."""
    if PROBE not in text:
        return None
    tail = text[text.index(PROBE) + len(PROBE): end].lstrip()
    special, stop = special_ids(tokenizer), None
    for token in tokenizer(PROBE + tail, add_special_tokens=False)["input_ids"][_length(tokenizer, PROBE):]:
        if token not in special:
            break
        stop = token
    return stop


def _length(tokenizer, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def tool_chat(name: str = "probe_tool", value: str = PROBE) -> list[dict]:
    """A chat with one tool call and its result."""
    call = {"type": "function", "id": "call00001", "function": {"name": name, "arguments": {"key": value}}}
    return [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "name": name, "tool_call_id": "call00001", "content": "result"}]


def _stop_of_call(tokenizer, chat: ChatText, asked: dict) -> int | None:
    try:
        text = chat.text(tool_chat()[:2])
    except BadRow:
        return None  # a template without tools is fine; rows with tools are refused one by one
    if PROBE not in text:
        return None
    special = special_ids(tokenizer)
    tail = tokenizer(text[text.rindex(PROBE):].rstrip(), add_special_tokens=False)["input_ids"]
    return tail[-1] if tail[-1] in special else None


def _spare_tokens(tokenizer) -> list[str]:
    """Tokens that may pad, best first: unknown, reserved ones, special ones no template writes, an unused byte."""
    named = [token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    free = [token for token in named if token not in (tokenizer.chat_template or "") and token != tokenizer.bos_token]
    reserved = [token for token in free if SPARE.search(token)]
    # the byte 0x14, which no text contains, as byte-level and SentencePiece vocabularies write it
    bytes_ = [token for token in ("\u0114", "<0x14>") if token in tokenizer.get_vocab()]
    return [tokenizer.unk_token, *reserved, *free, *bytes_]


def _remarks(tokenizer) -> list[str]:
    notes = [f"padding uses the existing token {tokenizer.pad_token!r}"]
    if tokenizer.model_max_length < 512:
        notes.append(f"the tokenizer names {tokenizer.model_max_length} tokens as the model's longest context: keep "
                     "data.max_length within it")
    if adds_bos(tokenizer) and "bos_token" not in tokenizer.chat_template \
            and tokenizer.bos_token not in tokenizer.chat_template:
        notes.append("the tokenizer puts a BOS before plain text, but the chat template writes none; chats go without, "
                     "as they do in transformers and vLLM")
    return notes
