"""All that `align collect stats` says: one document, and the same as tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_recipes.collect import agreement as agreeing
from data_recipes.collect.concerns import opinions
from data_recipes.collect.model import Vote
from data_recipes.collect.quality import group, habits

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]  # title, header, rows
SCORED = ("disagreement", "gap")  # ways to choose an item that look at scores
FEW = 10  # items or votes below which an interval by bootstrap is too narrow to be trusted


def report(votes: Sequence[Vote], aside: Mapping[str, Counter] | None = None, *, seed: int = 0) -> dict[str, Any]:
    """Agreement, habits of each person, judges beside the people, and who needs a talk.

    aside: how many items each skipped and flagged, from `quality.set_aside`.
    """
    aside = aside or {}
    people, judges = ([vote for vote in votes if (vote.role == "judge") == judge] for judge in (False, True))
    said = opinions(people)
    found = {
        "votes": dict(sorted(Counter(vote.kind for vote in people if not vote.settles).items())),
        "settling": sum(vote.settles for vote in people),
        "judge_votes": len(judges),
        "agreement": agreeing.agreement(people, seed=seed),
        **chosen(people, seed),
        "together": habits(people),
        "people": [{"name": name, **habits(own), **_aside(aside, name), **said[name].as_dict()}
                   for name, own in group(people).items()],
        "judges": [{**beside(name, own, people, seed), **_aside(aside, name)} for name, own in group(judges).items()],
    }
    return {**found, "notes": notes(found)}


def _aside(aside: Mapping[str, Counter], name: str) -> dict[str, int]:
    counted = aside.get(name, Counter())
    return {"skipped": counted["skip"], "flagged": counted["flag"]}


def chosen(people: Sequence[Vote], seed: int) -> dict[str, Any]:
    """How many items were drawn in which way; where some were drawn by a score, agreement on the others by itself."""
    cast = agreeing.of_people(people)
    way = {vote.item: vote.strategy for vote in cast if vote.strategy != "finish"}  # who came later only finished the item
    counted = {"chosen": dict(sorted(Counter(way.values()).items()))}
    if not any(name in SCORED for name in way.values()):
        return counted
    fair = [vote for vote in cast if way.get(vote.item) not in SCORED]
    return {**counted, "agreement_random": agreeing.agreement(fair, seed=seed)}


def majority(votes: Sequence[Vote]) -> dict[int, float]:
    """For each item the sign of people's summed signs: -1, 0 (as many on both sides, or neither preferred), 1."""
    values_UA, items, _ = agreeing.matrix(agreeing.of_people(votes))
    return dict(zip(items, np.sign(np.nansum(values_UA, axis=1)).tolist(), strict=True)) if items else {}


def beside(name: str, own: Sequence[Vote], people: Sequence[Vote], seed: int) -> dict[str, Any]:
    """A judge beside the people: kappa with their majority and the share on which they agree, over the items of both."""
    theirs = majority(people)
    shared = [vote for vote in own if vote.kind == "normal" and vote.item in theirs]
    ours_U = np.array([agreeing.sign(vote) for vote in shared], dtype=np.float64)
    theirs_U = np.array([theirs[vote.item] for vote in shared], dtype=np.float64)
    kappa = agreeing.cohen_of(ours_U, theirs_U, agreeing.VERDICT_VALUES, agreeing.nominal, seed=seed)
    raw = agreeing.raw_of(np.column_stack([ours_U, theirs_U]), ties=True, seed=seed)
    return {"name": name, **habits(own), "shared_items": len(shared), "kappa": kappa, "raw": raw}


def notes(found: dict[str, Any]) -> list[str]:
    """What a reader of the figures must know."""
    shared, said = found["agreement"]["shared_items"], []
    if 0 < shared < FEW:
        said.append(f"Only {shared} items have two votes: with so few the intervals of agreement are too narrow.")
    if not shared:
        said.append("No item has votes of two people, so nothing can be said of agreement (--overlap 2 asks two).")
    if scored := sum(found["chosen"].get(name, 0) for name in SCORED):
        said.append(f"{scored} items were chosen by a score: agreement, ties and sides are those of such items, not of all.")
    flat = [name for name, value in found["agreement"].items() if isinstance(value, dict) and value.get("flat")]
    if flat:
        said.append(f"No draw of items differs in {', '.join(flat)}: the bounds say nothing of other items.")
    return said


# ---------------------------------------------------------------------------------------------------------- for people


