"""`align collect guide|invite|revoke|close`: who is asked, by which guidelines, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options


@command(
    "guide",
    example="""
align collect guide votes.db
align collect guide votes.db guide-2.md
""",
)
@click.argument("file", type=click.Path())
@click.argument("text", required=False, metavar="[GUIDE.md]", type=click.Path())
@output_options
def guide_command(file: str, text: str | None, as_json: bool) -> dict[str, Any]:
    """Show the guidelines in force, or add a new version.

    Each vote keeps the version that was shown with it.
    """
    from data_recipes.collect.items import read_text
    from data_recipes.collect.store import Store

    with Store.open(file) as store:
        if text is not None:
            store.add_guidelines(read_text(Path(text)))
        shown = store.guidelines()
    if not as_json:
        click.echo(f"version {shown.version}\n\n{shown.text}")
    return {"version": shown.version, "text": shown.text}


@command(
    "invite",
    example="""
align collect invite votes.db cleo
""",
)
@click.argument("file", type=click.Path())
@click.argument("names", nargs=-1, required=True)
@click.option("--url", default="http://127.0.0.1:8765", metavar="URL", help="Where the page is served. [http://127.0.0.1:8765]")
@click.option("--lead", is_flag=True, help="As a lead, who sees progress and settles disagreements.")
@output_options
def invite_command(file: str, names: tuple[str, ...], url: str, lead: bool, as_json: bool) -> dict[str, Any]:
    """Make each person's new link, and people who are not there yet.

    The new link ends the old one and whoever is signed in by it. Only a hash of it is stored, so it is shown once.
    """
    from data_recipes.collect.store import Store

    links = {}
    with Store.open(file) as store:
        known = {person.name: person for person in store.annotators()}
        for name in names:
            role = known[name].role if name in known else "lead" if lead else "annotator"
            store.add_annotator(name, role, asked=role != "lead")
            links[name] = f"{url.rstrip('/')}/join/{store.new_token(name)}"
    if not as_json:
        for name, link in links.items():
            click.echo(f"{name}  {link}")
    return {"links": links}


@command(
    "revoke",
    example="""
align collect revoke votes.db ben
""",
)
@click.argument("file", type=click.Path())
@click.argument("name")
@output_options
def revoke_command(file: str, name: str, as_json: bool) -> dict[str, Any]:
    """End a person's link and open tasks. The votes stay, and what was not answered goes to others."""
    from data_recipes.collect.store import Store

    with Store.open(file) as store:
        store.revoke(name)
        stuck = store.lead_overview()["stuck"]
    ui = make_ui(as_json)
    ui.say(f"{name} is asked nothing more; the votes stay")
    if stuck:
        ui.warn(f"{len(stuck)} items have a free place and nobody left for it: align collect invite {file} NAME")
    return {"revoked": name, "stuck": stuck}


@command(
    "close",
    example="""
align collect close votes.db
align collect close votes.db --list round-1
align collect close votes.db --reopen
""",
)
@click.argument("file", type=click.Path())
@click.option("--list", "list_name", metavar="NAME", help="This list only.")
@click.option("--reopen", is_flag=True, help="Ask again.")
@output_options
def close_command(file: str, list_name: str | None, reopen: bool, as_json: bool) -> dict[str, Any]:
    """End the asking. Answers on the way still count; nothing can be taken back any more."""
    from data_recipes.collect.store import Store

    with Store.open(file) as store:
        names = store.set_open(list_name, reopen)
        lists = [row for row in store.lists() if row["name"] in names]
    for row in lists:
        make_ui(as_json).say(f"{row['name']}: {'open' if reopen else 'closed'}, {row['votes']} of {row['votes_asked']} votes, "
                             f"{row['complete']} of {row['items'].get('normal', 0)} items complete")
    return {"lists": lists}
