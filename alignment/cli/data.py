"""`align data`: what looks at rows, converts, checks, builds and splits them. A further command is one line in the table."""

from __future__ import annotations

import click

from alignment.cli.commands import SETTINGS, Entry, LazyGroup

LOOK, MAKE = "Look", "Make"
ENTRIES: dict[str, Entry] = {
    "show": Entry("alignment.cli.data_show", "show_command", LOOK, "Show rows as they are trained on."),
    "convert": Entry("alignment.cli.data_convert", "convert_command", MAKE, "Write rows of any format in one."),
}
EXAMPLE = """
align data show support.jsonl --model Qwen/Qwen3-0.6B --row 3
"""


@click.group("data", cls=LazyGroup, entries=ENTRIES, example=EXAMPLE, context_settings=SETTINGS)
def data_group() -> None:
    """Show rows as they are trained on."""
