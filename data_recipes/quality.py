"""What is plainly wrong with an answer, without a model: rules that say what they found, or nothing.

The thresholds are those of Gopher (arXiv:2112.11446, appendix A1.1) where it has one; its rules for whole web pages
(stop words, mean word length, bullet points) would drop sound short answers and are left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from data_recipes import near

# What models say of themselves; a person's own refusal reads differently.
BOILERPLATE = re.compile(
    r"\bas an? (?:ai|artificial intelligence)(?: language)?(?: model| assistant)?\b"
    r"|\bi am an? (?:ai|language) (?:model|assistant)\b|\bi(?:'m| am) (?:chatgpt|gpt-\d)\b"
    r"|\bmy (?:knowledge cutoff|training data)\b", re.IGNORECASE)
MOJIBAKE = re.compile(r"Ã[\x80-\xbf©¨¶¼¤Ÿ]|â€[™œ\x9d“”¢¦]|\ufffd")
PLACEHOLDER = re.compile(r"<no ?input>|\[(?:insert|your)[^\]\n]{0,40}\]|\blorem ipsum\b|\bTODO\b", re.IGNORECASE)
ENDINGS = tuple(".!?:;)]}\"'`*_”’»…。！？>|~")


def repetition(text: str) -> str:
    """Too large a part lies in one repeated line or one repeated run of words."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    repeated = sum(len(line) * (count - 1) for line, count in Counter(lines).items())
    if len(lines) > 3 and repeated > 0.2 * sum(map(len, lines)):
        return f"{repeated / sum(map(len, lines)):.0%} of the characters lie in repeated lines"
    words = near.words(text)
    for size, share in ((3, 0.18), (4, 0.16)):
        grams = Counter(zip(*(words[start:] for start in range(size)), strict=False))
        gram, count = next(iter(grams.most_common(1)), ((), 0))
        if count > 3 and count * size > share * len(words):
            return f"{' '.join(gram)!r} makes up {count * size / len(words):.0%} of the words"
    return ""


def boilerplate(text: str) -> str:
    """The answer speaks of itself as a model."""
    return _found(BOILERPLATE, text)


def encoding(text: str) -> str:
    """Characters read in the wrong encoding, or lost."""
    return _found(MOJIBAKE, text)


def placeholder(text: str) -> str:
    """A place to fill in was left."""
    return _found(PLACEHOLDER, text)


def symbols(text: str) -> str:
    """Fewer letters than other signs, spaces and digits apart, where there is enough text to tell."""
    letters = sum(char.isalpha() for char in text)
    others = sum(not char.isalnum() and not char.isspace() for char in text)
    return f"{others} signs and {letters} letters" if len(text) > 40 and others > letters else ""


def unfinished(text: str) -> str:
    """A long text that stops in mid-sentence."""
    last = text.rstrip()[-1:]
    return f"ends in {text.rstrip()[-20:]!r}" if len(text) > 200 and last.isalpha() and last.islower() else ""


def _found(pattern: re.Pattern, text: str) -> str:
    match = pattern.search(text)
    return repr(match.group()) if match else ""


RULES: dict[str, Callable[[str], str]] = {
    rule.__name__: rule for rule in (repetition, boilerplate, encoding, placeholder, symbols, unfinished)
}
