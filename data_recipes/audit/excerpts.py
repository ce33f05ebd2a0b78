"""Pieces of rows for people to read: short, on one line, personal data masked, nothing in them that steers a screen."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from data_recipes.audit.model import Place, Row
from data_recipes.personal_data import Span, find, masked

AROUND, LONGEST = 56, 200  # characters shown on both sides of a match, and of a match itself
WIDE = 200  # characters on both sides that are searched for personal data, so that none is cut in half and missed
BLANKS = re.compile(r"[ \t\r\n\xa0]+")


def excerpt(text: str, start: int = 0, end: int = 0) -> str:
    """The characters around text[start:end], which stands between « and »; masked; an ellipsis where something is left out."""
    end = min(max(start, end), start + LONGEST)
    low, high = max(0, start - AROUND), min(len(text), end + AROUND * (1 if start else 2))
    left = max(0, low - WIDE)
    wide = text[left:high + WIDE]
    spans = find(wide)
    low, high = (_outside(edge - left, spans, side) for edge, side in ((low, "start"), (high, "end")))
    shown = visible("".join(_pieces(wide, spans, low, high, (start - left, end - left))))
    return f"{'…' if left + low > 0 else ''}{shown}{'…' if left + high < len(text) else ''}"


def visible(text: str) -> str:
    """The text on one line; control, direction, private and lone surrogate characters as their numbers."""
    return "".join(map(_sign, BLANKS.sub(" ", text))).strip()


def place(row: Row, note: str, part: str = "", start: int = 0, end: int = 0) -> Place:
    """A place in a row with the excerpt of one of its texts. part: as `Row.texts` names it, or the first one."""
    texts = dict(row.texts)
    text = texts.get(part, next(iter(texts.values()), ""))
    return Place(row.where, f"{note}, in {part}" if part else note, excerpt(text, start, end))


def distinct(places: Iterable[Place]) -> list[Place]:
    """Places in their order, those that say the same once."""
    return list(dict.fromkeys(places))


def _pieces(text: str, spans: list[Span], low: int, high: int, marked: tuple[int, int]) -> Iterator[str]:
    """text[low:high] with spans masked and « » around the marked piece, which gives way where it would cut a span in two."""
    start, end = (_outside(edge, spans, side) for edge, side in zip(marked, ("start", "end"), strict=True))
    marks = ("«", "»") if end > start else ("", "")
    for piece_start, piece_end, after in ((low, start, marks[0]), (start, end, marks[1]), (end, high, "")):
        inside = [Span(span.start - piece_start, span.end - piece_start, span.kind) for span in spans
                  if piece_start <= span.start and span.end <= piece_end]
        yield masked(text[piece_start:piece_end], inside) + after


def _outside(edge: int, spans: list, side: str) -> int:
    """An edge moved out of the personal data that it would cut."""
    return next((getattr(span, side) for span in spans if span.start < edge < span.end), max(0, edge))


def _sign(sign: str) -> str:
    return f"⟨U+{ord(sign):04X}⟩" if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn") else sign
