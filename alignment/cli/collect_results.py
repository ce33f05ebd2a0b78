"""`align collect export`: from votes to rows."""

from __future__ import annotations

from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options


@command(
    "export",
    example="""
align collect export votes.db --to dpo --aggregate majority --output pairs.jsonl
align collect export votes.db --to reward --aggregate mean --threshold 1.5 --margin --output pairs.jsonl
align collect export votes.db --to csv --output events.csv
""",
)
@click.argument("file", type=click.Path())
@click.option("--to", required=True, type=click.Choice(("reward", "dpo", "kto", "sft", "arena", "csv")),
              help="Rows for a stage, a table of battles, or all events as CSV.")
@click.option("--output", required=True, type=click.Path(), metavar="FILE", help="Where to; a manifest is put beside it.")
@click.option("--aggregate", type=click.Choice(("each", "majority", "mean", "unanimous", "weighted")), default="majority",
              help="How several votes become one. [majority]")
@click.option("--threshold", type=float, default=1.0, metavar="S", help="With mean: least mean strength, 0 to 4. [1]")
@click.option("--margin", is_flag=True, help="The strength as `margin`, on every row.")
@click.option("--list", "list_name", metavar="NAME", help="This list only.")
@click.option("--votes-of", "voices", type=click.Choice(("people", "judges", "all")), default="people", help="[people]")
@click.option("--guideline", type=int, metavar="N", help="Only votes under this version of the guidelines.")
@click.option("--edits/--no-edits", default=True, help="Use edited answers. [on]")
@click.option("--only-edited", is_flag=True, help="With sft: edited answers alone.")
@click.option("--keep-unacceptable", is_flag=True, help="With dpo: also pairs whose better answer is not acceptable.")
@click.option("--labels", type=click.Choice(("choice", "acceptable")), default="choice",
              help="With kto: where nobody said what is acceptable, the better answer is true and the other false; or "
              "acceptable alone. [choice]")
@output_options
def export_command(file: str, output: str, as_json: bool, **wish: Any) -> dict[str, Any]:
    """Write votes as rows that a stage or TRL reads, with a manifest. The same votes give the same bytes.

    Works while the collection is served. Repeats, gold and training items never become rows.
    """
    from data_recipes.collect.export import Wish, export
    from data_recipes.collect.store import Store

    asked = Wish(**wish)
    with Store.open(file) as store:
        manifest = export(store, asked, output)
    ui = make_ui(as_json)
    ui.say(f"{manifest['rows']} rows in {output}, events {manifest['events_sha256'][:12]}")
    for reason, count in manifest.get("left_out", {}).items():
        ui.say(f"left out: {count} {reason}")
    if guessed := manifest.get("labels_from", {}).get("choice"):
        ui.say(f"{guessed} labels are from the choice alone, better true and other false: nobody said what is acceptable "
               "(init --acceptable asks; --labels acceptable leaves them out)")
    if len(versions := manifest.get("guidelines", [])) > 1:
        shown = ", ".join(f"{row['votes']} under version {row['version']}" for row in versions)
        ui.warn(f"votes under several versions of the guidelines are together here ({shown}); --guideline N takes one")
    return manifest
