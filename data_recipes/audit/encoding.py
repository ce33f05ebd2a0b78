"""Texts that were read in the wrong encoding, cut within a character, or hold what no text holds."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from data_recipes.audit.counts import mending, refusals
from data_recipes.audit.excerpts import place
from data_recipes.audit.model import Context, Finding, Row, counted
from data_recipes.audit.registry import check

REPLACEMENT = re.compile("\ufffd")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufff0-\ufffb\ufffe\uffff]")
LONE = re.compile("[\ud800-\udfff]")
# The characters that the bytes 80 to BF become in Windows-1252 and Latin-1.
TRAIL = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
# UTF-8 read as Windows-1252: Latin letters are two bytes, punctuation three, emoji four; Cyrillic and Han come in rows.
MOJIBAKE = re.compile(f"[ÂÃ][\x80-\xbf€ƒ†‡ˆ‰Š‹ŒŽ•˜™š›œžŸ]|â(?:€|\x80)[{TRAIL}]|â[„†‡ˆ‰–—][{TRAIL}]|ð[Ÿ\x9f][{TRAIL}]{{2}}"
                      f"|(?:[ÐÑ][{TRAIL}]){{3,}}|(?:[ãäåæçèé][{TRAIL}]{{2}}){{2,}}|ï¿½|ï»¿")
ENTITY = re.compile(r"&amp;(?:amp|lt|gt|quot|nbsp|#\d{2,5});")
FAULTS = (
    (REPLACEMENT, "a replacement character"), (LONE, "half a character"), (MOJIBAKE, "UTF-8 read as Windows-1252"),
    (CONTROL, "a control character"), (ENTITY, "an HTML entity escaped twice"),
)


@check("encoding", "Damaged characters", "Answers", mend="filter: {quality: [encoding]}",
       why="Tokens of broken characters are rare tokens: the model learns to write them.")
def encoding(rows: Sequence[Row], context: Context) -> Finding:
    """Replacement and control characters, half characters, mojibake, doubly escaped entities; and unreadable bytes."""
    found = [one for row in rows for one in _faults(row)]
    places = refusals(context, "encoding") + found
    return counted("encoding", "Damaged characters", "Characters that were broken on the way: wrong encodings, cut bytes, "
                   "controls.", places, len(rows) + len(places) - len(found),
                   mend=mending(rows, context, "encoding", "filter: {quality: [encoding]}"))


def fault(text: str) -> tuple[str, int, int] | None:
    """What is broken in a text and where, or None."""
    for pattern, name in FAULTS:
        if not text.isascii() or pattern in (CONTROL, ENTITY):
            if match := pattern.search(text):
                return name, *match.span()
    return None


def _faults(row: Row) -> Iterator:
    for name, text in row.texts:
        if found := fault(text):
            yield place(row, found[0], name, *found[1:])
