"""Pairs labelled by a judge: which of a prompt's answers is better, asked in both orders.

Zheng et al. 2023, arXiv:2306.05685, section 3.4 (position bias, and swapping against it); RLAIF (Lee et al. 2023,
arXiv:2309.00267, section 3.1) labels pairs so. Where the paper calls a changed verdict a tie, the pair is refused here:
nothing is learned from a label that the order made.
Rows: `prompt` with `responses` (what `align generate --samples 2` writes), or pairs, which are labelled anew.
Gates: both verdicts can be read, both orders agree, and it is no tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from data_recipes.augment.job import Job, Recipe, Stage, others, parent, prompt_of, said, stage
from data_recipes.records import Comparison, Record

NOT_OURS = ("responses", "sources", "generation")


@dataclass(frozen=True)
class Settings:
    """most: pairs of one prompt's answers that are judged at most, the first ones (0: all)."""

    most: int = 0


def run(job: Job) -> None:
    """Judges all pairs and keeps those with a winner."""
    found = cases(job)
    verdicts = job.judge([(prompt_of(row), first, second) for row, first, second in found])
    for (row, first, second), verdict in zip(found, verdicts, strict=True):
        if verdict.winner not in ("first", "second"):
            reason = "tie" if verdict.winner == "tie" else verdict.why
            job.refuse(row.where, reason, "asked both ways, nothing was preferred", [first, second])
            continue
        better, worse = (first, second) if verdict.winner == "first" else (second, first)
        made = {"prompt": prompt_of(row), "chosen": said(better), "rejected": said(worse)}
        job.keep({**made, **_others(row)}, row.where, [parent(row)], job.seed)


def cases(job: Job, *, count: bool = True) -> list[tuple[Record, str, str]]:
    """All pairs of different answers; what has none is refused, where it is to be counted."""
    found = []
    for row in job.rows:
        texts = list(dict.fromkeys(text.strip() for text in _responses(row)))
        pairs = list(combinations([text for text in texts if text], 2))
        if not pairs and count:
            job.refuse(row.where, "one-answer", "the row has no two different answers")
        found += [(row, *pair) for pair in pairs[: job.settings.most or None]]
    return found


def _responses(row: Record) -> list[str]:
    if isinstance(row, Comparison):
        return [row.chosen[0].content, row.rejected[0].content]
    given = row.extra.get("responses")
    return [text for text in given if isinstance(text, str)] if isinstance(given, list) else []


def _others(row: Record) -> dict:
    return {name: value for name, value in others(row).items() if name not in NOT_OURS}


def plan(job: Job) -> list[Stage]:
    """Two questions a pair."""
    asked = [one for row, first, second in cases(job, count=False)
             for one in job.judge.requests((prompt_of(row), first, second))]
    return [stage("verdicts", asked)]


RECIPE = Recipe("judge-pairs", ("comparisons", "prompts"), Settings, {}, plan, run, needs="judge")
