"""`align data convert`: rows of any format, written in one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options

TARGETS = (
    "auto", "messages", "prompt-completion", "alpaca", "sharegpt", "text", "pairs", "preference", "conversations-pair", "hh",
    "sharegpt-pair", "prompts", "kto", "kto-messages", "labels",
)
RANKED = ("all", "best", "ends")


def reading_options(function):
    """How files are read, as every command has it that takes rows of any kind."""
    for option in reversed((
        click.option("--format", default="auto", metavar="NAME", help="Format of the rows, where it is not clear. [auto]"),
        click.option("--columns", metavar="A,B", default="", help="Names of the columns of a CSV or TSV file without any."),
        click.option("--rename", metavar="OLD=NEW", multiple=True, help="Read the column OLD as NEW."),
        click.option("--drop", metavar="COLUMN", multiple=True, help="Leave a column out; '*' all that are not needed."),
        click.option("--max-rejected", type=click.FloatRange(0, 1), default=0.0, metavar="SHARE",
                     help="Share of bad rows that may be left out. [0]"),
    )):
        function = option(function)
    return function


@command(
    "convert",
    example="""
align data convert alpaca.json more.jsonl.gz --to messages --output demonstrations.jsonl
align data convert hh.jsonl.gz --to pairs --max-rejected 0.01 --output pairs.jsonl
align data convert trees.jsonl --to pairs --ranked ends --dry-run
align data convert reviews.tsv --columns text,label --to labels --output labels.jsonl
""",
)
@click.argument("sources", metavar="FILE|HUB...", nargs=-1, required=True)
@click.option("--to", type=click.Choice(TARGETS), default="auto", metavar="LAYOUT",
              help=f"What to write: {', '.join(TARGETS)}. auto is the canonical form of what is found. [auto]")
@click.option("--output", metavar="FILE", help="The .jsonl or .jsonl.gz file to write.")
@reading_options
@click.option("--ranked", type=click.Choice(RANKED), metavar="WHICH",
              help="Of ranked answers: all pairs, the best against each other (best), or best against worst (ends). "
                   "[all for pairs, else ends]")
@click.option("--overwrite", is_flag=True, help="Replace the output if it holds something else.")
@click.option("--dry-run", is_flag=True, help="Read and check all rows, show the first; write nothing.")
@output_options
def convert_command(sources: tuple[str, ...], to: str, output: str | None, **options: Any) -> dict[str, Any]:
    """Write rows of any known format in one layout, every row accounted for.

    Formats are told from the rows, and said with the reason. What is written is read again and compared.
    """
    from data_recipes.convert import convert, plan
    from data_recipes.errors import Refused

    if not output and not options["dry_run"]:
        raise Refused("no output was given", where="--output", expected="a .jsonl or .jsonl.gz file, or --dry-run")
    ui = make_ui(options["as_json"])
    planned = plan(list(sources), to, reading(options), bare="*" in options["drop"])
    path = None if options["dry_run"] else Path(output).expanduser()
    made = convert(planned, path, max_rejected=options["max_rejected"], overwrite=options["overwrite"])
    layout = planned[0].layout
    report(made.ledger, ui)
    _say_result(made, layout, output, ui)
    if not options["as_json"] and path:
        click.echo(output)
    return {
        "state": made.state, "output": output, "to": layout.name, "kind": layout.kind, "ledger": made.ledger.totals(),
        "rejected": str(made.rejected) if made.rejected else None, "first": made.first,
    }


def reading(options: dict[str, Any]):
    """The options of `reading_options` as a `Reading`. Raises Refused for a --rename without its equals sign."""
    from data_recipes.errors import Refused
    from data_recipes.readers import Reading

    for text in options["rename"]:
        old, equals, new = text.partition("=")
        if not equals or not old or not new:
            raise Refused(f"'{text}' renames nothing", where="--rename", expected="OLD=NEW, such as question=prompt")
    renamed = [tuple(text.split("=", 1)) for text in options["rename"]]
    dropped = [(name, "") for name in options["drop"] if name != "*"]
    columns = tuple(name.strip() for name in options["columns"].split(",")) if options["columns"] else ()
    return Reading(options["format"], options.get("ranked") or "", columns, (*renamed, *dropped))


def report(ledger, ui) -> None:
    """Where rows came from, what became of them, and which were refused."""
    for origin in ledger.sources:
        ui.say(f"{origin['path']}: {origin['format']} ({origin['why']})")
    totals = ledger.totals()
    rows = totals["rows"]
    counts = [("rows read", rows["read"]), ("rows used", rows["used"]), ("rows refused", rows["refused"])]
    if rows["passed"]:
        counts.append(("rows without what was asked for", rows["passed"]))
    counts.append(("records kept", totals["kept"]))
    counts += [(f"refused, {name}", count) for name, count in totals["rejected"].items()]
    counts += [(f"passed over, {name}", count) for name, count in totals["passed"].items()]
    ui.table("", [(name, f"{count:,}") for name, count in counts])
    for note in ledger.notes:
        ui.say(note)
    for bad in ledger.rejected_rows[:10]:
        ui.warn(f"{bad['where']}: {bad['reason']} ({bad['detail']})")
    if ledger.refused > 10:
        ui.warn(f"and {ledger.refused - 10} more refused")


def _say_result(made, layout, output: str | None, ui) -> None:
    import json

    text = json.dumps(made.first, ensure_ascii=False)
    if made.state == "dry-run":
        ui.say(f"nothing written; as {layout.name} the first row would be: {text[:600]}{' ...' if len(text) > 600 else ''}")
        return
    ui.say(f"{made.ledger.kept:,} rows as {layout.name}, {made.state}: {output}")
    if made.rejected:
        ui.say(f"what was refused is listed in {made.rejected}")
