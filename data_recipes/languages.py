"""Which language a text is in, or that nobody can tell: few letters, code, sums, names have none.

py3langid knows 97 languages and has its model inside the package; nothing is fetched.
"""

from __future__ import annotations

import re
from functools import lru_cache

LETTERS, SURE = 40, 0.98  # fewer letters, or a lower probability, and nothing is said: "hello" would be any language
CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|<[^<>\n]{1,80}>", re.DOTALL)
NO_LANGUAGE = "zxx"  # ISO 639's code for what is none: hashes, tables, sequences
LETTER = re.compile(r"[^\W\d_]")
DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
LOOKED_AT, ENOUGH = 4000, 1200  # characters of the text, and of its prose; more prose changes nothing but the time


@lru_cache(maxsize=1 << 12)
def language(text: str) -> str:
    """The language as an ISO 639-1 code, or "" where it cannot be told."""
    prose = CODE.sub(" ", text[:LOOKED_AT])[:ENOUGH]
    # a sign of a script without spaces says as much as three letters
    if len(LETTER.findall(prose)) + 2 * len(DENSE.findall(prose)) < LETTERS:
        return ""
    found, probability = _identifier().classify(prose)
    return found if probability >= SURE and found != NO_LANGUAGE else ""


def known() -> list[str]:
    """The codes that `language` may give."""
    return sorted(_identifier().labels)


@lru_cache(maxsize=1)
def _identifier():
    # the package's own ready-made one has no probabilities, so it could never abstain
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
