"""What answers, as the recipes see it: chat messages, sampling and a seed go in, a text with its token counts comes out.

The floors above make generators of runs and model folders; an endpoint and a recording are here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from data_recipes.errors import Refused
from data_recipes.files import sha256_json

MESSAGE_TOKENS = 16  # what a chat template may put around one message, and around the whole


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. max_new_tokens: at most. temperature: 0 is greedy. top_p 1 and top_k 0 are off."""

    max_new_tokens: int = 512
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        _require(self.max_new_tokens >= 1, "max_new_tokens", "1 or more", self.max_new_tokens)
        _require(0 <= self.temperature < float("inf"), "temperature", "0 (greedy) or more", self.temperature)
        _require(0 < self.top_p <= 1, "top_p", "above 0, at most 1 (off)", self.top_p)
        _require(self.top_k >= 0, "top_k", "0 (off) or more", self.top_k)


@dataclass(frozen=True)
class Request:
    """One question: messages as chat templates take them, how the answer is drawn, and the seed of the drawing."""

    messages: tuple[dict, ...]
    sampling: Sampling
    seed: int

    def as_dict(self) -> dict:
        """The JSON form, as the log keeps it."""
        return {"messages": list(self.messages), "sampling": asdict(self.sampling), "seed": self.seed}

    def key(self, identity: dict) -> str:
        """The question's address: a hash of all that decides the answer. A generator's name decides nothing."""
        who = {name: value for name, value in identity.items() if name != "name"}
        return sha256_json({"generator": who, **self.as_dict()})

    def prompt_bound(self) -> int:
        """Tokens that the prompt has at most, whatever the tokenizer: none is shorter than a byte."""
        return sum(text_bound(message.get("content") or "") for message in self.messages) + MESSAGE_TOKENS


@dataclass(frozen=True)
class Answer:
    """What came back.

    stopped: it ended by itself. refused: why the generator does not take the question at all; kept in the log, since
    asking again would not help. lost: why no answer came; it is asked again by the next command. attempts: how often
    it was sent; 0 where it came from the log.
    """

    text: str = ""
    stopped: bool = True
    prompt_tokens: int = 0
    completion_tokens: int = 0
    refused: str = ""
    lost: str = ""
    attempts: int = 1

    def fault(self) -> tuple[str, str]:
        """Why the answer cannot be used, as a reason to count by and a detail; two empty texts where it can."""
        if self.lost:
            return "no-answer", self.lost
        if self.refused:
            return "request-refused", self.refused
        if not self.text.strip():
            return "empty-answer", "the answer has no words"
        if not self.stopped:
            return "cut-off", f"the answer was cut after {self.completion_tokens} tokens"
        return "", ""


class Generator(Protocol):
    """identity: JSON-able, with `kind` and `name`; what else is in it decides whether a logged answer may stand.

    `complete` takes requests as it has room for them and yields (number of the request, answer) as each is done.
    """

    identity: dict[str, Any]

    def complete(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]: ...


def text_bound(text: str) -> int:
    """Tokens of one message with this text, at most."""
    return len(text.encode("utf-8", "surrogatepass")) + MESSAGE_TOKENS


def _require(holds: bool, key: str, expected: str, seen: object) -> None:
    if not holds:
        raise Refused(f"{key} cannot be {seen}", where=key, expected=expected)
