"""One spelling for the same text: Unicode's composed form, line feeds, no invisible characters, no trailing spaces."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Literal

from data_recipes.building import rows
from data_recipes.building.steps.base import Drop, Judge

# Controls but tab and line feed; soft hyphen, zero-width space, word joiner, byte order mark. Zero-width joiners stay:
# emoji and several scripts need them.
INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2060\ufeff]")
LINE_END = re.compile(r"\r\n?|\u2028|\u2029|\x0b|\x0c|\x85")
ODD_SPACE = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
TRAILING = re.compile(r"[ \t]+(?=\n|\Z)")
BLANK_LINES = re.compile(r"\n{3,}")


def normalise(*, unicode: Literal["NFC", "NFKC", "none"] = "NFC", spaces: bool = True, blank_lines: bool = True) -> Judge:
    """Levels each text of a row; a message left without text drops the row.

    Args:
        unicode: the form of Unicode. NFKC also turns ligatures and full-width letters into plain ones.
        spaces: odd spaces become plain ones, spaces at the ends of lines and texts go.
        blank_lines: more than one blank line becomes one.
    """
    change = _change(unicode, spaces, blank_lines)

    def judge(row: dict) -> dict | Drop:
        new = rows.changed(row, change)
        before, after = (sum(1 for _ in rows.places(one)) for one in (row, new))
        return new if before == after else Drop("empty-text", "nothing is left of a text")

    return judge


def _change(unicode: str, spaces: bool, blank_lines: bool) -> Callable[[str], str]:
    def change(text: str) -> str:
        text = INVISIBLE.sub("", LINE_END.sub("\n", text))
        if unicode != "none":
            text = unicodedata.normalize(unicode, text)
        if spaces:
            text = TRAILING.sub("", ODD_SPACE.sub(" ", text)).strip("\n ")
        return BLANK_LINES.sub("\n\n", text) if blank_lines else text

    return change
