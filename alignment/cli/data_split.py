"""`align data split`: files into train, validation and test, the same prompt never in two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options
from alignment.cli.data_convert import reading, reading_options, report


@command(
    "split",
    example="""
align data split pairs.jsonl --validation 0.05 --output data/pairs
align data split pairs.jsonl more.jsonl --near --validation 0.05 --test 0.05 --output data/pairs
align data split chats.jsonl --by customer --validation 0.1 --test 0.1 --output data/chats
""",
)
@click.argument("sources", metavar="FILE|HUB...", nargs=-1, required=True)
@click.option("--by", default="prompt", metavar="WHAT",
              help="What may not be parted: prompt, row-hash (equal rows), or the name of a column. [prompt]")
@click.option("--near", is_flag=True, help="Keep prompts together that are nearly the same, too.")
@click.option("--validation", type=click.FloatRange(0, 1, max_open=True), required=True, metavar="SHARE",
              help="Share to hold out for validation.")
@click.option("--test", type=click.FloatRange(0, 1, max_open=True), default=0.0, metavar="SHARE",
              help="Share to hold out for a test. [0]")
@click.option("--seed", type=int, default=0, metavar="N", help="Chooses other prompts. [0]")
@click.option("--output", metavar="DIR", help="Folder for train.jsonl, validation.jsonl and test.jsonl.")
@reading_options
@click.option("--overwrite", is_flag=True, help="Replace files in the folder that hold something else.")
@click.option("--dry-run", is_flag=True, help="Read all rows and count; write nothing.")
@output_options
def split_command(sources: tuple[str, ...], by: str, **options: Any) -> dict[str, Any]:
    """Split files by prompt: rows with the same prompt are always on the same side.

    Rows are written as they are. Which side a prompt is on depends on its text and the seed alone: the same command gives
    the same bytes, and a stage with the same share and seed would hold out the same prompts.
    """
    from data_recipes.errors import Refused
    from data_recipes.split_files import split

    if not options["output"] and not options["dry_run"]:
        raise Refused("no output was given", where="--output", expected="a folder, or --dry-run")
    shares = {"validation": options["validation"], **({"test": options["test"]} if options["test"] else {})}
    if sum(shares.values()) >= 1:
        raise Refused("the shares leave nothing to train on", where="--validation", expected="a sum below 1")
    if "*" in options["drop"]:
        raise Refused("which columns are needed is not known here: rows stay as they are", where="--drop '*'",
                      expected="names of columns", do="align data convert can leave out all that are not needed.")
    if options["near"] and by != "prompt":
        raise Refused("--near compares prompts", where="--by", expected="prompt, or no --near")
    ui = make_ui(options["as_json"])
    output = None if options["dry_run"] else Path(options["output"]).expanduser()
    made = split(list(sources), shares, output, by=by, seed=options["seed"], near=options["near"],
                 how=reading(options), max_rejected=options["max_rejected"], overwrite=options["overwrite"])
    report(made.ledger, ui)
    total = sum(made.rows.values())
    counts = [(part, made.rows.get(part, 0), made.groups.get(part, 0)) for part in ("train", *shares)]
    ui.table("", [(part, f"{rows:,}", f"{rows / total:.1%}", f"{groups:,}") for part, rows, groups in counts],
             header=("part", "rows", "share", "prompts" if by == "prompt" else "groups"))
    ui.say(made.state)
    if output and not options["as_json"]:
        click.echo(options["output"])
    return {
        "state": made.state, "output": options["output"], "by": by, "near": options["near"], "seed": options["seed"],
        "shares": shares, "rows": made.rows, "groups": made.groups, "ledger": made.ledger.totals(),
    }
