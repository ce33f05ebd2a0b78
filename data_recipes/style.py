r"""A team's style guide, written once as YAML: what rows must keep, what an audit counts, what a reward pays for.

    name: support desk
    greeting: {any_of: [Hello, Good day]}          # the answer begins with one of them
    closing: {any_of: [Kind regards]}              # and ends with one of them
    length: {low: 5, high: 60, unit: words}        # words, sentences or characters
    use: {any_of: [order, parcel], all_of: []}     # one of them; each of them
    avoid: {words: [obviously, cheap], patterns: ['\b\d{16}\b']}
    tone: {exclamation_marks: 1, question_marks: 2, shouting: false, emoji: false}
    format: {lists: true, headings: false, bold: false, code: false}
    weights: {avoid: 3}                            # of the score; 1 where nothing is said

Every section may be left out. Words are found whole and whatever their case. A rule pays 1 where it is kept; a length
pays less the farther it is off, everything else 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from data_recipes.errors import Refused
from data_recipes.files import sha256_json
from data_recipes.records import Comparison, Demonstration, Record, Text, Unpaired
from data_recipes.strict_yaml import read_file

SENTENCE = re.compile(r"[^.!?…。！？]*[^\s.!?…。！？][^.!?…。！？]*")
SHOUT = re.compile(r"(?<![\w-])[^\W\d_]{4,}(?![\w-])")  # three letters may be an abbreviation
EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
FORMATS = {
    "lists": re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+\S", re.MULTILINE),
    "headings": re.compile(r"^#{1,6}\s+\S", re.MULTILINE),
    "bold": re.compile(r"(\*\*|__)\S.*?\1"),
    "code": re.compile(r"```|`[^`\n]+`"),
}
UNITS: dict[str, Callable[[str], int]] = {
    "words": lambda text: len(text.split()),
    "sentences": lambda text: len(SENTENCE.findall(text)),
    "characters": len,
}

Outcome = tuple[float, str]  # what a rule pays, from 0 to 1, and what is wrong, empty where nothing is
Rule = Callable[[str], Outcome]
KEPT: Outcome = (1.0, "")


@dataclass(frozen=True)
class Breach:
    """A rule that a text does not keep, and how."""

    rule: str
    detail: str


@dataclass(frozen=True)
class Guide:
    """A guide that was read. rules: by name. weights: of the score. sha256: of what the file says."""

    name: str
    rules: dict[str, Rule]
    weights: dict[str, float]
    sha256: str

    def check(self, text: str) -> list[Breach]:
        """The rules that a text breaks, in the guide's order."""
        outcomes = ((name, rule(text)) for name, rule in self.rules.items())
        return [Breach(name, f"{name}: {detail}") for name, (_, detail) in outcomes if detail]

    def score(self, text: str) -> float:
        """Weighted mean of what the rules pay, 0 to 1."""
        total = sum(self.weights[name] for name in self.rules)
        return sum(self.weights[name] * rule(text)[0] for name, rule in self.rules.items()) / total


def load_guide(path: Path | str) -> Guide:
    """Reads a guide.

    Raises:
        Refused: no such file, an unknown key with the nearest one, or a value that its rule does not take; with its line.
    """
    given, lines = read_file(path)
    reader = _Reader(str(path), lines)
    reader.known((), given, ("name", "weights", *SECTIONS))
    rules = {name: SECTIONS[name](reader, name, given[name]) for name in SECTIONS if name in given}
    if not rules:
        raise Refused("the guide has no rule", where=str(path), expected=f"one of {', '.join(SECTIONS)}")
    weights = given.get("weights") or {}
    reader.known(("weights",), weights, tuple(rules))
    for name, weight in weights.items():
        if type(weight) not in (int, float) or weight <= 0:
            raise reader.wrong(("weights", name), "a number above 0", weight)
    named = str(given.get("name") or Path(path).stem)
    return Guide(named, rules, {name: float(weights.get(name, 1)) for name in rules}, sha256_json(given))


