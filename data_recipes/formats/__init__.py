"""The formats of rows: told apart by the keys of many rows, never by the first one, and converted to records.

To add one: write `fits` (which rows look like it) and `convert` (a `Fields` to a record) in the module of its family, and
put a `Format` into that module's table. One row may give several records (`parts`), several rows one (`gather`).
"""

from __future__ import annotations

from data_recipes.formats.base import KINDS, RANKED, Fields, Format, Gathered, Part, PassedOver
from data_recipes.formats.table import (
    FORMATS, by_name, convert, detect, detect_kind, fitting, gathered, names, no_format, own_kinds,
)

__all__ = [
    "FORMATS", "KINDS", "RANKED", "Fields", "Format", "Gathered", "Part", "PassedOver", "by_name", "convert", "detect",
    "detect_kind", "fitting", "gathered", "names", "no_format", "own_kinds",
]
