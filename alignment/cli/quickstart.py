"""`align quickstart`: the whole chain on the offline toy world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options


@command("quickstart", example="""
align quickstart
align quickstart --output /tmp/quickstart --seed 3
""")
@click.option("--output", default="quickstart", metavar="DIR", help="Folder for data, runs and report. [quickstart]")
@click.option("--seed", default=0, type=click.IntRange(0, 2**32 - 1), metavar="N", help="Of data and training. [0]")
@output_options
def quickstart_command(output: str, seed: int, as_json: bool) -> dict[str, Any]:
    """Run the whole chain offline: sft, reward, dpo, eval and report.

    A small support desk in which a right answer can be checked by a program. Needs no network and no GPU, takes minutes on
    two cores, shows each command it runs, and ends with a table of figures with intervals.
    """
    from alignment.quickstart import quickstart

    return quickstart(Path(output), seed=seed, ui=make_ui(as_json))
