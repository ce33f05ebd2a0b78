"""Rows that are too short, too long, of another language or plainly broken go, each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from data_recipes import languages, near
from data_recipes.audit import wordlists
from data_recipes.building import rows
from data_recipes.building.steps.base import Drop, InputFiles, Judge
from data_recipes.errors import Refused
from data_recipes.quality import RULES

Count = Annotated[int, Field(ge=0)]
Rule = Literal[tuple(RULES)]


def filter_rows(
    *, min_words: Count = 0, max_words: Count | None = None, min_answer_words: Count = 0,
    max_answer_words: Count | None = None, max_chars: Count | None = None, max_turns: Count | None = None,
    language: list[str] = [], language_of: rows.Part = "row", quality: list[Rule] = [],  # noqa: B006 - never changed
    without: InputFiles = [],  # noqa: B006
) -> Judge:
    """Drops rows by length, language and rules of quality.

    Args:
        min_words, max_words: of the whole row, prompt and answers. min_answer_words, max_answer_words: of each answer.
        max_chars: of all texts of a row. max_turns: messages of a chat or of a prompt.
        language: two-letter codes that are kept. Where the language cannot be told (few letters, code), the row is kept.
        language_of: the part of the row whose language counts.
        quality: names of `data_recipes.quality.RULES`, each looked at for every answer.
        without: text files with one word or phrase a line that no answer may hold, such as refusals in your language.
    """
    tests = [
        *_lengths(min_words, max_words, max_chars, max_turns),
        *_answer_lengths(min_answer_words, max_answer_words),
        *([_language(language, language_of)] if language else []),
        *(_rule(name) for name in quality),
        *(_without(Path(path)) for path in without),
    ]

    def judge(row: dict) -> dict | Drop:
        return next((found for test in tests if (found := test(row))), row)

    return judge


def _lengths(fewest: int, most: int | None, chars: int | None, turns: int | None) -> Iterator[Callable[[dict], Drop | None]]:
    if fewest or most is not None:
        def words(row: dict) -> Drop | None:
            return _outside(_words(rows.part_text(row, "row")), fewest, most, "row")
        yield words
    if chars is not None:
        def characters(row: dict) -> Drop | None:
            count = sum(len(holder[key]) for holder, key in rows.places(row))
            return Drop("too-long", f"{count} characters, at most {chars}") if count > chars else None
        yield characters
    if turns is not None:
        def messages(row: dict) -> Drop | None:
            count = len(row.get("messages") or row.get("prompt") or ())
            return Drop("too-many-turns", f"{count} messages, at most {turns}") if count > turns else None
        yield messages


def _answer_lengths(fewest: int, most: int | None) -> Iterator[Callable[[dict], Drop | None]]:
    if fewest or most is not None:
        yield lambda row: next(
            (found for text in rows.answers(row) if (found := _outside(_words(text), fewest, most, "answer"))), None
        )


def _outside(count: int, fewest: int, most: int | None, what: str) -> Drop | None:
    if count < fewest:
        return Drop("too-short", f"the {what} has {count} words, at least {fewest}")
    if most is not None and count > most:
        return Drop("too-long", f"the {what} has {count} words, at most {most}")
    return None


def _words(text: str) -> int:
    return sum(1 for _ in near.WORD.finditer(text))


def _language(wanted: list[str], part: str) -> Callable[[dict], Drop | None]:
    if strange := sorted(set(wanted) - set(languages.known())):
        raise Refused(f"the language {strange[0]!r} is not known", where="filter.language",
                      expected=f"codes out of {', '.join(languages.known())}")

    def test(row: dict) -> Drop | None:
        found = languages.language(rows.part_text(row, part))
        return Drop("language", f"looks like {found}, not {' or '.join(wanted)}") if found and found not in wanted else None

    return test


def _rule(name: str) -> Callable[[dict], Drop | None]:
    rule = RULES[name]

    def test(row: dict) -> Drop | None:
        found = next((found for text in rows.answers(row) if (found := rule(text))), "")
        return Drop(name, found) if found else None

    return test


def _without(path: Path) -> Callable[[dict], Drop | None]:
    pattern = wordlists.pattern(wordlists.words(path))

    def test(row: dict) -> Drop | None:
        found = next((match for text in rows.answers(row) if (match := pattern.search(text))), None)
        return Drop("listed-words", f"{found.group()!r} of {path.name}") if found else None

    return test
