"""`align collect stats|rank`: how far the votes can be trusted, and which run people prefer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options

PLOTS = (".svg", ".png")


def measuring_options(function: Callable) -> Callable:
    """What both commands take."""
    seed = click.option("--seed", type=int, default=0, metavar="N", help="Seed of the bootstrap. [0]")
    page = click.option("--html", "page", type=click.Path(), metavar="FILE", help="Write it as a page of one file, too.")
    return click.option("--list", "list_name", metavar="NAME", help="This list only.")(page(seed(function)))


@command(
    "stats",
    example="""
align collect stats votes.db
align collect stats votes.db --list main --html stats.html
""",
)
@click.argument("file", type=click.Path())
@measuring_options
@output_options
def stats_command(file: str, list_name: str | None, page: str | None, seed: int, as_json: bool) -> dict[str, Any]:
    """Agreement, habits, gold items and repeats, speed, and who needs a talk.

    Intervals of agreement are bootstraps over items, those of shares are Wilson's, at 95 %. What is not defined is said.
    """
    from data_recipes.collect.quality import set_aside
    from data_recipes.collect.stats_report import report, tables
    from data_recipes.collect.store import Store

    with Store.open(file) as store:
        votes, aside = store.votes(list_name), set_aside(store.events(), list_name)
    found = report(votes, aside, seed=seed)
    if page:
        write_page(Path(page), "How far the votes can be trusted", file, tables(found), found["notes"])
    if not votes:
        make_ui(as_json).say(f"there are no votes yet: people vote on the page (align collect serve {file})")
    elif not as_json:
        print_tables(tables(found), found["notes"])
    return found


@command(
    "rank",
    example="""
align collect rank votes.db --plot ranking.svg
align collect rank votes.db --anchor runs/sft --list round-2 --json
""",
)
@click.argument("file", type=click.Path())
@click.option("--anchor", metavar="NAME", help="The run that is put at 1000; otherwise the mean is.")
@click.option("--votes-of", "voices", type=click.Choice(("people", "judges", "all")), default="people", help="[people]")
@click.option("--plot", type=click.Path(), metavar="FILE", help="Draw it, as .svg or .png.")
@measuring_options
@output_options
def rank_command(file: str, anchor: str | None, voices: str, plot: str | None, list_name: str | None, page: str | None,
                 seed: int, as_json: bool) -> dict[str, Any]:
    """Which run people prefer: Bradley-Terry with ties, with and without the part that length explains.

    Intervals are bootstraps over prompts and people. 400 points are odds of ten to one.
    """
    from data_recipes.collect.rank_report import notes, tables
    from data_recipes.collect.ranking import rank
    from data_recipes.errors import Refused

    if plot and Path(plot).suffix.lower() not in PLOTS:
        raise Refused("a plot cannot be of this kind", where=f"--plot {plot}", expected=" or ".join(PLOTS))
    found = rank(_of(voices, read_votes(file, list_name)), anchor=anchor, seed=seed)
    if plot:
        write_plot(Path(plot), found)
    if page:
        write_page(Path(page), "Which run people prefer", file, tables(found), notes(found), found)
    if not as_json:
        print_tables(tables(found), notes(found))
    return found


def read_votes(file: str, list_name: str | None) -> list:
    """The current votes of a collection. Raises Refused where there are none."""
    from data_recipes.collect.store import Store
    from data_recipes.errors import Refused

    with Store.open(file) as store:
        votes = store.votes(list_name)
    if not votes:
        raise Refused("there are no votes yet", where=file, do=f"People vote on the page: align collect serve {file}")
    return votes


def _of(voices: str, votes: Sequence) -> list:
    return [vote for vote in votes if voices == "all" or (vote.role == "judge") == (voices == "judges")]


def print_tables(tables: Sequence, notes: Sequence[str]) -> None:
    """Tables for people, on standard output."""
    from alignment.evaluate.show import print_tables as show

    show(tables, notes)


def write_page(path: Path, title: str, file: str, tables: Sequence, notes: Sequence[str], ranked: dict | None = None) -> None:
    """One file with everything in it, which loads nothing."""
    from alignment.evaluate.page import render, table
    from data_recipes.files import write_text

    figure = ""
    if ranked:
        from alignment.evaluate.figures import svg_uri

        figure = svg_uri(_figure(ranked))
    made = [table(rows, header, name) for name, header, rows in tables]
    write_text(path, render("page_tables.jinja", title=title, subtitle=Path(file).name, tables=made, notes=list(notes),
                            figure=figure, figure_words="Ratings with 95 % intervals"))


def write_plot(path: Path, found: dict[str, Any]) -> None:
    """The ratings with their intervals, best on top."""
    from alignment.evaluate.figures import png, svg
    from data_recipes.files import write_bytes

    write_bytes(path, (png if path.suffix.lower() == ".png" else svg)(_figure(found)))


def _figure(found: dict[str, Any]) -> Any:
    from alignment.evaluate.figures import draw_intervals
    from data_recipes.collect.rank_report import CONTROLLED, PLAIN, figure_rows

    people = "1 person" if found["people"] == 1 else f"{found['people']} people"
    title = f"{found['votes']:,} votes of {people} on {found['prompts']:,} prompts"
    return draw_intervals(figure_rows(found), series=(PLAIN, CONTROLLED), label="rating (400 points: odds of ten to one)",
                          title=title if found["connected"] else f"{title}\nno votes link the groups, which cannot be compared")
