"""`align collect init|add|import`: what is asked, of how many people, and what that will cost them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options

BESIDE = {"repeats": "repeat", "gold": "item of gold each", "training": "item of training each"}
WORDS = {"pairs": "pair", "prompts": "prompt", "overlap": "person"}
OF_LIST = ("overlap", "repeats", "choose", "random_share", "seed")


def item_options(function: Callable) -> Callable:
    """Where items come from and how they are asked; the same words for the first list and for later ones."""
    options = [
        click.option("--gold", type=click.Path(), metavar="FILE", help='Items with "expected", hidden among the others.'),
        click.option("--training", type=click.Path(), metavar="FILE",
                     help='Items with "expected" (and "why"), asked first and with feedback.'),
        click.option("--pairs", type=click.Choice(("all", "ring", "first", "across")), default="all",
                     help="Pairs made of more than two responses: all; each with the next; the first with each; "
                     "those of different sources. [all]"),
        click.option("--overlap", type=int, metavar="N", help="People who see each item. [1]"),
        click.option("--repeats", type=float, metavar="SHARE", help="Share of items that come back, swapped. [0.05]"),
        click.option("--choose", type=click.Choice(("random", "stratified", "disagreement", "gap", "mix")),
                     help='What to ask next; all but the first two need "scores". [random]'),
        click.option("--random-share", type=float, metavar="SHARE", help="Share that is random all the same. [0.2]"),
        click.option("--stratify", metavar="COLUMN", help="Column whose values are the strata."),
        click.option("--seed", type=int, metavar="N", help="Seed of sides, repeats and choices. [0]"),
        click.option("--max-rejected", type=float, default=0.0, metavar="SHARE", help="Bad rows that may be left out. [0]"),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@command(
    "init",
    example="""
align collect init votes.db --items candidates.jsonl --guidelines guide.md --annotators ana,ben --overlap 2
align collect init votes.db --items candidates.jsonl --annotators ana --training training.jsonl --gold gold.jsonl --dry-run
""",
)
@click.argument("file", type=click.Path())
@click.option("--items", required=True, type=click.Path(), metavar="FILE", help="Prompts with two or more responses each.")
@click.option("--guidelines", type=click.Path(), metavar="FILE", help="Markdown that people read; versions are kept.")
@click.option("--annotators", default="me", metavar="NAMES", help="Pseudonyms, with commas between. [me]")
@click.option("--lead", "leads", default="lead", metavar="NAMES",
              help="Who sees progress and settles; one who is among the annotators does both. [lead]")
@click.option("--acceptable/--no-acceptable", default=False,
              help="Also ask whether each answer is acceptable: two more keys a vote. [off]")
@click.option("--tags", default="", metavar="NAMES", help="The team's reasons to tick, with commas between.")
@click.option("--lease", type=float, default=30.0, metavar="MINUTES", help="How long a task waits for its person. [30]")
@item_options
@click.option("--dry-run", is_flag=True, help="Say what it would ask, and write nothing.")
@output_options
def init_command(file: str, items: str, guidelines: str | None, annotators: str, leads: str, acceptable: bool, tags: str,
                 lease: float, dry_run: bool, as_json: bool, **how: Any) -> dict[str, Any]:
    """Make a collection; first it says how many votes and hours it asks of each person."""
    from data_recipes.collect.items import read_text
    from data_recipes.collect.model import Plan
    from data_recipes.collect.store import Store
    from data_recipes.collect.writing import check

    ui, people = make_ui(as_json), _names(annotators)
    reading, plan = _list_plan(items, {"name": "main", **how}, ui)
    whole = Plan((plan,), people, _names(leads), read_text(Path(guidelines)) if guidelines else "", acceptable, _names(tags),
                 lease * 60)
    check(whole)
    asked = _say_effort(plan, len(people), ui)
    if not guidelines:
        ui.warn("there are no guidelines: people will judge by rules of their own (--guidelines, or align collect guide)")
    result = {"file": file, "asked": asked, **reading}
    if dry_run:
        return {**result, "state": "dry-run"}
    Store.create(file, whole).close()
    ui.say(f"made {file}; go on with: align collect serve {file}")
    return {**result, "state": "made"}


@command(
    "add",
    example="""
