"""The steps of recipes, each a function whose keyword parameters are its settings.

A row step is given the build and its settings and returns what is done to one row: the row itself (kept as it is), a
changed one, or a `Drop`. A set step is given the rows as a whole and returns a `Selection`. To add one: write the
function in a file here, add one line to `STEPS`, one row to the table in tests/data_recipes/building/test_steps.py, and one
line to docs/data-recipes.md.
"""

from __future__ import annotations

from data_recipes.building.steps.base import Step

STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step("normalise", "edit", "normalise:normalise"),
        Step("filter", "drop", "filter:filter_rows"),
        Step("style", "drop", "style:style"),
        Step("redact", "edit", "redact:redact"),
        Step("decontaminate", "drop", "decontaminate:decontaminate"),
        Step("dedup", "set", "dedup:dedup"),
        Step("near_dedup", "set", "near_dedup:near_dedup"),
        Step("cap", "set", "cap:cap"),
        Step("balance", "set", "balance:balance"),
        Step("mix", "set", "mix:mix"),
        Step("shuffle", "set", "shuffle:shuffle"),
        Step("split", "set", "split:split"),
    )
}
