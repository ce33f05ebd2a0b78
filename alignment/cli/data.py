"""`align data`: what looks at rows, converts, checks, builds and splits them. A further command is one line in the table."""

from __future__ import annotations

import click

from alignment.cli.commands import SETTINGS, Entry, LazyGroup

LOOK, MAKE = "Look", "Make"
ENTRIES: dict[str, Entry] = {
    "show": Entry("alignment.cli.data_show", "show_command", LOOK, "Show rows as they are trained on."),
    "audit": Entry("alignment.cli.data_audit", "audit_command", LOOK, "Say what is wrong with rows, before training."),
    "convert": Entry("alignment.cli.data_convert", "convert_command", MAKE, "Write rows of any format in one."),
    "build": Entry("alignment.cli.data_build", "build_command", MAKE, "Build data sets by a recipe."),
    "trace": Entry("alignment.cli.data_build", "trace_command", LOOK, "Tell what became of a row of a recipe."),
    "augment": Entry("alignment.cli.data_augment", "augment_command", MAKE, "Make rows with a generator."),
    "split": Entry("alignment.cli.data_split", "split_command", MAKE, "Train, validation and test, parted by prompt."),
}
EXAMPLE = """
align data show support.jsonl --model Qwen/Qwen3-0.6B --row 3
align data convert alpaca.json --to messages --output support.jsonl
align data split support.jsonl --validation 0.05 --output data/support
"""


@click.group("data", cls=LazyGroup, entries=ENTRIES, example=EXAMPLE, context_settings=SETTINGS)
def data_group() -> None:
    """Look at rows as they are trained on; convert, check, build and split the files they are in."""