align collect add votes.db more.jsonl
align collect add votes.db round-2.jsonl --list round-2 --overlap 3 --choose gap
""",
)
@click.argument("file", type=click.Path())
@click.argument("items", type=click.Path())
@click.option("--list", "name", default="main", metavar="NAME", help="To this list; one that is not there is made. [main]")
@click.option("--annotators", default="", metavar="NAMES", help="Of a new list: only these people.")
@item_options
@click.option("--dry-run", is_flag=True, help="Say what it would ask, and write nothing.")
@output_options
def add_command(file: str, items: str, name: str, annotators: str, dry_run: bool, as_json: bool, **how: Any) -> dict[str, Any]:
    """Add items to a list, or a list of its own. Pairs that the list has already are not asked again."""
    from data_recipes.collect.store import Store
    from data_recipes.errors import Refused

    ui = make_ui(as_json)
    with Store.open(file) as store:
        known = next((row for row in store.lists() if row["name"] == name), None)
        given = [key for key in OF_LIST if known and how[key] not in (None, known[key])]
        if given:
            raise Refused(f"the list {name!r} has other settings", where=f"--{given[0].replace('_', '-')}",
                          do="Give the new items another --list NAME, or leave the setting out.")
        kept = {key: known[key] for key in OF_LIST} if known else {}
        reading, plan = _list_plan(items, {**how, **kept, "name": name, "people": _names(annotators)}, ui)
        people = known["people"] if known else len(plan.people) or sum(
            person.active and person.asked and person.role != "judge" for person in store.annotators())
        asked = _say_effort(store.unknown(plan), people, ui)
        if people < plan.overlap:
            ui.warn(f"each item is for {plan.overlap} people and the list has {people}: align collect invite {file} NAME")
        done = {} if dry_run else store.add_list(plan)
    if done:
        ui.say(f"added to {name}: {done['added']}; there already: {done['known']}")
    return {"file": file, "asked": asked, **reading, **done, "state": "dry-run" if dry_run else "added"}


@command(
    "import",
    example="""
align collect import argilla.jsonl
align collect import label-studio.json --output items.jsonl
""",
)
@click.argument("items", type=click.Path())
@click.option("--output", type=click.Path(), metavar="FILE", help="Items as JSON lines. [NAME.items.jsonl]")
@click.option("--max-rejected", type=float, default=0.0, metavar="SHARE", help="Bad rows that may be left out. [0]")
@output_options
def import_command(items: str, output: str | None, max_rejected: float, as_json: bool) -> dict[str, Any]:
    """Write Argilla's or Label Studio's items as a file of ours, to be looked at first.

    `init` and `add` read such files themselves. Only items are taken: another tool's votes do not say which side was shown.
    """
    from data_recipes.collect.items import as_rows
    from data_recipes.errors import Refused
    from data_recipes.files import write_jsonl

    output = output or str(Path(items).with_name(Path(items).name.split(".")[0] + ".items.jsonl"))
    if Path(output).exists():
        raise Refused("the file is there already", where=output, do="Choose another --output.")
    rows, reading = as_rows(items)
    reading.check(max_rejected)
    write_jsonl(output, rows)
    made = {"output": output, "rows": len(rows), "refused": len(reading.refused), "formats": dict(reading.formats)}
    make_ui(as_json).say(f"{len(rows)} items in {output}, read as {', '.join(reading.formats)}")
    return made


# ------------------------------------------------------------------------------------------------- the plan of one list


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _list_plan(items: str, how: dict[str, Any], ui: Any) -> tuple[dict, Any]:
    """The items of all files as one list's plan, and the account of their rows."""
    from data_recipes.collect.items import read_items
    from data_recipes.collect.model import ListPlan

    files = {"normal": items, "gold": how.pop("gold"), "training": how.pop("training")}
    pairs, stratify, allowed = how.pop("pairs"), how.pop("stratify"), how.pop("max_rejected")
    read = {kind: read_items(path, pairs=pairs, kind=kind, stratify=stratify) for kind, path in files.items() if path}
    for found in read.values():
        found.check(allowed)
        for line in found.notes:
            ui.say(line)
        if found.refused:
            ui.warn(f"{len(found.refused)} of {found.rows} rows are left out; the first: {' '.join(found.refused[0])}")
    plan = ListPlan(items=tuple(item for found in read.values() for item in found.items),
                    **{key: value for key, value in how.items() if value is not None})
    own = read["normal"]
    for reason, count in own.left_out.items():
        ui.say(f"left out: {count} {reason}")
    return {"rows": own.rows, "formats": dict(own.formats), "left_out": dict(own.left_out), "refused": len(own.refused)}, plan


def _say_effort(plan: Any, people: int, ui: Any) -> dict:
    """Says what a list asks of its people."""
    from data_recipes.collect.effort import effort

    asked = effort(plan, people)
    if not plan.items:
        return asked
    beside = [_many(asked[key], word) for key, word in BESIDE.items() if asked[key]]
    pairs, prompts, overlap = (_many(asked[key], word) for key, word in WORDS.items())
    ui.say(f"{pairs} of {prompts}, each for {overlap}: {_many(asked['votes'], 'vote')}"
           + (f"; beside them {', '.join(beside)}" if beside else ""))
    if people:
        hours = asked["hours_each"]
        each = f"{hours} hours" if hours >= 1 else _many(max(1, round(60 * hours)), "minute")
        ui.say(f"{_many(people, 'person')}: {_many(asked['votes_each'], 'vote')} and about {each} each, "
               f"{asked['seconds_a_vote']} s a vote if all is read once")
    return asked


def _many(count: int, word: str) -> str:
    """A count with its noun."""
    first, _, rest = word.partition(" ")
    plural = first if count == 1 else "people" if first == "person" else f"{first}s"
    return " ".join(filter(None, (f"{count:,}", plural, rest)))
