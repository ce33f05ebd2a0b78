"""CoNLL files: a word a line with its tag at the end, an empty line between sentences.

The layout of the CoNLL-2003 shared task (Tjong Kim Sang and De Meulder 2003): columns parted by blanks or tabs, the word in
the first, its tag in the last; lines with -DOCSTART- begin a document and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from data_recipes.records import BadRow

BEGIN = "-DOCSTART-"


def iter_conll(file: BinaryIO, path: Path, notes: list[str]) -> Iterator[tuple[str, dict | BadRow]]:
    """Sentences as ("file:first line", {"tokens", "tags"} or BadRow), one at a time."""
    block: list[str | BadRow] = []
    start, documents = 1, 0
    for number, line in enumerate(file, 1):
        text = _decoded(line, number)
        if isinstance(text, str) and text.startswith(BEGIN):
            documents += 1
            text = ""
        if isinstance(text, BadRow) or text.strip():
            start = start if block else number
            block.append(text)
        elif block:
            yield f"{path}:{start}", _sentence(block)
            block = []
    if block:
        yield f"{path}:{start}", _sentence(block)
    if documents:
        notes.append(f"{path}: {documents} lines {BEGIN}, left out")


def _decoded(line: bytes, number: int) -> str | BadRow:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return BadRow("bad-encoding", f"byte 0x{line[error.start]:02x} of line {number} is not UTF-8")


def _sentence(block: list[str | BadRow]) -> dict | BadRow:
    words, tags = [], []
    for line in block:
        if isinstance(line, BadRow):
            return line
        columns = line.split("\t") if "\t" in line else line.split()
        if len(columns) < 2:
            return BadRow("wrong-columns", f"the line {line[:40]!r} has no tag after its word", "\n".join(map(str, block)))
        words.append(columns[0].strip())
        tags.append(columns[-1].strip())
    return {"tokens": words, "tags": tags}
