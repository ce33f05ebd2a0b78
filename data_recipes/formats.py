"""The formats of rows: told apart by the keys of many rows, never by the first one, and converted to records.

To add one: write `fits` (which rows look like it) and `convert` (a `Fields` to a record), and put it into `FORMATS`.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data_recipes import turns
from data_recipes.errors import Refused
from data_recipes.records import (
    BadRow, Comparison, Demonstration, Message, Prompt, Record, Text, check_finite, check_text, wrong_type,
)

KINDS = ("demonstrations", "comparisons", "prompts")


class Fields:
    """A raw row while it is converted: remembers which columns were used, so that the others are kept as extra.

    Args:
        row: the raw row. where: "file:line". ignored: receives the names of message fields that have no meaning here.
    """

    __slots__ = ("row", "where", "used", "ignored")

    def __init__(self, row: dict, where: str = "", ignored: set[str] | None = None) -> None:
        self.row, self.where, self.ignored = row, where, ignored
        self.used: set[str] = set()

    def value(self, key: str) -> Any:
        """A required column. Raises BadRow: missing-field."""
        if key not in self.row:
            raise BadRow("missing-field", f"no {key}")
        self.used.add(key)
        return self.row[key]

    def optional_text(self, key: str) -> str | None:
        """A column that may be missing, null or empty."""
        value = self.row.get(key)
        self.used.add(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise wrong_type(key, "text", value)
        return value if value.strip() else None

    def tools(self) -> list | None:
        """The functions offered to the assistant in this row."""
        self.used.add("tools")
        return turns.tools_of(self.row.get("tools"))

    def margin(self) -> float | None:
        """By how much chosen is better. A CSV file has only text, so a number written as text is taken."""
        value = self.row.get("margin")
        self.used.add("margin")
        if value is None or value == "":
            return None
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError as error:
                raise BadRow("wrong-type", f"margin must be a number, not {value[:20]!r}") from error
        return check_finite("margin", value)

    def turns(self, key: str) -> turns.Turns:
        """A required column of messages."""
        return turns.from_messages(key, self.value(key), self.ignored)

    def either(self, key: str, role: str) -> turns.Turns:
        """A required column of text or messages."""
        return turns.from_either(key, self.value(key), role, self.ignored)

    def system(self, chat: turns.Turns) -> turns.Turns:
        """The chat with the column `system` before it. Raises BadRow: bad-order where it has one already."""
        text = self.optional_text("system")
        if text is None:
            return chat
        if chat[0].role == "system":
            raise BadRow("bad-order", "there is a system column and a system message in the chat")
        return (Message("system", text), *chat)

    def rest(self) -> dict:
        """The columns nobody asked for."""
        return {key: value for key, value in self.row.items() if key not in self.used}


@dataclass(frozen=True)
class Format:
    """name: what `data.format` calls it. has: what its rows have, in words. fits: whether a row's keys look like it."""

    name: str
    has: str
    fits: Callable[[dict], bool]
    convert: Callable[[Fields], Record]


# ---------------------------------------------------------------------------------------------------- demonstrations


def _chat(chat: turns.Turns, fields: Fields) -> Demonstration:
    return Demonstration(chat, fields.tools(), fields.where, fields.rest())


def _messages(fields: Fields) -> Demonstration:
    return _chat(fields.turns("messages"), fields)


def _prompt_completion(fields: Fields) -> Demonstration:
    return _chat(fields.either("prompt", "user") + fields.either("completion", "assistant"), fields)


def _sharegpt(fields: Fields) -> Demonstration:
    return _chat(_sharegpt_chat(fields), fields)


def _sharegpt_chat(fields: Fields) -> turns.Turns:
    chat = turns.from_sharegpt("conversations", fields.value("conversations"), fields.ignored)
    return fields.system(chat)


def _alpaca(fields: Fields) -> Demonstration:
    answer = Message("assistant", check_text("output", fields.value("output")))
    return _chat((*_alpaca_chat(fields), answer), fields)


def _alpaca_chat(fields: Fields) -> turns.Turns:
    """Instruction and input as one user message, after LLaMA-Factory's optional `system` and `history` columns."""
    parts = [check_text("instruction", fields.value("instruction")), fields.optional_text("input")]
    question = Message("user", "\n\n".join(part for part in parts if part is not None))
    return fields.system((*_history(fields), question))


