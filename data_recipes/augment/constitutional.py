"""Constitutional critique and revision: an answer, what is wrong with it by a principle, and the better one; as pairs.

Bai et al. 2022, arXiv:2212.08073, section 3.1. As there a principle is drawn for each revision, and a revision may be
revised again (`rounds`). Unlike there the revision is preferred to the first answer directly, without a preference
model's vote in between; run `judge-pairs` over the file for one.
A row's own answer is the first one where it has one; else the generator gives it.
Gates: the revision differs (ROUGE-L at most `most_alike`), is an answer and no talk about one, and is at most
`growth` times as long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from data_recipes.augment.generator import MESSAGE_TOKENS, Request, text_bound
from data_recipes.augment.job import Job, Recipe, Stage, answer_of, others, parent, prompt_of, said, stage
from data_recipes.augment.novelty import Words, rouge_l
from data_recipes.augment.wording import Wordings
from data_recipes.errors import Refused
from data_recipes.records import Record
from data_recipes.seeds import row_seed
from data_recipes.strict_yaml import read_file

# A first line such as "Here is the revised answer:", or a heading of the exercise itself.
TALK = re.compile(r"\A\s*[\W_]*(?:(?:sure|certainly|of course|here (?:is|are)|here's)\b[^\n]*:\s*\n|"
                  r"(?:revision|revised (?:answer|response)|rewritten (?:answer|response)|critique)\b)", re.IGNORECASE)
TEXTS = {
    "critique": "Say briefly what is wrong with your last answer by this principle, and nothing else:\n{{principle}}",
    "revise": "Now write the answer again so that it keeps the principle:\n{{principle}}\n"
              "Write only the new answer, as if it were the first one.",
}
PRINCIPLES = {
    "harmless": "The answer does not help anybody to harm people, animals or property, and says so without a sermon.",
    "honest": "The answer says only what is known to be so, and says what is not known.",
    "helpful": "The answer gives what was asked for, completely, and nothing that was not asked for.",
    "kind": "The answer is polite, and neither blames nor mocks the person who asks.",
    "brief": "The answer is as short as it can be without leaving out what was asked for.",
}


@dataclass(frozen=True)
class Settings:
    """rounds: revisions of each answer. constitution: YAML file of principles by name; the built-in ones without it.
    most_alike: ROUGE-L above which nothing was revised. growth: how many times as long a revision may be."""

    rounds: int = 1
    constitution: str = ""
    most_alike: float = 0.95
    growth: float = 3.0


@dataclass
class Case:
    """A row on its way: its first answer, its newest one, the principles so far."""

    record: Record
    index: int
    first: str
    answer: str
    principles: list[str]
    seed: int


def principles(path: str) -> dict[str, str]:
    """Principles by name. Raises Refused where the file holds something else."""
    if not path:
        return PRINCIPLES
    found, lines = read_file(path)
    if not found:
        raise Refused("the constitution has no principle", where=path, expected="lines such as `honest: The answer ...`")
    for name, text in found.items():
        if not isinstance(text, str) or not text.strip():
            raise Refused(f"the principle '{name}' is no text", where=f"{path}:{lines[(name,)]}")
    return found


def run(job: Job) -> None:
    """First answers, then rounds of critique and revision, then the gates on the last revision."""
    known = principles(job.settings.constitution)
    job.wordings = Wordings({**job.wordings.texts, **{f"principle {name}": text for name, text in known.items()}})
    cases = _first(job)
    for number in range(job.settings.rounds):
        cases = _revise(job, cases, number, known)
    for case in cases:
        if _passes(job, case):
            row = {"prompt": prompt_of(case.record), "chosen": said(case.answer), "rejected": said(case.first)}
            job.keep({**row, **others(case.record)}, case.record.where, [parent(case.record)], case.seed,
                     principles=case.principles)


def _first(job: Job) -> list[Case]:
    asked = {index: job.request(prompt_of(row), "answer", index)
             for index, row in enumerate(job.rows) if answer_of(row) is None}
    texts = job.texts(list(asked.values()), [job.rows[index].where for index in asked])
    given = dict(zip(asked, texts, strict=True))
    cases = []
    for index, row in enumerate(job.rows):
        text = given[index] if index in given else answer_of(row).strip()
        if text:
            cases.append(Case(row, index, text, text, [], asked[index].seed if index in asked else job.seed))
    return cases


def _revise(job: Job, cases: list[Case], number: int, known: dict[str, str]) -> list[Case]:
    """One critique and one revision of each; what got no usable answer leaves the line."""
    drawn = {case.index: _draw(job, case, number, known) for case in cases}
    asked = [_critique(job, case, number, known[drawn[case.index]]) for case in cases]
    critiques = job.texts(asked, [case.record.where for case in cases])
    criticised = [(case, request, text) for case, request, text in zip(cases, asked, critiques, strict=True) if text]
    revisions = [_revision(job, case, number, known[drawn[case.index]], request, text)
                 for case, request, text in criticised]
    texts = job.texts(revisions, [case.record.where for case, _, _ in criticised])
    kept = []
    for (case, _, _), request, text in zip(criticised, revisions, texts, strict=True):
        if text:
            case.answer, case.seed = text, request.seed
            case.principles.append(drawn[case.index])
            kept.append(case)
    return kept


def _draw(job: Job, case: Case, number: int, known: dict[str, str]) -> str:
    names = list(known)
    left = [name for name in names if name not in case.principles] or names
    return left[row_seed(job.seed, "principle", case.index, number) % len(left)]


def _critique(job: Job, case: Any, number: int, principle: str) -> Request:
    question = {"role": "user", "content": job.wordings.fill("critique", principle=principle)}
    return job.request([*prompt_of(case.record), *said(case.answer), question], "critique", case.index, number)


def _revision(job: Job, case: Case, number: int, principle: str, asked: Request, critique: str) -> Request:
    question = {"role": "user", "content": job.wordings.fill("revise", principle=principle)}
    return job.request([*asked.messages, *said(critique), question], "revise", case.index, number)


def _passes(job: Job, case: Case) -> bool:
    alike, before, words = rouge_l(case.first, case.answer), *(len(Words().tokenize(t)) for t in (case.first, case.answer))
    faults = (
        (alike > job.settings.most_alike, "not-changed", f"ROUGE-L {alike:.2f} to the first answer"),
        (TALK.search(case.answer), "talks-about-it", "the revision speaks of itself"),
        (words > job.settings.growth * max(before, 10), "too-long", f"{words} words, where the first answer has {before}"),
    )
    for broken, reason, detail in faults:
        if broken:
            job.refuse(case.record.where, reason, detail, case.answer)
            return False
    return True


def plan(job: Job) -> list[Stage]:
    """An answer where the row has none, and two questions a round, each with all that was said before it."""
    known, most = principles(job.settings.constitution), job.sampling.max_new_tokens
    principle = max(known.values(), key=lambda text: len(text.encode()))
    unanswered = [job.request(prompt_of(row), "answer") for row in job.rows if answer_of(row) is None]
    cases = [Case(row, 0, "", answer_of(row) or "", [], 0) for row in job.rows]
    asked = [_critique(job, case, 0, principle) for case in cases]
    more = most + text_bound(job.wordings.fill("revise", principle=principle)) + MESSAGE_TOKENS
    rounds = job.settings.rounds
    return [*([stage("answers", unanswered)] if unanswered else []),
            stage("critiques", asked, times=rounds, more=most), stage("revisions", asked, times=rounds, more=most + more)]


RECIPE = Recipe("constitutional", ("demonstrations", "prompts"), Settings, TEXTS, plan, run)
