"""Which language a text is in, or that nobody can tell: few letters, code, sums, names."""

from __future__ import annotations

import re
from functools import lru_cache

CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|https?://\S+", re.DOTALL)
ENOUGH_LETTERS = 20  # py3langid is wrong on "hello" and right on sentences
CERTAIN = 0.7
MOST = 1200  # characters that are looked at; more changes nothing but the time


def language(text: str) -> str:
    """The two-letter code of a text's language, "" where it cannot be told. Code in back quotes and links are left out."""
    said = CODE.sub(" ", text[:4 * MOST])[:MOST]
    if sum(char.isalpha() for char in said) < ENOUGH_LETTERS:
        return ""
    found, confidence = _identifier().classify(said)
    return found if confidence >= CERTAIN else ""


def known() -> list[str]:
    """The codes that `language` may give."""
    return sorted(_identifier().labels)


@lru_cache(maxsize=1)
def _identifier():
    # the package's own ready-made one has no probabilities, so it could never abstain
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