def tables(found: dict[str, Any]) -> list[Table]:
    """The tables in the order in which they are printed."""
    made = [agreement_table(found["agreement"], "shared items")]
    if found.get("agreement_random", {}).get("shared_items"):
        made.append(agreement_table(found["agreement_random"], "shared items that no score chose"))
    made += [habits_table(found), trust_table(found)]
    if found["agreement"]["cohen"]:
        made.append(pairs_table(found))
    if found["judges"]:
        made.append(judges_table(found))
    return [*made, talk_table(found)]


def agreement_table(values: dict[str, Any], which: str) -> Table:
    """Agreement of all people."""
    rows = [
        ("Krippendorff's alpha, verdict (nominal)", number(values["alpha_nominal"]), count(values["alpha_nominal"])),
        ("Krippendorff's alpha, strength (interval)", number(values["alpha_interval"]), count(values["alpha_interval"])),
        (f"Fleiss' kappa{_raters(values['fleiss'])}", number(values["fleiss"]), count(values["fleiss"])),
        ("two votes agree, ties counted", percent(values["raw_with_ties"]), count(values["raw_with_ties"])),
        ("two votes agree, votes for a side only", percent(values["raw_without_ties"]), count(values["raw_without_ties"])),
    ]
    who = "1 person" if values["people"] == 1 else f"{values['people']} people"
    return f"Agreement of {who} on {values['shared_items']} {which}", ("", "", "items"), rows


def _raters(fleiss: dict) -> str:
    return f", items with {fleiss['raters']} votes" if "raters" in fleiss else ""


def habits_table(found: dict[str, Any]) -> Table:
    """Sides, lengths, ties and speed, of all and of each."""
    rows = [
        (name, f"{one['votes']:,}", *(percent(one[key]) for key in ("left", "longer", "ties", "too_fast")),
         f"{one['words_a_minute']:.0f}" if one["words_a_minute"] else "-", f"{one['hours']:.2f}", f"{one['skipped']:,}")
        for name, one in [("all", {**found["together"], "skipped": sum(one["skipped"] for one in found["people"])}),
                          *((one["name"], one) for one in found["people"])]
    ]
    header = ("", "votes", "left wins", "longer wins", "neither", "too fast", "words a minute", "hours", "skipped")
    return "Habits", header, rows


def trust_table(found: dict[str, Any]) -> Table:
    """Gold and repeats, of all and of each."""
    rows = [(name, percent(one["gold"]), count(one["gold"]), percent(one["consistency"]), count(one["consistency"]))
            for name, one in [("all", found["together"]), *((one["name"], one) for one in found["people"])]]
    return "Gold items, and hidden repeats answered the same", ("", "gold right", "of", "same on repeats", "of"), rows


def pairs_table(found: dict[str, Any]) -> Table:
    """Cohen's kappa of each two."""
    rows = [(" and ".join(pair["people"]), number(pair["kappa"]), number(pair["weighted"]), f"{pair['items']:,}")
            for pair in found["agreement"]["cohen"]]
    return "Cohen's kappa", ("", "verdict", "strength (squared weights)", "items"), rows


def judges_table(found: dict[str, Any]) -> Table:
    """Judges beside the people's majority."""
    rows = [(one["name"], number(one["kappa"]), percent(one["raw"]), count(one["raw"]),
             *(percent(one[key]) for key in ("longer", "left", "ties")), f"{one['skipped']:,}") for one in found["judges"]]
    header = ("", "kappa", "agree", "items", "longer wins", "left wins", "neither", "abstained")
    return "Judges beside the people's majority", header, rows


def talk_table(found: dict[str, Any]) -> Table:
    """Who needs a talk, with every reason."""
    words = {"fine": "fine", "open": "cannot be told yet: too few gold items, repeats or shared items"}
    rows = [(one["name"], concern["text"]) for one in found["people"] for concern in one["concerns"]]
    rows += [(one["name"], words[one["verdict"]]) for one in found["people"] if one["verdict"] != "talk"]
    return "Who needs a talk", ("", ""), rows


def number(found: dict[str, Any]) -> str:
    """`0.43 [0.31, 0.55]`, or why there is none."""
    return _text(found, 1, 2, "")


def percent(found: dict[str, Any]) -> str:
    """`61 % [55, 67]`, or why there is none."""
    return _text(found, 100, 0, " %")


def _text(found: dict[str, Any], scale: int, digits: int, unit: str) -> str:
    if "undefined" in found:
        return f"undefined: {found['undefined']}"
    value = f"{scale * found['value']:.{digits}f}{unit}"
    if found["low"] is None:
        return f"{value} (one item: no interval)"
    return f"{value} [{scale * found['low']:.{digits}f}, {scale * found['high']:.{digits}f}]"


def count(found: dict[str, Any]) -> str:
    """How many items or votes are behind a figure."""
    return f"{found['n']:,}"
