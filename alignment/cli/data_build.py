"""`align data build` and `align data trace`: a recipe to files with a ledger, and one row's story out of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options


@command(
    "build",
    example="""
align data build configs/recipes/support.yaml --output data/support
align data build configs/recipes/support.yaml --output data/support --dry-run
align data build data/support/recipe.lock.yaml --output data/again
""",
)
@click.argument("recipe", metavar="RECIPE")
@click.option("--output", metavar="DIR", required=True, help="Folder for the files, the ledger and the data card.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes (all cores); changes no byte.")
@click.option("--prune", is_flag=True, help="Remove stages of earlier builds that this one has no use for.")
@click.option("--dry-run", is_flag=True, help="Check recipe and inputs, say what would be reused; write nothing.")
@output_options
def build_command(
    recipe: str, output: str, workers: int | None, prune: bool, dry_run: bool, as_json: bool
) -> dict[str, Any]:
    """Build data sets by a recipe.

    The same command again reuses every stage whose settings, code and input are the same, and continues after a kill.
    Two builds of one recipe give the same bytes. DIR/card.md says what is in them, DIR/ledger.jsonl what became of every
    input row, and DIR/recipe.lock.yaml is the recipe with the hash of every input.
    """
    from data_recipes.building.engine import build
    from data_recipes.building.recipe import load

    ui = make_ui(as_json)
    result = build(
        load(recipe), Path(output).expanduser(), workers=workers or _cores(), dry_run=dry_run, prune=prune, say=ui.say
    )
    if not dry_run:
        _report(result, ui)
    if not as_json:
        click.echo(output if dry_run else str(Path(output) / "card.md"))
    return result


def _cores() -> int:
    """Cores that this process may use; a container's share is seen on Linux alone."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _report(result: dict[str, Any], ui: Any) -> None:
    rows = result["rows"]
    ui.table("rows", [("read", f"{rows['entries']:,}"), *((fate, f"{count:,}") for fate, count in rows["fates"].items())])
    ui.table("files", [(name, f"{count:,}") for name, count in rows["lines"].items()])
    for gone in rows["gone"]:
        ui.say(f"{gone['step']}: {gone['rows']:,} {gone['reason']}")
    for source in result["sources"]:
        for note in source["notes"]:
            ui.say(f"{source['name']}: {note}")
    for step in result["steps"]:
        for name, found in step.get("facts", {}).get("mixture", {}).items():
            if found["realised"] < found["planned"]:
                ui.warn(f"mix: {found['realised']:,} of the {found['planned']:,} rows planned from '{name}'; see repeats")
    if result["unused_stages"]:
        ui.say(f"{result['unused_stages']} stages of earlier builds are kept; --prune removes them")


@command(
    "trace",
    example="""
align data trace data/support train.jsonl:12
align data trace data/support tickets.jsonl:17
align data trace data/support 4711
""",
)
@click.argument("folder", metavar="DIR")
@click.argument("row", metavar="ROW")
@output_options
def trace_command(folder: str, row: str, as_json: bool) -> dict[str, Any]:
    """Tell one row's story.

    DIR is a folder that align data build made. ROW is a line of one of its files, a place in a source, or a row's number
    in the ledger.
    """
    from data_recipes.building.trace import story, trace

    found = trace(Path(folder).expanduser(), row)
    if not as_json:
        click.echo("\n".join(story(found)))
    return found
