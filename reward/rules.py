"""Built-in rules, with the signature of TRL's reward functions. Plain ones are used by name, the others with settings:

    --reward reward.rules:exact_answer
    --reward "reward.rules:length_band(low=5, high=60)"

Completions are message lists or texts. Each rule gives 1.0 for what it asks for and 0.0 for the opposite.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from data_recipes.errors import Refused
from data_recipes.style import load_guide
from reward.scorers import row_name

RuleFunction = Callable[..., list[float]]


def text_of(completion: str | list[dict]) -> str:
    """The assistant's words in a completion, tool calls and other roles left out."""
    if isinstance(completion, str):
        return completion
    return "\n".join(turn.get("content") or "" for turn in completion if turn.get("role", "assistant") == "assistant")


def makes_rule(factory: Callable[..., RuleFunction]) -> Callable[..., RuleFunction]:
    """Marks a function that makes a rule from settings, so that it is not used as a rule itself."""
    factory.makes_rule = True
    return factory


@makes_rule
def length_band(low: int = 1, high: int = 100, unit: str = "words") -> RuleFunction:
    """1 within [low, high] words or characters; outside it falls in proportion, and is 0 at nothing or twice `high`.

    Raises:
        Refused: bounds that are none.
    """
    if unit not in ("words", "characters") or not 0 < low <= high:
        raise Refused(
            f"a length band of {low} to {high} {unit}",
            where="reward.rules:length_band",
            expected="0 < low <= high and unit 'words' or 'characters'",
        )

    def rule(prompts, completions, **columns) -> list[float]:
        texts = [text_of(completion) for completion in completions]
        return [_in_band(len(text.split()) if unit == "words" else len(text), low, high) for text in texts]

    return rule


def _in_band(length: int, low: int, high: int) -> float:
    if length < low:
        return length / low
    return max(0.0, 1.0 - max(0, length - high) / high)


@makes_rule
def format_matches(pattern: str, whole: bool = True) -> RuleFunction:
    """Format: 1 where the pattern fits the whole text (with whole=False: is found in it); `.` takes newlines.

    Raises:
        Refused: a pattern that is none.
    """
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise Refused(f"the pattern is no regular expression ({error})", where="reward.rules:format_matches") from error
    fits = compiled.fullmatch if whole else compiled.search

    def rule(prompts, completions, **columns) -> list[float]:
        return [float(fits(text_of(completion).strip()) is not None) for completion in completions]

    return rule


@makes_rule
def forbidden_words(words: list[str], ignore_case: bool = True) -> RuleFunction:
    """0 where any of the words (or phrases) stands in the text as a word, 1 elsewhere. Raises Refused without a list."""
    if not words or isinstance(words, str):
        raise Refused(
            "no list of words is given", where="reward.rules:forbidden_words", expected="words=['this', 'that']"
        )
    # (?<!\w) and not \b: a phrase may begin or end with a sign that is no word character
    pattern = r"(?<!\w)(?:" + "|".join(re.escape(word) for word in words) + r")(?!\w)"
    compiled = re.compile(pattern, re.IGNORECASE if ignore_case else 0)

    def rule(prompts, completions, **columns) -> list[float]:
        return [float(compiled.search(text_of(completion)) is None) for completion in completions]

    return rule


def exact_answer(prompts, completions, *, answer: list | None = None, where: list | None = None, **columns) -> list[float]:
    """1 where the completion is the row's `answer`, but for case, spaces and a full stop at the end.

    Raises:
        Refused: the rows have no such column, or one of them has none in it.
    """
    if answer is None:
        raise Refused(
            "the rows have no column 'answer'", where="reward.rules:exact_answer", expected="an answer in each row"
        )
    if None in answer:  # a column that other rows have: every answer to this one would be wrong
        row = row_name(answer.index(None), completions[answer.index(None)], where)
        raise Refused(
            "the row has no 'answer'", where=f"reward.rules:exact_answer, {row}", expected="an answer in each row"
        )
    pairs = zip(completions, answer, strict=True)
    return [float(_plain(text_of(completion)) == _plain(str(wanted))) for completion, wanted in pairs]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).removesuffix(".")


def stop(prompts, completions, *, stopped: list | None = None, **columns) -> list[float]:
    """1 where the completion ended by itself, 0 where it ran into the limit; `stopped` is given by who generated it.

    Raises:
        Refused: nobody says which.
    """
    if stopped is None:
        raise Refused(
            "nothing says which completions stopped", where="reward.rules:stop", expected="the column 'stopped'"
        )
    return [float(value) for value in stopped]


@makes_rule
def style(guide: str) -> RuleFunction:
    """How well an answer keeps a style guide (a YAML file, `data_recipes.style`), 0 to 1: the weighted share of its rules."""
    found = load_guide(guide)

    def rule(prompts, completions, **columns) -> list[float]:
        return [found.score(text_of(completion)) for completion in completions]

    rule.reads = (guide,)  # what was begun with another guide is not continued with this one
    return rule
