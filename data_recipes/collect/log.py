"""Whether a write-ahead log was read to its end: SQLite stops at the first entry whose checksum is wrong, and says nothing.

The format: https://www.sqlite.org/fileformat2.html, section 4. A process that is killed leaves at most an unfinished last
entry; a commit that stands behind a wrong entry is damage.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

HEADER, ENTRY = 32, 24  # bytes before the entries, and before each entry's page
LITTLE, BIG = 0x377F0682, 0x377F0683  # how the words of a checksum are read


def entries_behind_damage(path: Path) -> int:
    """How many entries up to the last commit SQLite will not take; 0 for a log that is whole, or not there.

    A log whose beginning is damaged counts as a whole: all of its entries, however old.
    """
    data = path.read_bytes() if path.is_file() else b""
    if not data:
        return 0
    magic, _, size = struct.unpack(">3I", data[:12].ljust(12, b"\0"))
    if magic not in (LITTLE, BIG) or len(data) < HEADER or not 512 <= size <= 65536:
        return max(1, len(data) // 4096)
    order = "<" if magic == LITTLE else ">"
    sums = _checksum(data[:24], (0, 0), order)
    if sums != struct.unpack(">2I", data[24:HEADER]):
        return (len(data) - HEADER) // (ENTRY + size)
    good = sum(1 for _ in _chain(data, size, sums, order))
    last = max((number for number, commit in _own(data, size) if commit), default=0)
    return max(0, last - good)


def _own(data: bytes, size: int) -> Iterator[tuple[int, bool]]:
    """The number, from 1, of each entry of this log, and whether it ends a commit; others are left from an earlier one."""
    for number, start in enumerate(range(HEADER, len(data) - ENTRY - size + 1, ENTRY + size), 1):
        if data[start + 8:start + 16] == data[16:24]:
            yield number, data[start + 4:start + 8] != b"\0\0\0\0"


def _chain(data: bytes, size: int, sums: tuple[int, int], order: str) -> Iterator[int]:
    """The entries from the first on whose checksums follow from each other."""
    for start in range(HEADER, len(data) - ENTRY - size + 1, ENTRY + size):
        page = start + ENTRY
        sums = _checksum(data[page:page + size], _checksum(data[start:start + 8], sums, order), order)
        if data[start + 8:start + 16] != data[16:24] or sums != struct.unpack(">2I", data[start + 16:page]):
            return
        yield start


def _checksum(data: bytes, sums: tuple[int, int], order: str) -> tuple[int, int]:
    """The running checksum of the format's section 4.2, over words of 32 bits in this order."""
    one, two = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
