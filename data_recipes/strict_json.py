"""JSON read strictly: a repeated key, NaN, an endless number or a bottomless nesting is a fault, and never a crash.

The standard decoder keeps the last of two equal keys, takes NaN for a number and raises three kinds of error for
three kinds of nonsense; here the faults of a value are collected while it is read, so that a list's other elements
stay readable.
"""

from __future__ import annotations

import json
import math
from typing import Any

from data_recipes.records import BadRow

MAX_DEPTH = 100  # nested deeper, Python's own recursion limit would decide, which differs by version and caller
MAX_DIGITS = 4300  # Python's limit for turning text into a whole number


class StrictDecoder:
    """Decodes JSON and remembers the first fault that a plain decoder would have let pass."""

    def __init__(self) -> None:
        self._fault: tuple[str, str] | None = None
        self._json = json.JSONDecoder(
            object_pairs_hook=self._object, parse_constant=self._constant, parse_float=self._float, parse_int=self._int
        )

    def decode(self, text: str, start: int = 0) -> tuple[Any, int]:
        """The value that begins at `start`, and where it ends.

        Raises:
            BadRow: bad-json where there is no value or it nests too deeply. Other faults are asked by `fault`.
        """
        self._fault = None
        try:
            return self._json.raw_decode(text, start)
        except RecursionError as error:
            raise BadRow("bad-json", "nested too deeply") from error
        except json.JSONDecodeError as error:
            raise BadRow("bad-json", f"{error.msg} at character {error.pos - start + 1}") from error

    def fault(self) -> BadRow | None:
        """What was wrong with the value read last, though it was JSON in form."""
        return BadRow(*self._fault) if self._fault else None

    def _blame(self, reason: str, detail: str) -> None:
        self._fault = self._fault or (reason, detail)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict:
        made = dict(pairs)
        if len(made) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            self._blame("duplicate-key", f"the key {twice!r} stands twice in one object")
        return made

    def _constant(self, name: str) -> None:
        self._blame("not-finite", f"{name} is not JSON")

    def _float(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            self._blame("not-finite", f"{text[:20]} is beyond what a number can hold")
        return value

    def _int(self, text: str) -> int:
        if len(text) > MAX_DIGITS:
            self._blame("bad-json", f"a whole number of {len(text)} digits")
            return 0
        return int(text)


def decode_object(decoder: StrictDecoder, text: str) -> dict:
    """The one object that a line holds.

    Raises:
        BadRow: bad-json, duplicate-key, not-finite, or wrong-type where the line holds something else.
    """
    start = len(text) - len(text.lstrip(" \t\r\n"))
    value, end = decoder.decode(text, start)
    if rest := text[end:].strip(" \t\r\n"):
        raise BadRow("bad-json", f"more text after the end of the value, at character {end + 1}: {rest[:20]!r}")
    if fault := decoder.fault():
        raise fault
    if not isinstance(value, dict):
        raise BadRow("wrong-type", "a row must be an object {...}")
    return value


def loads(text: str) -> Any:
    """A value written as JSON text inside a row, read as strictly. Raises BadRow."""
    decoder = StrictDecoder()
    stripped = text.strip()
    value, end = decoder.decode(stripped)
    if end != len(stripped):
        raise BadRow("bad-json", f"more text after the end of the value, at character {end + 1}")
    if fault := decoder.fault():
        raise fault
    return value


def check_values(row: dict) -> None:
    """What no format may hold, wherever it stands in the row: broken characters, NUL, numbers that are none.

    Raises:
        BadRow: bad-encoding, not-finite, or bad-json for a nesting deeper than `MAX_DEPTH`.
    """
    level: list[Any] = [row]
    for _ in range(MAX_DEPTH):
        level = _below(level)
        if not level:
            return
    raise BadRow("bad-json", f"nested more than {MAX_DEPTH} deep")


def _below(level: list) -> list:
    """Checks a level's texts and numbers, and gives the containers one level further down."""
    deeper = []
    for container in level:
        for value in _children(container):
            kind = type(value)
            if kind is str:
                if not value.isascii() or "\0" in value:
                    _check_characters(value)
            elif kind is dict or kind is list:
                deeper.append(value)
            elif kind is float and not math.isfinite(value):
                raise BadRow("not-finite", f"the row holds {value}, which is no number")
    return deeper


def _children(container: dict | list) -> list:
    return [*container, *container.values()] if type(container) is dict else container


def _check_characters(text: str) -> None:
    if "\0" in text:
        raise BadRow("bad-encoding", "a NUL character stands in the text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        # a reader that may not stop at a bad byte carries it as U+DC80..U+DCFF (surrogateescape)
        byte = 0xDC80 <= code <= 0xDCFF
        word = f"byte 0x{code - 0xDC00:02x} is not UTF-8" if byte else f"lone surrogate U+{code:04X}"
        raise BadRow("bad-encoding", f"{word}, after {text[max(0, error.start - 20):error.start]!r}") from error