def _history(fields: Fields) -> turns.Turns:
    past = fields.row.get("history") or []
    fields.used.add("history")
    if not isinstance(past, list) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in past):
        raise BadRow("wrong-type", "history must be a list of [question, answer] pairs")
    roles = ("user", "assistant")
    return tuple(Message(role, check_text("history", text)) for pair in past for role, text in zip(roles, pair, strict=True))


def _text(fields: Fields) -> Text:
    return Text(check_text("text", fields.value("text")), fields.where, fields.rest())


# ------------------------------------------------------------------------------------------------------- comparisons


def _pair(prompt: turns.Turns, chosen: turns.Turns, rejected: turns.Turns, fields: Fields) -> Comparison:
    tools, margin = fields.tools(), fields.margin()
    return Comparison(prompt, chosen, rejected, tools, margin, fields.where, fields.rest())


def _preference(fields: Fields) -> Comparison:
    prompt = fields.either("prompt", "user")
    sides = (turns.from_text(side, fields.value(side), "assistant") for side in ("chosen", "rejected"))
    return _pair(fields.system(prompt), *sides, fields)


def _preference_messages(fields: Fields) -> Comparison:
    """Answers alone, or whole conversations that repeat the prompt (as UltraFeedback's published pairs do)."""
    prompt = fields.system(fields.either("prompt", "user"))
    chosen, rejected = (fields.either(side, "assistant") for side in ("chosen", "rejected"))
    if chosen[0].role == "assistant":
        return _pair(prompt, chosen, rejected, fields)
    found, chosen, rejected = turns.split_pair(chosen, rejected)
    turns.check_same_prompt(prompt, found)
    return _pair(found, chosen, rejected, fields)


def _conversations_pair(fields: Fields) -> Comparison:
    return _pair(*turns.split_pair(fields.turns("chosen"), fields.turns("rejected")), fields)


def _hh(fields: Fields) -> Comparison:
    opening = fields.value("prompt") if "prompt" in fields.row else ""
    sides = []
    for side in ("chosen", "rejected"):
        text = check_text(side, fields.value(side))
        whole = text if turns.is_transcript(text) else f"{check_text('prompt', opening).rstrip()} {text.strip()}"
        sides.append(turns.from_transcript(side, whole))
    return _pair(*turns.split_pair(*sides), fields)


def _sharegpt_pair(fields: Fields) -> Comparison:
    prompt = _sharegpt_chat(fields)
    sides = (turns.from_sharegpt(side, fields.value(side), fields.ignored) for side in ("chosen", "rejected"))
    return _pair(prompt, *sides, fields)


# ----------------------------------------------------------------------------------------------------------- prompts


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


# ------------------------------------------------------------------------------------------------------------- table


def _has(*keys: str, no: tuple[str, ...] = ()) -> Callable[[dict], bool]:
    return lambda row: all(key in row for key in keys) and not any(key in row for key in no)


def _pair_like(row: dict) -> bool:
    return "chosen" in row and "rejected" in row and "conversations" not in row


def _any_side(row: dict, test: Callable[[Any], bool]) -> bool:
    return test(row["chosen"]) or test(row["rejected"])


def _is_turns(value: Any) -> bool:
    return isinstance(value, (list, dict))


def _is_hh(row: dict) -> bool:
    return _pair_like(row) and (_any_side(row, turns.is_transcript) or turns.is_transcript(row.get("prompt")))


def _is_preference(row: dict) -> bool:
    return _pair_like(row) and "prompt" in row and not _any_side(row, _is_turns) and not _is_hh(row)


def _is_preference_messages(row: dict) -> bool:
    return _pair_like(row) and "prompt" in row and _any_side(row, _is_turns)


def _is_conversations_pair(row: dict) -> bool:
    return _pair_like(row) and "prompt" not in row and _any_side(row, _is_turns)


