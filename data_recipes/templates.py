"""Which chat template a tokenizer gets, and which of its tokens end a turn and pad.

What is chosen here is written into the tokenizer, and with it into the run folder, so that transformers and vLLM
render a chat as training did. No token is added unless it was asked for by name.
"""

from __future__ import annotations

import datetime
import importlib.util
import json
import re
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from data_recipes.chat_text import ChatText, Drawn, has_marks, tool_call
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
HEAD, HEAD_END = "{#- defaults of the run -#}", "{#- end of defaults -#}"
TODAY = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")
PINNED_DAY = datetime.date(2024, 7, 26)  # the day Llama 3's own templates fall back to
SPARE = re.compile(r"pad|reserved|unused|extra_id|filler", re.IGNORECASE)
PROBE = "qzvx"  # a word that no template writes by itself


@dataclass
class Preparation:
    """What `prepare_tokenizer` settled. `notes` are sentences for the user; `special_tokens` goes to the manifest.

    encoder_decoder: rows are rendered for an encoder and a decoder (`data_recipes.seq2seq`). chosen: the note that names the
    template, where the model has none of its own.
    """

    notes: list[str] = field(default_factory=list)
    added: int = 0
    stop_ids: list[int] = field(default_factory=list)
    template_fingerprint: str = ""
    special_tokens: dict = field(default_factory=dict)
    encoder_decoder: bool = False
    chosen: str = ""


@dataclass(frozen=True)
class Stops:
    """The tokens that end a turn.

    written: what the template ends a turn with, `written[0]` a plain answer, then a tool call.
    ends: all at which generation stops: the written ones and the model's own end token.
    earlier: what the template puts in their place once the turn is history (GPT-OSS).
    """

    written: list[int]
    ends: list[int]
    earlier: list[int]


def prepare_tokenizer(tokenizer, add_tokens=()) -> Preparation:
    """Gives a tokenizer its training template and a pad token, in place; the second time it changes nothing.

    Args:
        tokenizer: a fast transformers tokenizer.
        add_tokens: texts of tokens to add, by name. Each costs a row in the embedding matrices.

    Raises:
        Refused: no template can be had, it does not end turns, or no token can pad.
    """
    if not tokenizer.is_fast:
        raise Refused("this model has only a slow tokenizer, which does not say where its tokens lie in the text",
                      do="Convert it once: AutoTokenizer.from_pretrained(MODEL, use_fast=True).save_pretrained(FOLDER)")
    made = Preparation()
    made.added = add_named(tokenizer, list(add_tokens), made.notes)
    bare, said = not tokenizer.chat_template, len(made.notes)
    tokenizer.chat_template = choose_template(tokenizer, made.notes)
    made.chosen = " ".join(made.notes[said:]) if bare else ""
    stops = find_stops(tokenizer)
    made.stop_ids = stops.ends
    tokenizer.pad_token = choose_pad(tokenizer, made.stop_ids)
    made.notes += _remarks(tokenizer, stops)
    made.template_fingerprint = sha256_text(without_defaults(tokenizer.chat_template))
    made.special_tokens = special_tokens(tokenizer, made.stop_ids, list(add_tokens))
    return made


def prepare_plain(tokenizer, add_tokens=()) -> Preparation:
    """Gives a tokenizer what rows of plain text need, in place: a pad token, and no template.

    Raises:
        Refused: no token can pad.
    """
    if not tokenizer.is_fast:
        raise Refused("this model has only a slow tokenizer, which does not say where its tokens lie in the text",
                      do="Convert it once: AutoTokenizer.from_pretrained(MODEL, use_fast=True).save_pretrained(FOLDER)")
    made = Preparation(stop_ids=[] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])
    made.added = add_named(tokenizer, list(add_tokens), made.notes)
    # GPT-2's only special token may pad where no text ends in it: the score is taken at the last token that is none
    ends = tokenizer("a")["input_ids"][-1:] == made.stop_ids
    tokenizer.pad_token = choose_pad(tokenizer, made.stop_ids) if ends or tokenizer.pad_token else tokenizer.eos_token
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


def with_defaults(template: str, system: str | None, variables: dict, tools: list | None = None) -> str:
    """The template with a system prompt, tools and switches written into its head, as defaults.

    So plain transformers and vLLM, who know nothing of our options, begin a chat as training did. What the caller
    passes still wins, and an empty list of tools is none. Values are JSON, or for tools Python: Jinja reads both as its
    own literals, and JSON's null alone it does not know.
    """
    lines = {name: f"{{%- if {name} is not defined -%}}{{%- set {name} = {json.dumps(value)} -%}}{{%- endif -%}}"
             for name, value in sorted(variables.items())}
    if tools:
        lines["tools"] = ("{%- if tools is not defined or tools is none -%}"
                          f"{{%- set tools = {json.loads(json.dumps(tools))!r} -%}}{{%- endif -%}}")
    if system:
        first = json.dumps({"role": "system", "content": system}, ensure_ascii=False)
        lines["messages"] = ("{%- if not messages or messages[0]['role'] not in ['system', 'developer'] -%}"
                             f"{{%- set messages = [{first}] + messages -%}}{{%- endif -%}}")
    plain = without_defaults(template)
    before = template[len(HEAD): -len(HEAD_END + plain)].strip().split("\n") if plain != template else []
    merged = {**{line.split("{%- set ")[1].split(" ")[0]: line for line in before}, **lines}
    return "\n".join([HEAD, *merged.values(), HEAD_END + plain]) if merged else template


