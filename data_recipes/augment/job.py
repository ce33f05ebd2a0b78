"""What a recipe is, and the job that it is given: rows, a way to ask, gates that count, and the stamp on each row made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Protocol

from data_recipes.augment.generator import Answer, Request, Sampling
from data_recipes.augment.wording import Wordings
from data_recipes.errors import Refused
from data_recipes.files import sha256_json
from data_recipes.ledger import Ledger
from data_recipes.records import BadRow, Comparison, Demonstration, Message, Prompt, Record, Text
from data_recipes.seeds import row_seed
from data_recipes.strict_yaml import parse
from data_recipes.style import Guide
from data_recipes.turns import from_messages

Messages = list[dict]


class PairJudge(Protocol):
    """Says which of two answers is better. A verdict has `winner` ("first", "second", "tie" or None) and `why`."""

    def __call__(self, cases: Sequence[tuple[Messages, str, str]]) -> Sequence[Any]: ...

    def requests(self, case: tuple[Messages, str, str]) -> Sequence[Request]: ...


@dataclass(frozen=True)
class Stage:
    """Part of a plan: so many questions at most, with so many tokens of prompt in all at most."""

    name: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Recipe:
    """reads: kinds of rows, the preferred first. settings: a dataclass with a default for each. texts: its wordings.

    needs: "score" or "judge", where the recipe wants one. draws: it asks one question several times, which makes no
    sense at temperature 0. plan: what it will ask at most. run: does it.
    """

    name: str
    reads: tuple[str, ...]
    settings: type
    texts: dict[str, str]
    plan: Callable[[Job], list[Stage]]
    run: Callable[[Job], None]
    needs: str = ""
    draws: bool = False


@dataclass
class Job:
    """One recipe at work. `made` and `account` are its outcome: candidates kept, and refused by which gate.

    ask: requests -> answers in order. generator: the identity in each row's stamp. system: said before each question that
    has no system message. style: a guide that answers must keep.
    """

    recipe: str
    rows: list[Record]
    ask: Callable[[Sequence[Request]], list[Answer]]
    settings: Any
    wordings: Wordings
    generator: dict
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    system: str | None = None
    score: Callable[..., list[float]] | None = None
    judge: PairJudge | None = None
    style: Guide | None = None
    made: list[dict] = field(default_factory=list)
    account: Ledger = field(default_factory=Ledger)
    _seen: set[str] = field(default_factory=set)

    def request(self, prompt: str | Messages, *key: object, greedy: bool = False) -> Request:
        """A question whose seed comes from the job's and the key; greedy ones are judgements and checks."""
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        if self.system and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        how = dataclasses.replace(self.sampling, temperature=0.0, top_p=1.0, top_k=0) if greedy else self.sampling
        return Request(tuple(messages), how, row_seed(self.seed, self.recipe, *key))

    def texts(self, requests: Sequence[Request], where: Sequence[str]) -> list[str | None]:
        """The answers' texts; None, and refused with its reason, where an answer cannot be used."""
        return [self.usable(answer, place) for answer, place in zip(self.ask(requests), where, strict=True)]

    def usable(self, answer: Answer, where: str) -> str | None:
        """The text of an answer that has no fault; the fault of any other is counted."""
        reason, detail = answer.fault()
        if reason:
            self.refuse(where, reason, detail, answer.text or None)
            return None
        return answer.text.strip()

    def refuse(self, where: str, reason: str, detail: str, row: Any = None) -> None:
        """Counts a candidate that a gate does not let pass."""
        self.account.reject(where, reason, detail, row)

    def keep(self, row: dict, where: str, parents: Sequence[dict], seed: int, **more: Any) -> bool:
        """Stamps a row and keeps it, unless it is no valid row, was made already, or breaks the style guide."""
        fault = self._fault(row)
        if fault:
            self.refuse(where, *fault, row)
            return False
        stamp = {
            "recipe": self.recipe, "generator": self.generator, "template_hash": self.wordings.hash,
            "parents": list(parents), "seed": seed, **more,
        }
        self.made.append({**row, "synthetic": stamp})
        self.account.kept += 1
        return True

    def _fault(self, row: dict) -> tuple[str, str] | None:
        try:
            answer = check_row(row)
        except BadRow as bad:
            return bad.reason, bad.detail
        if self.style and answer is not None and (broken := self.style.check(answer)):
            return "style", "; ".join(breach.detail for breach in broken)
        key = sha256_json({name: row.get(name) for name in ("messages", "prompt", "chosen", "rejected")})
        if key in self._seen:
            return "duplicate", "the same row was made before"
        self._seen.add(key)
        return None