def taught(record: Record) -> str:
    """The answer that a row teaches: of pairs the chosen one, of a chat the last, and one that was called good. Else empty."""
    if isinstance(record, Text):
        return record.text
    if isinstance(record, Comparison):
        return record.chosen[0].content
    if isinstance(record, Unpaired):
        return record.completion[0].content if record.label else ""
    return record.messages[-1].content if isinstance(record, Demonstration) else ""


def audit(records: Iterable[Record], guide: Guide) -> dict:
    """How rows keep the guide.

    Returns:
        {"guide", "rows": looked at, "broken": rows with a breach, "rules": {name: count}, "findings": [{"where", "rule",
        "detail"}]}; for pairs also "rejected_better": rows whose rejected answer keeps it better than the chosen one.
    """
    looked, broken, counts, findings, contrary = 0, 0, Counter(), [], []
    for record in records:
        text = taught(record)
        found = guide.check(text) if text else []
        looked += bool(text)
        broken += bool(found)
        counts.update(breach.rule for breach in found)
        findings += [{"where": record.where, "rule": one.rule, "detail": one.detail} for one in found]
        if isinstance(record, Comparison) and guide.score(record.rejected[0].content) > guide.score(text):
            contrary.append(record.where)
    return {
        "guide": guide.name, "rows": looked, "broken": broken, "rules": {name: counts[name] for name in guide.rules},
        "findings": findings, "rejected_better": contrary,
    }


# ------------------------------------------------------------------------------------------------------------ sections


class _Reader:
    """Checks the values of a guide and knows their lines."""

    def __init__(self, path: str, lines: dict) -> None:
        self.path, self.lines = path, lines

    def where(self, keys: tuple) -> str:
        return f"{self.path}:{self.lines[keys]}" if keys in self.lines else self.path

    def known(self, keys: tuple, value: Any, names: tuple[str, ...]) -> None:
        """That a section is a mapping with none but these keys."""
        if not isinstance(value, dict):
            raise self.wrong(keys, f"a mapping with {', '.join(names)}", value)
        for key in value:
            if key not in names:
                close = get_close_matches(key, names, n=1)
                raise Refused(f"a style guide has no '{'.'.join((*keys, key))}' here", where=self.where((*keys, key)),
                              expected=f"{close[0]}?" if close else f"one of {', '.join(names)}")

    def words(self, section: str, key: str, value: dict) -> list[str]:
        found = value.get(key, [])
        if not isinstance(found, list) or not all(isinstance(word, str) and word.strip() for word in found):
            raise self.wrong((section, key), "a list of words", found)
        return found

    def count(self, section: str, key: str, value: dict) -> int | None:
        found = value.get(key)
        if found is not None and (type(found) is not int or found < 0):
            raise self.wrong((section, key), "a whole number, 0 or more", found)
        return found

    def switch(self, section: str, key: str, value: dict) -> bool:
        found = value.get(key, True)
        if type(found) is not bool:
            raise self.wrong((section, key), "true or false", found)
        return found

    def wrong(self, keys: tuple, expected: str, value: Any) -> Refused:
        return Refused(f"'{'.'.join(keys)}' cannot be {value!r}", where=self.where(keys), expected=expected)


def _whole(words: list[str]) -> re.Pattern:
    # no \b: a phrase may begin or end with a sign that is no word character
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, words)) + r")(?!\w)", re.IGNORECASE)


def _edge(reader: _Reader, section: str, value: Any) -> Rule:
    """greeting and closing: a phrase at the beginning or the end."""
    reader.known((section,), value, ("any_of",))
    phrases = reader.words(section, "any_of", value)
    if not phrases:
        raise reader.wrong((section, "any_of"), "one phrase or more", phrases)
    found = _whole(phrases)

    def greeting(text: str) -> Outcome:
        return KEPT if found.match(text.lstrip()) else (0.0, f"does not begin with {' or '.join(map(repr, phrases))}")

    def closing(text: str) -> Outcome:
        tail = text.rstrip().rstrip(".!,;")
        ends = any(match.end() == len(tail) for match in found.finditer(tail))
        return KEPT if ends else (0.0, f"does not end with {' or '.join(map(repr, phrases))}")

    return greeting if section == "greeting" else closing