def without_defaults(template: str) -> str:
    """The template without the head that `with_defaults` writes."""
    return template.split(HEAD_END, 1)[1] if template.startswith(HEAD) and HEAD_END in template else template


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


def find_stops(tokenizer) -> Stops:
    """The tokens with which a template ends an assistant turn, found by rendering.

    Looked at is the run of special tokens right after an answer's text, in the last turn and in an earlier one, and
    the last token of a tool call.

    Raises:
        Refused: the template does not take a plain chat, or ends the answer without a token of its own.
    """
    chat, asked, told = ChatText(tokenizer), _said("user", "hi"), _said("assistant", PROBE)
    try:
        last, earlier = chat.row([asked, told]), chat.row([asked, told, asked, _said("assistant", "yes")])
    except BadRow as error:
        raise Refused(f"this model's chat template does not render a plain chat ({error.detail})", do=HOW) from error
    if PROBE not in last.text:
        raise Refused("this model's chat template leaves the words of a plain chat out; it takes messages as lists of "
                      "parts, as templates of models for images do", do=HOW)
    run, other = _run_after(tokenizer, last.text, len(last.text)), _run_after(tokenizer, earlier.text, _end(earlier))
    if not run:
        raise Refused("this model's chat template does not end the assistant's turn with a token of its own, so the "
                      "model could not learn to stop", do=HOW)
    own = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    written = list(dict.fromkeys(run[-1:] + _stop_of_call(tokenizer, chat)))
    earlier = [] if other[:len(run)] == run else [token for token in other[-1:] if token not in written]
    return Stops(written, list(dict.fromkeys(written + own)), earlier)


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


def hidden_ids(tokenizer) -> frozenset[int]:
    """Ids that `decode(skip_special_tokens=True)` leaves out: a chat's own marks, which no author should write."""
    marked = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return frozenset(tokenizer.all_special_ids) | frozenset(marked)


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


def add_named(tokenizer, names: list[str], notes: list[str]) -> int:
    """Adds special tokens by name and says what they cost; how many are new."""
    from transformers import AddedToken

    new = [name for name in names if name not in tokenizer.get_vocab()]
    if there := [name for name in names if name not in new]:
        notes.append(f"tokens of the vocabulary already, and not added: {', '.join(there)}")
    if new:
        tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in new], special_tokens=True)
        notes.append(f"{len(new)} token(s) added ({', '.join(new)}): each is a new row of the input embedding, and of the "
                     "output one where the two are not tied, learnt from these rows alone")
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


def _said(role: str, content: str) -> dict:
    return {"role": role, "content": content}


def _end(drawn: Drawn) -> int:
    at = drawn.text.find(PROBE)
    return next((end for start, end in drawn.spans if start <= at < end), len(drawn.text))


def _run_after(tokenizer, text: str, end: int) -> list[int]:
    """The special tokens that follow the probe word within text[:end], blanks before the first passed over."""
    if PROBE not in text:
        return []
    tail = text[text.index(PROBE) + len(PROBE): end].lstrip()
    words = len(tokenizer(PROBE, add_special_tokens=False)["input_ids"])
    special = special_ids(tokenizer)
    return list(takewhile(special.__contains__, tokenizer(PROBE + tail, add_special_tokens=False)["input_ids"][words:]))


def _stop_of_call(tokenizer, chat: ChatText) -> list[int]:
    """The token that ends a turn with a tool call, where the template has such turns."""
    try:
        text = chat.text([_said("user", "hi"), tool_call("probe_tool", PROBE)])
    except BadRow:
        return []  # a template without tools is fine; rows with tools are refused one by one
    tail = tokenizer(text[text.rfind(PROBE):].rstrip(), add_special_tokens=False)["input_ids"] if PROBE in text else []
    return tail[-1:] if tail and tail[-1] in special_ids(tokenizer) else []


def _spare_tokens(tokenizer) -> list[str]:
    """Tokens that may pad, best first: unknown, reserved ones, special ones no template writes, an unused byte."""
    named = [token.content for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]
    free = [token for token in named if token not in (tokenizer.chat_template or "") and token != tokenizer.bos_token]
    reserved = [token for token in free if SPARE.search(token)]
    # the byte 0x14, which no text contains, as byte-level and SentencePiece vocabularies write it
    bytes_ = [token for token in ("\u0114", "<0x14>") if token in tokenizer.get_vocab()]
    return [tokenizer.unk_token, *reserved, *free, *bytes_]


def _remarks(tokenizer, stops: Stops) -> list[str]:
    notes = [f"padding uses the existing token {tokenizer.pad_token!r}"]
    if stops.earlier:
        words = tokenizer.convert_ids_to_tokens([stops.earlier[0], stops.written[0]])
        notes.append(f"the template ends earlier turns with {words[0]!r}, which does not end an answer ({words[1]!r} "
                     "does): in earlier turns the stop token carries no loss")
    if tokenizer.model_max_length < 512:
        notes.append(f"the tokenizer names {tokenizer.model_max_length} tokens as the model's longest context: keep "
                     "data.max_length within it")
    if adds_bos(tokenizer) and "bos_token" not in tokenizer.chat_template \
            and tokenizer.bos_token not in tokenizer.chat_template:
        notes.append("the tokenizer puts a BOS before plain text, but the chat template writes none; chats go without, "
                     "as they do in transformers and vLLM")
    return notes
