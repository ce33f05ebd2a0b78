"""Best of n: several answers to each prompt, scored by a reward run or a rule.

`to=sft` keeps the best one: rejection sampling, as in RAFT (Dong et al. 2023, arXiv:2304.06767) and WebGPT (Nakano et al.
2021, arXiv:2112.09332, section 3.2). `to=pairs` keeps the best over the worst: West-of-N (Pace et al. 2024,
arXiv:2401.12086, section 3). What is taken from a reward is measured by another one, or by people.
Gates: at least two different whole answers; the best reaches `least`; for pairs best and worst are `gap` apart, and for
rows to imitate the best is better than the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_recipes.augment.generator import Request
from data_recipes.augment.job import Job, Recipe, Stage, others, parent, prompt_of, said, stage
from data_recipes.errors import Refused
from data_recipes.records import Record

TO = ("sft", "pairs")


@dataclass(frozen=True)
class Settings:
    """n: answers a prompt. to: sft or pairs. least: score that the best must reach. gap: least distance of a pair's scores."""

    n: int = 4
    to: str = "sft"
    least: float | None = None
    gap: float = 0.0

    def __post_init__(self) -> None:
        if self.to not in TO or self.n < 2:
            raise Refused(f"to={self.to}, n={self.n}", where="--set", expected=f"to one of {', '.join(TO)}; n 2 or more")


def run(job: Job) -> None:
    """Asks for all answers, scores them in one call, and takes what the scores say."""
    asked = [[_question(job, row, index, number) for number in range(job.settings.n)] for index, row in enumerate(job.rows)]
    answers = iter(job.ask([request for requests in asked for request in requests]))
    whole = [[(request, job.usable(next(answers), row.where)) for request in requests]
             for row, requests in zip(job.rows, asked, strict=True)]
    found = [_different(job, row, pairs) for row, pairs in zip(job.rows, whole, strict=True)]
    scores = iter(_scores(job, found))
    for row, texts in zip(job.rows, found, strict=True):
        _choose(job, row, sorted(((next(scores), text, request) for text, request in texts.items()),
                                 key=lambda one: -one[0]))


def _question(job: Job, row: Record, index: int, number: int) -> Request:
    return job.request(prompt_of(row), "answer", index, number)


def _different(job: Job, row: Record, pairs: list[tuple[Request, str | None]]) -> dict[str, Request]:
    """Usable answers, equal ones once."""
    texts: dict[str, Request] = {}
    for request, text in pairs:
        if text in texts:
            job.refuse(row.where, "same-answer", "another answer to this prompt is the same", text)
        elif text:
            texts[text] = request
    return texts


def _scores(job: Job, found: list[dict[str, Request]]) -> list[float]:
    """One number an answer, all in one call as TRL calls reward functions."""
    flat = [(row, text) for row, texts in zip(job.rows, found, strict=True) for text in texts]
    if not flat:
        return []
    names = dict.fromkeys(name for row in job.rows for name in row.extra)
    columns = {name: [row.extra.get(name) for row, _ in flat] for name in names if name not in ("prompts", "completions")}
    columns["stopped"] = [True] * len(flat)  # cut answers were refused before
    return job.score([prompt_of(row) for row, _ in flat], [said(text) for _, text in flat], **columns)


def _choose(job: Job, row: Record, ranked: list[tuple[float, str, Request]]) -> None:
    """The best answer, or the best and the worst; every other one is refused by name of the gate."""
    if not ranked:
        return
    (best, text, request), (worst, last, _) = ranked[0], ranked[-1]
    mean = sum(score for score, _, _ in ranked) / len(ranked)
    pairs, how = job.settings.to == "pairs", job.settings
    faults = (
        (len(ranked) < 2, "one-answer", "nothing to choose from"),
        (how.least is not None and best < (how.least or 0), "low-score", f"the best has {best:.4g}, not {how.least}"),
        (best <= mean, "no-difference", f"all answers have {best:.4g}"),
        (pairs and best - worst < how.gap, "small-gap", f"best and worst are {best - worst:.4g} apart, not {how.gap:g}"),
    )
    reason, detail = next(((reason, detail) for broken, reason, detail in faults if broken), ("", ""))
    spare = ranked if reason else ranked[1:-1] if pairs else ranked[1:]
    for score, other, _ in spare:
        job.refuse(row.where, reason or "not-chosen", detail or f"score {score:.4g}", other)
    if reason:
        return
    if pairs:
        made = {"prompt": prompt_of(row), "chosen": said(text), "rejected": said(last), **others(row)}
    else:
        made = {"messages": [*prompt_of(row), *said(text)], **others(row)}
    more = {"scores": [best, worst]} if pairs else {"score": best}
    job.keep(made, row.where, [parent(row)], request.seed, **more)


def plan(job: Job) -> list[Stage]:
    """n answers a prompt."""
    return [stage("answers", [_question(job, row, 0, 0) for row in job.rows], times=job.settings.n)]


RECIPE = Recipe("best-of-n", ("prompts",), Settings, {}, plan, run, needs="score", draws=True)
