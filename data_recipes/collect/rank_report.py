"""The ranking as tables, notes and rows of a figure for people."""

from __future__ import annotations

from typing import Any

from data_recipes.collect.stats_report import Table

PLAIN, CONTROLLED = "as voted", "at equal length"
NAME = 40  # characters in the figure; of a path the end tells runs apart


def tables(found: dict[str, Any]) -> list[Table]:
    """One table of ratings for each group of runs that were compared, then the battles."""
    by_name = {run["name"]: run for run in found["runs"]}
    made = []
    for number, group in enumerate(found["groups"], 1):
        title = "Ratings" if found["connected"] else f"Ratings, group {number} (not comparable with the other groups)"
        made.append((title, ("", "rank", "rating", "at equal length", "first place", "won", "tied", "lost"),
                     [_row(by_name[name]) for name in group["names"]]))
    battles = [(" against ".join(pair["runs"]), f"{pair['wins']:,}", f"{pair['ties']:,}", f"{pair['losses']:,}")
               for pair in found["pairs"]]
    return [*made, ("Votes", ("", "first won", "tied", "second won"), battles)]


def _row(run: dict[str, Any]) -> tuple[str, ...]:
    low, high = run["ranks"]
    ranks = f"{low}" if low == high else f"{low} to {high}"
    return (run["name"], ranks, rating(run["rating"]), rating(run["length_controlled"]), f"{100 * run['first']:.0f} %",
            *(f"{run[outcome]:,}" for outcome in ("wins", "ties", "losses")))


def rating(found: dict[str, float]) -> str:
    """`1034 [1010, 1060]`."""
    return f"{found['value']:.0f} [{found['low']:.0f}, {found['high']:.0f}]"


def notes(found: dict[str, Any]) -> list[str]:
    """What a reader of the table must know."""
    said = []
    if not found["connected"]:
        said.append("Not connected: between the groups no run was compared, so no votes say which group is better."
                    " Ask items that bring them together.")
    for group in found["groups"]:
        said += _of_group(group)
    if found["people"] == 1:
        said.append("One person's votes: the intervals speak of other prompts, not of other people.")
    elif found["people"] < 5:
        said.append(f"{found['people']} people were drawn again: so few say little of other people.")
    if found["left_out"]:
        said.append("Left out: " + ", ".join(f"{count:,} on {reason}" if reason.endswith("items") else f"{count:,} {reason}"
                                             for reason, count in found["left_out"].items()) + ".")
    return said


def _of_group(group: dict[str, Any]) -> list[str]:
    said, effect = [], group["length_effect"]
    first = group["names"][0]
    if not group["finite"]:
        said.append(f"Within {', '.join(group['names'])} some run won all its votes against the rest (or lost all): how far"
                    " apart they are is decided by a small penalty, not by votes. More votes will tell.")
    if len(group["leaders"]) > 1:
        said.append(f"Nobody is first: {' and '.join(group['leaders'])} are level.")
    elif group["flips"] is None:
        said.append(f"No number of turned votes between them puts another run before {first}.")
    else:
        votes = "1 vote" if group["flips"] == 1 else f"{group['flips']:,} votes"
        said.append(f"{first} is first; had {votes} gone the other way, it would not be.")
    if effect["low"] > 0 or effect["high"] < 0:
        word = "longer" if effect["value"] > 0 else "shorter"
        figures = f"{effect['value']:+.2f} [{effect['low']:+.2f}, {effect['high']:+.2f}]"
        said.append(f"People preferred the {word} answer beyond what the runs explain, by {figures} in log-odds for a"
                    " usual difference of length: see the ratings at equal length.")
    return said


def figure_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows for `alignment.evaluate.figures.draw_intervals`."""
    by_name = {run["name"]: run for run in found["runs"]}
    return [{"name": name if len(name) <= NAME else f"…{name[1 - NAME:]}", "gap": number > 0 and place == 0,
             PLAIN: by_name[name]["rating"], CONTROLLED: by_name[name]["length_controlled"]}
            for number, group in enumerate(found["groups"]) for place, name in enumerate(group["names"])]
