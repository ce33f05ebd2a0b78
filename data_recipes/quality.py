"""What is plainly wrong with an answer, without a model: rules that say what they found, or nothing.

They are the audit's own, so that what it reports is what `filter: {quality: [...]}` takes out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from data_recipes.audit import answers, encoding

INSERT = re.compile(r"\[(?:insert|your)\b[^\]\n]{0,40}\]|\blorem ipsum\b", re.IGNORECASE)


def repetition(text: str) -> str:
    """A phrase repeated without end, or most lines more than once."""
    return answers.loop(text)


def refusal(text: str) -> str:
    """A stock refusal or a model's word about itself near the start."""
    return _found(answers.REFUSAL, text[:answers.OPENING])


def damage(text: str) -> str:
    """Characters read in the wrong encoding, lost, or invisible."""
    fault = encoding.fault(text)
    return fault[0] if fault else ""


def degenerate(text: str) -> str:
    """Nothing but a placeholder, or no letter and no digit."""
    if answers.PLACEHOLDER.fullmatch(text.strip()):
        return f"a placeholder: {text.strip()[:40]!r}"
    return "" if any(sign.isalnum() or ord(sign) > 0x2190 for sign in text) else "no letter and no digit"


def placeholder(text: str) -> str:
    """A place that somebody was to fill in."""
    return _found(INSERT, text)


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
    "repetition": repetition, "refusal": refusal, "encoding": damage, "degenerate": degenerate, "placeholder": placeholder,
    "symbols": symbols, "unfinished": unfinished,
}
