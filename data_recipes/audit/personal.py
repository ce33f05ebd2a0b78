"""Personal data in rows, each piece masked."""

from __future__ import annotations

from collections.abc import Sequence

from data_recipes.audit.excerpts import place
from data_recipes.audit.model import PROBLEM, Context, Figure, Finding, Row, counted
from data_recipes.audit.registry import any_rows, check
from data_recipes.intervals import wilson
from data_recipes.personal_data import KINDS, find

NAMES = {"mail": "mail address", "phone": "phone number", "card": "card number", "iban": "bank account (IBAN)",
         "key": "key or token"}


@check("personal-data", "Personal data and secrets", "Answers", needs=any_rows, mend="redact",
       why="A model recites rare strings word for word, to whoever asks; a leaked key works for strangers.")
def personal_data(rows: Sequence[Row], context: Context) -> Finding:
    """Mail addresses, phone numbers, cards, IBANs, keys and tokens in any text of a row."""
    found = [(row, name, span) for row in rows for name, text in row.texts for span in find(text)]
    places = [place(row, NAMES[span.kind], name, span.start, span.end) for row, name, span in found]
    rows_of = {kind: len({row.where for row, _, span in found if span.kind == kind}) for kind in KINDS}
    figures = tuple(Figure(f"rows with a {NAMES[kind]}", wilson(count, len(rows))) for kind, count in rows_of.items() if count)
    said = ", ".join(f"{NAMES[kind]} in {count:,}" for kind, count in rows_of.items() if count)
    return counted("personal-data", "Personal data and secrets", f"Rows with {said}." if said else "None was found.", places,
                   len(rows), level=PROBLEM, figures=figures)
