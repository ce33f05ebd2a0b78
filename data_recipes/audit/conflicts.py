"""Judgements that contradict each other: pairs both ways, circles, one row with two labels; and the noise they show."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from math import sqrt

import numpy as np

from data_recipes import near
from data_recipes.audit.duplicates import parted
from data_recipes.audit.excerpts import place
from data_recipes.audit.judged import pairs
from data_recipes.audit.model import CLEAN, LOOK, Context, Figure, Finding, Place, Row, counted
from data_recipes.audit.registry import check
from data_recipes.intervals import Interval, bootstrap, wilson

SECTION = "Preference pairs"
LEAST = 5  # repeated judgements below which no noise is estimated
Edge = tuple[str, str]


def _needs_labels(rows: Sequence[Row], context: Context) -> str:
    return "" if pairs(rows) or any(row.label is not None for row in rows) else "preference pairs, verdicts or labels"


@check("contradictions", "Contradictions", SECTION, needs=_needs_labels, also=("cycles",), mend="dedup: {on: prompt}",
       why="No model can be right about both; what it learns is the order of the rows.")
def contradictions(rows: Sequence[Row], context: Context) -> Iterator[Finding]:
    """Pairs judged both ways, single rows with two labels, and preferences that go in a circle."""
    graphs = _graphs(rows)
    both = [place for graph in graphs.values() for place in _both_ways(graph)] + list(_two_labels(rows))
    yield counted("contradictions", "Contradictions", "One answer was called both better and worse than another, or one text "
                  "got two labels.", _in_order(both, rows), max(len(rows), 1))
    if graphs:
        circles = [place for graph in graphs.values() for place in _circle(graph)]
        yield counted("cycles", "Preferences in a circle", "A is better than B, B than C, and C than A.",
                      _in_order(circles, rows), max(len(pairs(rows)), 1), unit="pairs", level=LOOK)


@check("label-noise", "Label noise", SECTION, needs=_needs_labels, mend="collect more votes a row; drop what is split evenly",
       why="A held-out accuracy above 1 - noise is a sign of leakage or of a shortcut, not of a good model.")
def label_noise(rows: Sequence[Row], context: Context) -> Finding:
    """From rows that were judged more than once: how often two judgements of the same thing differ.

    A row that a recipe's mixture took several times was judged once.
    """
    votes = [sorted(Counter(found).values()) for found in _judgements(parted(rows)[0]).values() if len(found) > 1]
    if len(votes) < LEAST:
        said = f"{len(votes)} judgements were repeated: too few to estimate noise."
        return Finding("label-noise", "Label noise", CLEAN, said)
    differ, pairs_of = np.array([(_disagreeing(vote), sum(vote) * (sum(vote) - 1) / 2) for vote in votes]).T
    noise = _noise(differ, pairs_of, context.seed)
    apart = wilson(float(differ.sum()), int(pairs_of.sum()))
    text = (f"{len(votes):,} things were judged more than once; two judgements differ in {apart.text(percent=True)}. "
            f"If each is wrong by chance alike, {noise.text(percent=True)} of the labels are wrong.")
    figures = (Figure("two judgements differ", apart), Figure("labels that are wrong", noise))
    return Finding("label-noise", "Label noise", LOOK if noise.low > 0.05 else CLEAN, text, total=len(votes),
                   unit="repeated judgements", figures=figures, measure=noise)


def noise_of(disagreement: float) -> float:
    """The error e of a binary label from the rate d at which two of one thing differ: d = 2e(1-e), e = (1 - sqrt(1-2d))/2."""
    return (1 - sqrt(max(0.0, 1 - 2 * disagreement))) / 2


def _noise(differ: np.ndarray, pairs_of: np.ndarray, seed: int) -> Interval:
    def of(draw_RP):
        rates = differ[draw_RP].sum(axis=1) / pairs_of[draw_RP].sum(axis=1)
        return (1 - np.sqrt(np.maximum(0.0, 1 - 2 * rates))) / 2

    return bootstrap(lambda: noise_of(differ.sum() / pairs_of.sum()), of, len(differ), seed)


def _disagreeing(votes: list[int]) -> float:
    return float(sum(one * other for one, other in combinations(votes, 2)))


def _judgements(rows: Sequence[Row]) -> dict[Hashable, list[Hashable]]:
    """All verdicts on each thing that was judged: a pair of answers to a prompt, an answer, a text."""
    found: dict[Hashable, list[Hashable]] = defaultdict(list)
    for pair in pairs(rows):
        sides = near.normal(pair.chosen), near.normal(pair.rejected)
        found[(pair.prompt, *sorted(sides))].append(sides[0])
    for row in rows:
        if row.label is not None:
            found[(row.prompt_key, *map(near.normal, row.answers.values()))].append(row.label)
    return found


def _graphs(rows: Sequence[Row]) -> dict[str, dict[Edge, list[Row]]]:
    """For each prompt the edges (better, worse) with their rows; pairs of equal answers are another check's."""
    found: dict[str, dict[Edge, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs(rows):
        edge = near.normal(pair.chosen), near.normal(pair.rejected)
        if edge[0] != edge[1]:
            found[pair.prompt][edge].append(pair.row)
    return found


def _both_ways(graph: dict[Edge, list[Row]]) -> Iterator[Place]:
    for (better, worse), held in graph.items():
        if against := graph.get((worse, better)):
            yield from (place(row, f"the opposite of {against[0].where}", "chosen") for row in held)


def _circle(graph: dict[Edge, list[Row]]) -> Iterator[Place]:
    """The rows of the shortest circle of three or more through each edge that lies on one, each row once."""
    next_of: dict[str, list[str]] = defaultdict(list)
    for better, worse in graph:
        next_of[better].append(worse)
    named = set()
    for (better, worse), held in graph.items():
        way = _way(worse, better, next_of) if len(next_of) > 2 else None
        if way and len(way) >= 3 and held[0].where not in named:
            others = ", ".join(graph[edge][0].where for edge in zip(way, way[1:], strict=False))
            named.add(held[0].where)
            yield place(held[0], f"in a circle with {others}", "chosen")


def _way(start: str, goal: str, next_of: dict[str, list[str]]) -> list[str] | None:
    """The shortest way of two steps or more from start to goal, breadth first; the direct step back is a contradiction."""
    ways, seen = [[start]], {start}
    while ways:
        way = ways.pop(0)
        for node in next_of.get(way[-1], ()):
            if node == goal and len(way) > 1:
                return [*way, node]
            if node not in seen and node != goal:
                seen.add(node)
                ways.append([*way, node])
    return None


def _two_labels(rows: Sequence[Row]) -> Iterator[Place]:
    held: dict[Hashable, list[Row]] = defaultdict(list)
    for row in rows:
        if row.label is not None:
            held[(row.prompt_key, *map(near.normal, row.answers.values()))].append(row)
    for found in held.values():
        labels = {str(row.label): row for row in reversed(found)}
        if len(labels) > 1:
            for row in found:
                other = next(other for label, other in labels.items() if label != str(row.label))
                yield place(row, f"labelled {row.label}, and {other.label} at {other.where}")


def _in_order(places: list[Place], rows: Sequence[Row]) -> list[Place]:
    order = {row.where: at for at, row in enumerate(rows)}
    return sorted(places, key=lambda place: order[place.where])


