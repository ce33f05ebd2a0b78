"""`align collect backup|erase|salvage`: keeping a collection, and keeping a promise to a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options


@command(
    "backup",
    example="""
align collect backup votes.db backups/votes-monday.db
""",
)
@click.argument("file", type=click.Path())
@click.argument("copy", type=click.Path())
@output_options
def backup_command(file: str, copy: str, as_json: bool) -> dict[str, Any]:
    """Write a whole copy of a collection, also while it is served. (Copying the file itself may miss the last votes.)"""
    from data_recipes.collect.store import Store
    from data_recipes.files import sha256_file

    with Store.open(file) as store:
        store.backup(copy)
    with Store.open(copy) as whole:  # opening checks it
        done = {"copy": copy, "events": sum(1 for _ in whole.events()), "events_sha256": whole.events_hash()}
    done["sha256"] = sha256_file(copy)
    make_ui(as_json).say(f"{done['events']} events in {copy}")
    return done


@command(
    "erase",
    example="""
align collect erase votes.db ben
""",
)
@click.argument("file", type=click.Path())
@click.argument("name")
@click.option("--edits", is_flag=True, help="Erase the answers that this person edited, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_options
def erase_command(file: str, name: str, edits: bool, yes: bool, as_json: bool) -> dict[str, Any]:
    """Erase a person's name, comments and reasons from the file. The votes stay, under a number.

    Copies and exports that were made before still hold them.
    """
    from data_recipes.collect.store import Store
    from data_recipes.errors import Refused

    with Store.open(file) as store:
        if not yes:
            if not sys.stdin.isatty():
                raise Refused("nobody can be asked here, since standard input is no terminal", where="align collect erase",
                              do="Give --yes to erase without being asked. Nothing was erased.")
            click.confirm(f"Erase {name}'s name and words? This cannot be undone.", abort=True, err=True)
        done = store.erase(name, edits=edits)
    ui = make_ui(as_json)
    ui.say(f"{done['texts']} texts and the name are gone; {done['votes_kept']} votes stay, by {done['now']}")
    if not done["log_cleared"]:
        ui.warn(f"{file}-wal still holds old text while the collection is in use: stop serving it, then start it again")
    return done


@command(
    "salvage",
    example="""
align collect salvage votes.db --output saved.db
""",
)
@click.argument("file", type=click.Path())
@click.option("--output", required=True, type=click.Path(), metavar="FILE", help="A new collection.")
@output_options
def salvage_command(file: str, output: str, as_json: bool) -> dict[str, Any]:
    """Save what can be read of a damaged collection into a new one, and say what is lost.

    Exit code 1 where a vote is lost, or may be; what was saved is kept all the same.
    """
    from data_recipes.collect.salvage import salvage

    done = salvage(Path(file), Path(output))
    ui = make_ui(as_json)
    for table, count in done["tables"].items():
        ui.say(f"{table}: {count['saved']} rows saved" + (f", {count['dropped']} of no use alone" if count["dropped"] else ""))
    for line in done["lost"]:
        ui.warn(line)
    if not done["votes"]["complete"]:
        raise _incomplete(done)
    return done


def _incomplete(done: dict[str, Any]) -> Exception:
    """What is said of lost votes, with the whole account as its document."""
    from data_recipes.errors import Failed

    saved, before = done["votes"]["saved"], done["votes"]["before"]
    events = next((line for line in done["lost"] if line.startswith(("event:", "the log "))), "")
    lost = f"{before - saved} of {before} votes are lost at least" if before > saved else "votes are lost, or may be"
    error = Failed(f"{lost} ({events or 'the entries and the counts of votes differ'}); {saved} votes are saved",
                   where=done["output"], do="Take your last backup if it holds more; what was saved is kept, and what is lost "
                   "can be asked again.")
    error.document = done
    return error
