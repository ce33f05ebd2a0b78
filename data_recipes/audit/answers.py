"""Answers that teach nothing or the wrong thing: empty, placeholders, refusals, loops, turns out of order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from data_recipes import near
from data_recipes.audit import wordlists
from data_recipes.audit.counts import mending
from data_recipes.audit.counts import refusals as unreadable
from data_recipes.audit.excerpts import place
from data_recipes.audit.model import LOOK, Context, Figure, Finding, Place, Row, counted
from data_recipes.audit.registry import check
from data_recipes.intervals import wilson

SECTION = "Answers"
# An answer that is this and nothing else stands for a value that was never filled in.
PLACEHOLDER = re.compile(
    r"(?:<?no ?(?:output|input|answer|response)>?|n/?a|null|nan|none|undefined|todo|tbd|fixme|lorem ipsum.*|xxx+|asdf+|test"
    r"|\[?(?:insert|your|add)[^\].]{0,40}(?:here|answer|response|text)\]?|\{\{?[\w. ]+\}?\}|<[\w ]*answer[\w ]*>)[.!]?",
    re.IGNORECASE | re.DOTALL)
# Openings of stock refusals and self-descriptions, as published cleaning scripts of instruction data list them.
# "an AI" and not "an AI researcher", "a language model" and not "a language teacher".
MODEL = (r"an? (?:(?:AI|artificial intelligence)(?= ?(?:language|model|assistant|chatbot|system|program|bot|[,.;:)]|and\b|I\b"
         r"|so\b|it\b))|(?:large )?language model|virtual assistant)")
REFUSAL = re.compile(
    rf"\bas {MODEL}|\bI(?:'|’| a)?m (?:just |only )?{MODEL}"
    r"|\bI(?:'|’| a)?m (?:very |really |so )?sorry,? (?:but )?(?:I(?:'|’)?m |I am )?(?:I )?"
    r"(?:can(?:'|’)?t|can ?not|unable|not able|won(?:'|’)?t)\b"
    r"|\bI (?:can(?:'|’)?t|can ?not|am unable to|am not able to|won(?:'|’)?t|will not) (?:assist|help you with|fulfil|comply"
    r"|provide (?:that|this|such)|answer (?:that|this)|engage|support|create (?:that|such)|do that|continue)",
    re.IGNORECASE)
OPENING = 240  # characters in which a refusal stands; later in a text it is usually a quotation
LONGEST_LOOP, LEAST_REPEATS, LEAST_WORDS = 12, 5, 10  # words of a phrase, times in a row, words in all
LETTER_LOOP = re.compile(r"([^\W\d_][^\n]{2,19}?)\1{9,}")
MARKERS = re.compile(
    r"<\|(?:im_start|im_end|endoftext|eot_id|start_header_id|end_header_id|system|user|assistant)\|>|\[/?INST\]|<</?SYS>>"
    r"|</?s>(?![\w>])|<(?:start|end)_of_turn>|<extra_id_1>|^### ?(?:Instruction|Response|Human|Assistant):",
    re.MULTILINE)
NEXT_TURN = re.compile(r"\n\s*\n(?:Human|User): ?\S")
DIALOGUE = re.compile(r"\b(?:dialog|conversation|chat|script|interview)", re.IGNORECASE)


def _answers(rows: Sequence[Row], context: Context) -> str:
    return "" if any(row.answers for row in rows) or context.refused else "rows with answers"


@check("empty-answers", "Empty answers", SECTION, needs=_answers, mend="filter: {min_answer_words: 1}",
       why="An empty answer trains the stop token as the first one.")
def empty_answers(rows: Sequence[Row], context: Context) -> Finding:
    """Rows that the reader refused for an empty text, and answers of nothing but invisible characters."""
    found = [place(row, "nothing visible", name) for row, name, text in _each(rows) if text and not _visible(text)]
    places = unreadable(context, "empty-answers") + found
    return counted("empty-answers", "Empty answers", "A text of the row is empty, or holds nothing that can be seen.", places,
                   len(rows) + len(places) - len(found),
                   mend=mending(rows, context, "empty-answers", "filter: {min_answer_words: 1}"))


@check("degenerate-answers", "Answers that say nothing", SECTION, needs=_answers, mend="filter: {quality: [degenerate]}",
       why="Placeholders and echoes are what a scraper left; the model gives them back word for word.")
def degenerate_answers(rows: Sequence[Row], context: Context) -> Finding:
    """Placeholders, answers without a letter or digit, and answers that repeat their prompt."""
    places = [place(row, fault, name) for row, name, text in _each(rows) if (fault := _degenerate(row, text))]
    return counted("degenerate-answers", "Answers that say nothing", "A placeholder, signs alone, or the prompt again.", places,
                   max(len(rows), 1))


@check("refusals", "Stock refusals", SECTION, needs=_answers, mend="filter: {quality: [refusal]}",
       why="A few teach a model to refuse whole kinds of questions; on one side of pairs they become the shortcut.")
def refusals(rows: Sequence[Row], context: Context) -> Finding:
    """Boilerplate such as "As an AI language model" or "I'm sorry, but I can't" near the start of an answer."""
    pattern = refusal_pattern(context)
    found = [(row, name, match) for row, name, text in _each(rows) if (match := pattern.search(text[:OPENING]))]
    places = [place(row, "refusal or self-description", name, *match.span()) for row, name, match in found]
    names = list(dict.fromkeys(name for _, name, _ in _each(rows)))
    figures = [Figure(f"of the {_plural(name)}", wilson(sum(one == name for _, one, _ in found), _count(rows, name)))
               for name in names]
    return counted("refusals", "Stock refusals", "Answers that begin with a stock refusal or speak of themselves as a model.",
                   places, max(len(rows), 1), level=LOOK, figures=tuple(figures),
                   mend="filter: {without: [FILE]}, with the same list" if "refusal" in context.words else "")


def refusal_pattern(context: Context) -> re.Pattern:
    """What a stock refusal says, looked for in an answer's first OPENING characters: the user's own phrases, else ours."""
    return wordlists.pattern(context.words["refusal"]) if "refusal" in context.words else REFUSAL


@check("repetition", "Loops", SECTION, needs=_answers, mend="filter: {quality: [repetition]}",
       why="Generators that got stuck wrote them; a model trained on them gets stuck sooner.")
def repetition(rows: Sequence[Row], context: Context) -> Finding:
    """Phrases repeated in a row, lines that come again and again."""
    places = [place(row, fault, name) for row, name, text in _each(rows) if (fault := loop(text))]
    return counted("repetition", "Loops", f"A phrase {LEAST_REPEATS} times in a row or more, or most lines more than once.",
                   places, max(len(rows), 1))


@check("turns", "Turns out of order", SECTION, why="What the user says would be trained as the model's own words, or cut away.",
       mend="mend the rows; a build refuses those that it cannot read, with their reason")
def turns(rows: Sequence[Row], context: Context) -> Finding:
    """Rows the reader refused for their turns, and answers that hold a template's marks or the next speaker's turn."""
    found = [fault for row in rows for fault in _turn_faults(row)]
    places = unreadable(context, "turns") + found
    return counted("turns", "Turns out of order", "Turns that do not alternate or do not end with an answer, and texts that "
                   "hold another turn or a template's marks.", places, len(rows) + len(places) - len(found),
                   mend=mending(rows, context, "turns"))


def _each(rows: Sequence[Row]) -> Iterator[tuple[Row, str, str]]:
    return ((row, name, text) for row in rows for name, text in row.answers.items())


def _count(rows: Sequence[Row], name: str) -> int:
    return sum(name in row.answers for row in rows)


def _plural(name: str) -> str:
    return "answers" if name == "answer" else f"{name} answers"


def _visible(text: str) -> bool:
    return any(sign.isprintable() and not sign.isspace() for sign in text)


def _degenerate(row: Row, text: str) -> str:
    if not _visible(text):
        return ""  # reported as empty
    if PLACEHOLDER.fullmatch(text.strip()) and text.strip().casefold() not in row.prompt.casefold():
        return "a placeholder"
    if not any(sign.isalnum() for sign in text) and not _has_emoji(text):
        return "no letter and no digit"
    echo, asked = near.normal(text), row.prompt_turns[-1].content if row.prompt_turns else ""
    return "the prompt again" if echo.count(" ") >= 2 and echo == near.normal(asked) else ""


def _has_emoji(text: str) -> bool:
    return any(ord(sign) > 0x2190 for sign in text)


def loop(text: str) -> str:
    """What is repeated, in words for people; "" where nothing is."""
    words, start = text.casefold().split(), text[:20_000]
    if _words_may_loop(words) and (size := _loop_size(words)):
        return f"{size} word{'s' if size > 1 else ''} repeated without end"
    if _letters_may_loop(start) and LETTER_LOOP.search(start):
        return "letters repeated without end"
    lines = [line for line in map(str.strip, text.splitlines()) if len(line.split()) >= 4]
    again = len(lines) - len(set(lines))
    return f"{again} of {len(lines)} lines repeat another" if len(lines) >= 8 and again > len(lines) / 2 else ""


def _words_may_loop(words: list[str]) -> bool:
    """Whether four words come again within a loop's length, looked at from each fifth; spares the search where not.

    No loop lies between two looks: its shortest run of words that equal the one a phrase before, 8, has 5 starts of 4.
    """
    return any(words[at] in words[at + 1:at + 1 + LONGEST_LOOP] and any(
        words[at:at + 4] == words[at + step:at + step + 4] for step in range(1, LONGEST_LOOP + 1))
        for at in range(0, len(words) - 4, 5))


def _letters_may_loop(text: str) -> bool:
    """The same of letters: ten times three of them, the shortest loop, have 16 starts of 12; the longest phrase has 20."""
    return any(text.find(text[at:at + 12], at + 1, at + 32) >= 0 for at in range(0, len(text) - 12, 15))


def _loop_size(words: list[str]) -> int:
    """The length of the shortest phrase that is repeated in a row often enough, else 0. Numbers alone are tables."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    ids = np.array([numbers[word] for word in words])
    letters = np.array([any(sign.isalpha() for sign in word) for word in words])
    for size in range(1, min(LONGEST_LOOP, len(words) // LEAST_REPEATS) + 1):
        least = max(size * (LEAST_REPEATS - 1), LEAST_WORDS - size)
        same = (ids[size:] == ids[:-size]) & (letters[size:] if size == 1 else True)
        end = _first_run(same, least)
        if end and letters[end - least: end].any():
            return size
    return 0


def _first_run(flags: np.ndarray, least: int) -> int:
    """Where the first `least` true values in a row end, else 0."""
    total = np.concatenate([[0], np.cumsum(flags)])
    if len(flags) < least:
        return 0
    full = np.flatnonzero(total[least:] - total[:-least] == least)
    return int(full[0]) + least if len(full) else 0


def _turn_faults(row: Row) -> Iterator[Place]:
    for name, text in row.texts:
        if match := MARKERS.search(text):
            yield place(row, f"holds {match.group().strip()!r}", name, *match.span())
        elif name in row.answers and (match := _next_turn(row, text)):
            yield place(row, "goes on with the next turn", name, *match)


def _next_turn(row: Row, text: str) -> tuple[int, int] | None:
    """Where an answer goes on as another speaker; where a dialogue was asked for, one of several turns is none."""
    found = list(NEXT_TURN.finditer(text))
    wanted = DIALOGUE.search(row.prompt) and len(found) > 1
    return found[0].span() if found and not wanted else None
