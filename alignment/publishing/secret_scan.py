"""Looking for secrets in files that are about to be published. Light: no library is imported.

A find names the file and what kind of secret it is; the secret itself is never printed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_recipes.token_patterns import TOKEN_PATTERNS

NAMES = re.compile(r"TOKEN(?!IZ)|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)  # TOKENIZER=name/of/one is none
SHORTEST = 8  # shorter values (`true`, `1`) stand in every file
# A vocabulary holds most words, so that a weak password would be found in each: only long values count there.
VOCABULARY = re.compile(r"tokenizer\.json|vocab.*|merges\.txt|.*\.model")
SHORTEST_IN_VOCABULARY = 16
PATTERNS = {what: re.compile(pattern.encode("ascii")) for what, pattern in TOKEN_PATTERNS.items()}


@dataclass(frozen=True)
class Find:
    """A secret in a file: where, and what it is without saying it."""

    file: str
    what: str


def scan(folder: Path, environ: Mapping[str, str]) -> list[Find]:
    """Every secret in the files below `folder`: values of the environment's secret names, and common token patterns.

    Of a safetensors file only the header is read; the rest is numbers.
    """
    values = {name: value.encode() for name, value in environ.items() if NAMES.search(name) and len(value) >= SHORTEST}
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        shortest = SHORTEST_IN_VOCABULARY if VOCABULARY.fullmatch(file.name) else SHORTEST
        sought = {name: value for name, value in values.items() if len(value) >= shortest}
        found += [Find(str(file.relative_to(folder)), what) for what in find_in(readable(file), sought)]
    return found


def find_in(data: bytes, values: Mapping[str, bytes]) -> list[str]:
    """What secrets `data` holds, described."""
    named = [f"the value of the environment variable {name}" for name, value in sorted(values.items()) if value in data]
    return named + [what for what, pattern in PATTERNS.items() if pattern.search(data)]


def readable(file: Path) -> bytes:
    """The part of a file that can hold words: all of it, or a safetensors file's JSON header."""
    with open(file, "rb") as opened:
        if file.suffix != ".safetensors":
            return opened.read()
        (length,) = struct.unpack("<Q", opened.read(8))
        return opened.read(length)