def _length(reader: _Reader, section: str, value: Any) -> Rule:
    reader.known((section,), value, ("low", "high", "unit"))
    low, high = reader.count(section, "low", value) or 0, reader.count(section, "high", value)
    unit = value.get("unit", "words")
    if unit not in UNITS:
        raise reader.wrong((section, "unit"), f"one of {', '.join(UNITS)}", unit)
    if high is not None and (high < low or high == 0):
        raise reader.wrong((section, "high"), f"at least low ({low}) and above 0", high)

    def rule(text: str) -> Outcome:
        size = UNITS[unit](text.strip())
        if size < low:
            return size / low, f"{size} {unit}, fewer than {low}"
        if high is not None and size > high:
            return max(0.0, 1 - (size - high) / high), f"{size} {unit}, more than {high}"
        return KEPT

    return rule


def _use(reader: _Reader, section: str, value: Any) -> Rule:
    reader.known((section,), value, ("any_of", "all_of"))
    some, each = reader.words(section, "any_of", value), reader.words(section, "all_of", value)
    if not some and not each:
        raise reader.wrong((section,), "words in any_of or all_of", value)
    patterns = {word: _whole([word]) for word in (*some, *each)}

    def rule(text: str) -> Outcome:
        missing = [word for word in each if not patterns[word].search(text)]
        if missing:
            return 0.0, f"{', '.join(map(repr, missing))} not there"
        if some and not any(patterns[word].search(text) for word in some):
            return 0.0, f"none of {', '.join(map(repr, some))} is there"
        return KEPT

    return rule


def _avoid(reader: _Reader, section: str, value: Any) -> Rule:
    reader.known((section,), value, ("words", "patterns"))
    words, patterns = reader.words(section, "words", value), reader.words(section, "patterns", value)
    if not words and not patterns:
        raise reader.wrong((section,), "words or patterns", value)
    try:
        found = ([_whole(words)] if words else []) + [re.compile(pattern) for pattern in patterns]
    except re.error as error:
        raise reader.wrong((section, "patterns"), f"regular expressions ({error})", patterns) from error

    def rule(text: str) -> Outcome:
        said = [match.group(0) for one in found for match in one.finditer(text)]
        return (0.0, f"says {', '.join(map(repr, dict.fromkeys(said)))}") if said else KEPT

    return rule


def _tone(reader: _Reader, section: str, value: Any) -> Rule:
    reader.known((section,), value, ("exclamation_marks", "question_marks", "shouting", "emoji"))
    limits = {mark: reader.count(section, name, value) for mark, name in (("!", "exclamation_marks"), ("?", "question_marks"))}
    shouting, emoji = reader.switch(section, "shouting", value), reader.switch(section, "emoji", value)

    def rule(text: str) -> Outcome:
        for mark, limit in limits.items():
            if limit is not None and text.count(mark) > limit:
                return 0.0, f"{text.count(mark)} '{mark}', more than {limit}"
        loud = [] if shouting else [word for word in SHOUT.findall(text) if word.isupper()]
        if loud:
            return 0.0, f"{loud[0]!r} is shouted"
        return (0.0, "an emoji") if not emoji and EMOJI.search(text) else KEPT

    return rule


def _format(reader: _Reader, section: str, value: Any) -> Rule:
    reader.known((section,), value, tuple(FORMATS))
    unwanted = [name for name in FORMATS if not reader.switch(section, name, value)]

    def rule(text: str) -> Outcome:
        found = [name for name in unwanted if FORMATS[name].search(text)]
        return (0.0, f"uses {', '.join(found)}") if found else KEPT

    return rule


SECTIONS: dict[str, Callable[[_Reader, str, Any], Rule]] = {
    "greeting": _edge, "closing": _edge, "length": _length, "use": _use, "avoid": _avoid, "tone": _tone, "format": _format,
}
