"""Word lists: read from small files, ours or the user's, and counted as whole words in any case."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from data_recipes.errors import Refused

OURS = Path(__file__).parent / "words"
NAMES = ("angry", "sad", "toxic", "refusal")  # lists that a user may replace; refusals are ours by pattern
UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")  # scripts whose words have no spaces around them


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
    """One pattern for all words of a list, the longest first; in scripts without spaces they may stand within a run."""
    longest_first = sorted(listed, key=lambda word: (-len(word), word))
    within = [re.escape(word) for word in longest_first if UNSPACED.search(word)]
    whole = "|".join(re.escape(word) for word in longest_first if not UNSPACED.search(word))
    return re.compile("|".join([*([rf"(?<!\w)(?:{whole})(?!\w)"] if whole else []), *within]), re.IGNORECASE)


def chosen(given: Iterable[str]) -> dict[str, frozenset[str]]:
    """Lists by name from `NAME=FILE`, such as "toxic=words.txt".

    Raises:
        Refused: another form, a name that is not one of NAMES (with the nearest), or a file that cannot be read.
    """
    found = {}
    for text in given:
        name, _, path = text.partition("=")
        if name not in NAMES or not path:
            near = get_close_matches(name, NAMES, n=1)
            raise Refused(f"'{text}' names no word list", where="--words",
                          expected=f"NAME=FILE, NAME one of {', '.join(NAMES)}",
                          do=f"Did you mean {near[0]}={path or 'FILE'}?" if near else "")
        found[name] = words(Path(path).expanduser())
    return found


def ours(name: str) -> frozenset[str]:
    """One of the lists that come with the package: angry, sad, toxic."""
    return words(OURS / f"{name}.txt")


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"the word list cannot be read: {error}", where=path, expected="a UTF-8 text file") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
