"""The report on a terminal: what must be mended first, then what to look at, the facts, and what is clean in one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from data_recipes.audit.excerpts import visible
from data_recipes.audit.model import CLEAN, FACT, LOOK, PROBLEM, Finding, Place
from data_recipes.audit.run import Report

SHOWN, WIDTH = 4, 110  # places of a finding; characters of an excerpt
NO_RATE = ("features", "comparisons")  # units of which there is no larger population
MARKS = {PROBLEM: ("✗", "bold red"), LOOK: ("!", "yellow"), FACT: ("·", "cyan"), CLEAN: ("✓", "green")}
HEADINGS = {PROBLEM: "To mend", LOOK: "To look at", FACT: "What is there"}


def rendered(report: Report) -> Any:
    """The whole report as one thing that rich prints."""
    parts: list[Any] = [Text(headline(report), style="bold")]
    for level, heading in HEADINGS.items():
        if found := report.of_level(level):
            parts += [Text(), Text(heading, style="bold underline"), *(piece for one in found for piece in _finding(one))]
    parts += [Text(), *_clean(report), *_not_done(report), *_broken(report)]
    return Group(*parts)


def headline(report: Report) -> str:
    """The report in one line."""
    problems, looks = len(report.of_level(PROBLEM)), len(report.of_level(LOOK))
    bad = f", {report.refused:,} of which cannot be read" if report.refused else ""
    return (f"{report.rows + report.refused:,} rows{bad}: {problems} finding{'s' if problems != 1 else ''} to mend, "
            f"{looks} to look at, {len(report.of_level(CLEAN))} checks clean")


def amount(found: Finding) -> str:
    """How many, of how many, with the interval where that is a rate."""
    if found.level == FACT or not found.total or not found.value:
        return ""
    if found.measure is not None:
        return found.measure.text(percent=True)
    counts = f"{found.count:,} of {found.total:,} {found.unit}"
    return counts if found.unit in NO_RATE else f"{counts}, {found.value.text(percent=True)}"


def _finding(found: Finding) -> Iterator[Any]:
    mark, style = MARKS[found.level]
    title = Text.assemble((f"{mark} ", style), (found.title, "bold"), (f"  {found.name}", "dim"))
    if said := amount(found):
        title.append(f"  {said}", style)
    yield title
    yield Padding(Text(visible(found.text)), (0, 0, 0, 2))
    if found.figures:
        yield Padding(_figures(found), (0, 0, 0, 2))
    yield from (_place(place) for place in found.places[:SHOWN])
    if len(found.places) > SHOWN:
        yield Padding(Text(f"and {len(found.places) - SHOWN:,} more", style="dim"), (0, 0, 0, 4))
    if found.level in (PROBLEM, LOOK):
        yield Padding(Text.assemble(("why  ", "dim"), found.why, "\n", ("mend ", "dim"), found.mend), (0, 0, 1, 2))


def _figures(found: Finding) -> Table:
    made = Table(box=box.SIMPLE, show_header=False, pad_edge=False, padding=(0, 1, 0, 0))
    for figure in found.figures[:12]:
        style = "yellow" if figure.marked else ""
        made.add_row(Text(visible(figure.label), style), Text(figure.interval.text(percent=figure.percent), style),
                     Text(f"n = {figure.interval.n:,}", "dim"))
    return made


def _place(place: Place) -> Padding:
    cut = place.excerpt if len(place.excerpt) <= WIDTH else f"{place.excerpt[:WIDTH]}…"
    below = f"\n  {visible(cut)}" if cut else ""
    return Padding(Text.assemble((visible(place.where), "cyan"), f"  {visible(place.note)}", (below, "dim")), (0, 0, 0, 4))


def _clean(report: Report) -> Iterator[Text]:
    if names := [found.name for found in report.of_level(CLEAN)]:
        yield Text.assemble(("✓ clean: ", "green"), ", ".join(names))


def _not_done(report: Report) -> Iterator[Text]:
    by_reason: dict[str, list[str]] = {}
    for one in report.not_done:
        by_reason.setdefault(one.reason, []).append(one.name)
    for reason, names in by_reason.items():
        yield Text.assemble(("- not done: ", "dim"), ", ".join(names), (f" (needs {reason})", "dim"))


def _broken(report: Report) -> Iterator[Text]:
    for one in report.broken:
        yield Text(f"✗ {one['threshold']}: found {one['found']:.4g} ({one['count']:,})", style="bold red")
