"""Personal data and secrets are replaced by their kind in brackets: [mail], [phone], [card], [iban], [key]."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from data_recipes import personal_data
from data_recipes.building import rows
from data_recipes.building.steps.base import Changed, Drop, Judge

Kind = Literal[personal_data.KINDS]


def redact(
    *, kinds: list[Kind] = list(personal_data.KINDS), regions: list[str] = list(personal_data.REGIONS),  # noqa: B006, B008
    drop: bool = False,
) -> Judge:
    """Replaces what `data_recipes.personal_data` finds in any text of a row.

    Args:
        kinds: what is looked for. regions: countries whose national phone numbers are looked for.
        drop: the row goes, in place of being changed.
    """
    def judge(row: dict) -> dict | Changed | Drop:
        found: Counter = Counter()

        def change(text: str) -> str:
            spans = [span for span in personal_data.find(text, regions) if span.kind in kinds]
            found.update(span.kind for span in spans)
            return personal_data.redacted(text, spans)

        new = rows.changed(row, change)
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
        if not found:
            return row
        return Drop("personal-data", said) if drop else Changed(new, said)

    return judge