PAIRS = (
    Format("preference", "prompt, and chosen and rejected as text", _is_preference, _preference),
    Format("preference-messages", "prompt, and chosen and rejected as messages", _is_preference_messages,
           _preference_messages),
    Format("conversations-pair", "chosen and rejected as whole conversations", _is_conversations_pair,
           _conversations_pair),
    Format("hh", "chosen and rejected as Human/Assistant transcripts", _is_hh, _hh),
    Format("sharegpt-pair", "conversations, and chosen and rejected turns", _has("conversations", "chosen", "rejected"),
           _sharegpt_pair),
)
FORMATS: dict[str, tuple[Format, ...]] = {
    "demonstrations": (
        Format("messages", "messages", _has("messages"), _messages),
        Format("prompt-completion", "prompt and completion", _has("prompt", "completion"), _prompt_completion),
        Format("alpaca", "instruction and output", _has("instruction", "output"), _alpaca),
        Format("sharegpt", "conversations", _has("conversations", no=("chosen", "rejected")), _sharegpt),
        Format("text", "text", _has("text"), _text),
    ),
    "comparisons": PAIRS,
    "prompts": (
        Format("prompt", "prompt", lambda row: "prompt" in row and not _is_hh(row), _prompt),
        Format("messages", "messages", _has("messages"), _question_of(lambda fields: fields.turns("messages"))),
        Format("alpaca", "instruction", _has("instruction"), _question_of(_alpaca_chat)),
        Format("sharegpt", "conversations", _has("conversations"), _question_of(_sharegpt_chat)),
        Format("turns", "turns", _has("turns"), _first_turn),
        Format("conversations-pair", PAIRS[2].has, PAIRS[2].fits, _prompt_of_pair(_conversations_pair)),
        Format("hh", PAIRS[3].has, PAIRS[3].fits, _prompt_of_pair(_hh)),
    ),
}


def names(kind: str) -> list[str]:
    """The formats a kind of row may have."""
    return [form.name for form in FORMATS[kind]]


def by_name(name: str, kind: str) -> Format:
    """The format that `data.format` asks for. Raises Refused with the nearest name."""
    for form in FORMATS[kind]:
        if form.name == name:
            return form
    near = difflib.get_close_matches(str(name), names(kind), n=1)
    raise Refused(f"there is no format '{name}' for {kind}", where="data.format",
                  expected=f"auto, {', '.join(names(kind))}", do=f"Did you mean {near[0]}?" if near else "")


def detect(rows: list[dict], kind: str, where: str = "") -> tuple[str, str]:
    """The format of most of the rows, and why.

    Args:
        rows: raw rows, the first hundred that could be read. where: their file, for the message.

    Raises:
        Refused: no row fits any format, or the rows fit several; the choices are named.
    """
    votes = Counter(tuple(form.name for form in FORMATS[kind] if form.fits(row)) for row in rows)
    fitting = [(found, count) for found, count in votes.most_common() if found]
    if not fitting:
        raise _nothing_fits(rows, kind, where)
    best, count = fitting[0]
    if len(fitting) > 1 and fitting[1][1] == count:
        raise _several(sorted({name for found, votes in fitting for name in found}), "different rows fit", where)
    if len(best) > 1:
        raise _several(list(best), "the rows fit", where)
    share = "all" if count == len(rows) else str(count)
    return best[0], f"{share} of the first {len(rows)} rows have {by_name(best[0], kind).has}"


def convert(form: Format, kind: str, fields: Fields) -> Record:
    """A raw row as a record of `kind`.

    Raises:
        BadRow: wrong-format where the row is of another format than its file; else what is wrong with it.
    """
    try:
        return form.convert(fields)
    except BadRow as error:
        others = [other.name for other in FORMATS[kind] if other.fits(fields.row)]
        if others and form.name not in others and error.reason in ("missing-field", "wrong-type"):
            raise BadRow("wrong-format", f"the row is {others[0]}, and the file {form.name}") from error
        raise


def _several(choices: list[str], how: str, where: str) -> Refused:
    return Refused(f"{how} several formats: {', '.join(choices)}", where=where, expected="rows of one format",
                   do=f"Say which: --set data.format={choices[0]} (or {', '.join(choices[1:])}).")


def _nothing_fits(rows: list[dict], kind: str, where: str) -> Refused:
    keys = sorted({str(key)[:40] for row in rows for key in row})[:12]
    wanted = "; ".join(f"{form.name} ({form.has})" for form in FORMATS[kind])
    elsewhere = [other for other in KINDS if any(form.fits(row) for form in FORMATS[other] for row in rows)]
    rename = "Rename the columns; a table's first line must name them."
    hint = f"These rows are {elsewhere[0]}, not {kind}." if elsewhere else rename
    what = f"no format for {kind} fits rows with the columns {', '.join(keys) or '(none)'}"
    return Refused(what, where=where, expected=f"one of {wanted}", do=hint)