def check_row(row: dict) -> str | None:
    """That a made row is one; returns the answer that it teaches, None for prompts. Raises BadRow."""
    if "messages" in row:
        return Demonstration(_turns(row["messages"])).messages[-1].content
    prompt = _turns(row["prompt"])
    if "chosen" in row:
        return Comparison(prompt, _turns(row["chosen"]), _turns(row["rejected"])).chosen[0].content
    Prompt(prompt)
    return None


def _turns(messages: Messages) -> tuple[Message, ...]:
    return from_messages("messages", messages)


def said(content: str) -> Messages:
    """An assistant's answer as messages."""
    return [{"role": "assistant", "content": content}]


def prompt_of(record: Record) -> Messages:
    """What was asked: a chat up to its last answer. Raises Refused for a plain text, which nobody asked for."""
    if isinstance(record, Text):
        raise Refused("a plain text has no prompt", where=record.where, expected="prompts or demonstrations",
                      do="The recipe backtranslate makes prompts for plain texts")
    turns = record.prompt if isinstance(record, Comparison) else record.messages
    turns = turns[:-1] if isinstance(record, Demonstration) else turns
    return [turn.as_dict() for turn in turns]


def answer_of(record: Record) -> str | None:
    """The answer that a row has; None for a prompt."""
    if isinstance(record, Text):
        return record.text
    return record.messages[-1].content if isinstance(record, Demonstration) else None


def parent(record: Record) -> dict:
    """How a row names what it was made from: its place, and the hash of its content in case the file moves."""
    if isinstance(record, Text):
        return {"where": record.where, "sha256": sha256_json(record.text)}
    content = [*prompt_of(record), *([] if (answer := answer_of(record)) is None else said(answer))]
    return {"where": record.where, "sha256": sha256_json(content)}


def others(record: Record) -> dict:
    """A row's tools and other columns, without the stamp of an earlier recipe."""
    tools = {"tools": list(record.tools)} if getattr(record, "tools", None) else {}
    return {**tools, **{name: value for name, value in record.extra.items() if name != "synthetic"}}


def make_settings(kind: type, given: Sequence[str]) -> Any:
    """A recipe's settings from `key=value` texts.

    Raises:
        Refused: an unknown key, with the nearest one, or a value of another type.
    """
    fields = {one.name: one for one in dataclasses.fields(kind)}
    values = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise Refused("a setting has no value", where=f"--set {text}", expected="KEY=VALUE")
        if key not in fields:
            close = get_close_matches(key, fields, n=1)
            raise Refused(f"this recipe has no setting '{key}'", where=f"--set {text}",
                          expected=f"{close[0]}?" if close else f"one of {', '.join(fields)}")
        values[key] = _value(fields[key], parse(value, f"--set {text}")[0], text)
    return kind(**values)


def _value(one: dataclasses.Field, value: Any, text: str) -> Any:
    wanted = type(one.default) if one.default is not None else float
    if wanted is float and type(value) is int:
        value = float(value)
    if type(value) is not wanted and not (value is None and one.default is None):
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise Refused(f"'{one.name}' cannot be {value!r}", where=f"--set {text}", expected=words[wanted])
    return value


def stage(name: str, requests: Sequence[Request], *, times: int = 1, more: int = 0) -> Stage:
    """A stage of a plan from the questions that are known; `more`: tokens that earlier answers add to each prompt."""
    prompt = sum(request.prompt_bound() + more for request in requests) * times
    return Stage(name, len(requests) * times, prompt, sum(one.sampling.max_new_tokens for one in requests) * times)
