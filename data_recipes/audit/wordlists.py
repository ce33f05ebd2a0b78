"""Word lists: read from small files, ours or the user's, and counted as whole words in any case."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from data_recipes.errors import Refused

OURS = Path(__file__).parent / "words"


@lru_cache(maxsize=64)
def words(path: Path) -> frozenset[str]:
    """A list of one word or phrase a line; lines that begin with # are remarks.

    Raises:
        Refused: no such file, or nothing in it.
    """
    found = frozenset(line.casefold() for line in _lines(path))
    if not found:
        raise Refused("the word list is empty", where=path, expected="one word or phrase a line")
    return found


def groups(path: Path = OURS / "groups.txt") -> dict[str, frozenset[str]]:
    """Words by group, from lines such as `women: woman, women, girl`.

    Raises:
        Refused: no such file, a line of another form, or a group named twice.
    """
    found: dict[str, frozenset[str]] = {}
    for line in _lines(path):
        name, colon, listed = (part.strip() for part in line.partition(":"))
        held = frozenset(word.strip().casefold() for word in listed.split(",") if word.strip())
        if not colon or not name or not held or name in found:
            raise Refused(f"this line names no group: {line[:60]!r}", where=path,
                          expected="`group: word, word`, each group once")
        found[name] = held
    if not found:
        raise Refused("the list of groups is empty", where=path, expected="`group: word, word` on each line")
    return found


@lru_cache(maxsize=256)
def pattern(listed: frozenset[str]) -> re.Pattern:
    """One pattern for all words of a list, the longest first."""
    options = "|".join(re.escape(word) for word in sorted(listed, key=lambda word: (-len(word), word)))
    return re.compile(rf"(?<!\w)(?:{options})(?!\w)", re.IGNORECASE)


def ours(name: str) -> frozenset[str]:
    """One of the lists that come with the package: angry, sad, toxic."""
    return words(OURS / f"{name}.txt")


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"the word list cannot be read: {error}", where=path, expected="a UTF-8 text file") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
