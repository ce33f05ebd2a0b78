"""Judgements as the checks of preference rows see them: the better and the worse answer, or one answer and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from data_recipes.audit.model import Row
from data_recipes.intervals import Interval, bootstrap, bootstrap_ratio, wilson
from data_recipes.records import Comparison, Unpaired

LEAST = 20  # pairs, or answers of either verdict, below which no rate is given


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt. prompt: its key; pairs of one prompt are no independent evidence."""

    row: Row
    prompt: str
    chosen: str
    rejected: str


def pairs(rows: Sequence[Row]) -> list[Pair]:
    """All comparisons."""
    return [Pair(row, row.prompt_key, row.answers["chosen"], row.answers["rejected"])
            for row in rows if isinstance(row.record, Comparison)]


def verdicts(rows: Sequence[Row]) -> list[Row]:
    """All single answers that were called good or bad."""
    return [row for row in rows if isinstance(row.record, Unpaired)]


def needs_judged(rows: Sequence[Row], context: object) -> str:
    """For checks that need enough judgements."""
    found = verdicts(rows)
    good = sum(row.label for row in found)
    enough = len(pairs(rows)) >= LEAST or min(good, len(found) - good) >= LEAST
    return "" if enough else f"{LEAST} preference pairs, or as many good and as many bad answers"


def win_rate(wins: Sequence[float], prompts: Sequence[str], seed: int) -> Interval:
    """The share of wins (a tie counts half): Wilson's interval, or the bootstrap over prompts where prompts have several."""
    if len(set(prompts)) == len(prompts):
        return wilson(float(sum(wins)), len(wins))
    totals: dict[str, list[float]] = {}
    for prompt, win in zip(prompts, wins, strict=True):
        held = totals.setdefault(prompt, [0.0, 0.0])
        held[0], held[1] = held[0] + win, held[1] + 1
    sums, counts = np.array(list(totals.values())).T
    return bootstrap_ratio(sums, counts, seed=seed)


def auc(scores: Sequence[float], good: Sequence[bool], seed: int) -> Interval:
    """P(a good answer scores higher than a bad one), ties half (Mann and Whitney 1947); bootstrap over answers."""
    scores_N, good_N = np.asarray(scores, float), np.asarray(good, bool)

    def of(draw_RP):
        return np.array([_auc(scores_N[draw], good_N[draw]) for draw in draw_RP])

    return bootstrap(lambda: _auc(scores_N, good_N), of, len(scores_N), seed, resamples=500)


def _auc(scores: np.ndarray, good: np.ndarray) -> float:
    from scipy.stats import rankdata

    count = int(good.sum())
    if count in (0, len(good)):
        return 0.5  # a draw with one verdict alone says nothing
    return float((rankdata(scores)[good].sum() - count * (count + 1) / 2) / (count * (len(good) - count)))


def rate(rows: Sequence[Row], measure: Callable[[str], float], seed: int) -> Interval | None:
    """How often the answer that has more of something is the better one, over those that differ in it.

    None where fewer than LEAST differ. For verdicts: the AUC of the measure.
    """
    if found := pairs(rows):
        differ = [(pair, gap) for pair in found if (gap := measure(pair.chosen) - measure(pair.rejected))]
        if len(differ) < LEAST:
            return None
        return win_rate([float(gap > 0) for _, gap in differ], [pair.prompt for pair, _ in differ], seed)
    scores = [measure(next(iter(row.answers.values()))) for row in verdicts(rows)]
    if sum(bool(score) for score in scores) < LEAST or len(set(scores)) < 2:
        return None
    return auc(scores, [row.label for row in verdicts(rows)], seed)


def folds(prompts: Sequence[str], count: int = 5) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Splits (train, test) of positions in which a prompt is on one side only; nothing is drawn, so nothing varies."""
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompts))}
    fold = np.array([numbers[prompt] % count for prompt in prompts])
    for one in range(count):
        yield np.flatnonzero(fold != one), np.flatnonzero(fold == one)
