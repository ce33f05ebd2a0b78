"""From records, which readers give, to the rows that recipes work on."""

from __future__ import annotations

from dataclasses import replace

from data_recipes import layouts
from data_recipes.building import rows
from data_recipes.records import Comparison, Demonstration, Labelled, Prompt, Record, Text, Unpaired

KIND_OF = {"demonstrations": (Text, Demonstration), "comparisons": Comparison, "prompts": Prompt, "unpaired": Unpaired,
           "labelled": Labelled}
# What a reader would take for the row itself, or the build writes: a source's own column of that name is left out.
RESERVED = frozenset(
    (*rows.CHATS, *rows.TEXTS, "label", "labels", "margin", "tools", "conversations", "instruction", "output", "origin")
)


def from_record(record: Record) -> tuple[dict, set[str]]:
    """A record as a row of its kind's canonical layout, and the columns left out for their reserved names."""
    left = RESERVED & record.extra.keys()
    if left:
        record = replace(record, extra={key: value for key, value in record.extra.items() if key not in left})
    kind = next(kind for kind, types in KIND_OF.items() if isinstance(record, types))
    return layouts.to_row(record, layouts.canonical(kind, "text" if isinstance(record, Text) else "")), left
