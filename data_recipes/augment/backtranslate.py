"""Instruction back-translation: texts that people wrote become answers, and the generator writes what asks for them.

Li et al. 2023 (Humpback), arXiv:2308.06259: self-augmentation (section 2.2) and self-curation (section 2.3). As there, the
generator then rates each pair from 1 to 5 and only good ones stay; unlike there, one round is made and nothing is trained
in between.
Gates: the instruction has 3 to 150 words and does not repeat eight words of the answer in a row; the rating can be
read and reaches `least`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from data_recipes.augment.generator import Request
from data_recipes.augment.job import Job, Recipe, Stage, answer_of, others, parent, said, stage
from data_recipes.augment.novelty import Words
from data_recipes.records import Record

WORDS = (3, 150)
COPIED = 8  # words in a row
SCORE = re.compile(r"score:\s*([1-5])(?:\s*/\s*5)?\.?", re.IGNORECASE)
TEXTS = {
    "instruct": (
        "The text below answers a message that somebody sent to an assistant. Write that message: natural, complete, "
        "and without words of the answer in it where others do. Write only the message.\n\nText:\n{{text}}"
    ),
    "rate": (
        "Rate how well the answer below fits the message, as if an assistant had written it.\n"
        "1: off the point, or no answer. 2: in part, or much that was not asked for. 3: useful, but not written as an "
        "assistant's answer. 4: complete and to the point, small faults. 5: a perfect answer of an assistant.\n\n"
        "Message:\n{{prompt}}\n\nAnswer:\n{{text}}\n\n"
        "Give a short reason, then the last line: Score: N"
    ),
}


@dataclass(frozen=True)
class Settings:
    """count: instructions asked a text; the best rated one stays. least: rating from which a pair stays (5 in the paper)."""

    count: int = 1
    least: int = 4


@dataclass(frozen=True)
class Candidate:
    """A text, what would ask for it, and the question that gave it."""

    record: Record
    prompt: str
    request: Request


def run(job: Job) -> None:
    """Instructions for all texts, ratings for those that passed, the best of each text."""
    asked = [(row, _question(job, row, index, number)) for index, row in enumerate(job.rows)
             for number in range(job.settings.count)]
    texts = job.texts([request for _, request in asked], [row.where for row, _ in asked])
    found = [Candidate(row, text, request) for (row, request), text in zip(asked, texts, strict=True)
             if text and _passes(job, row, text)]
    best: dict[int, tuple[int, Candidate]] = {}
    for one, score in _rated(job, found):
        best_so_far = best.get(id(one.record))
        if best_so_far is None or score > best_so_far[0]:
            best[id(one.record)] = (score, one)
            one = best_so_far[1] if best_so_far else None
        if one:
            job.refuse(one.record.where, "not-the-best", "another instruction for this text is rated as high", one.prompt)
    for score, one in best.values():
        row = {"messages": [{"role": "user", "content": one.prompt}, *said(answer_of(one.record))], **others(one.record)}
        job.keep(row, one.record.where, [parent(one.record)], one.request.seed, rating=score)


def _question(job: Job, row: Record, index: int, number: int) -> Request:
    return job.request(job.wordings.fill("instruct", text=answer_of(row)), "instruct", index, number)


def _rating(job: Job, prompt: str, text: str) -> Request:
    return job.request(job.wordings.fill("rate", prompt=prompt, text=text), "rate", greedy=True)


def copied(prompt: str, text: str, length: int = COPIED) -> str:
    """The first `length` words in a row that a prompt shares with a text; empty where there are none."""
    words, other = Words().tokenize(prompt), Words().tokenize(text)
    known = {tuple(other[i : i + length]) for i in range(len(other) - length + 1)}
    runs = (tuple(words[i : i + length]) for i in range(len(words) - length + 1))
    return " ".join(next((run for run in runs if run in known), ()))


def _passes(job: Job, row: Record, text: str) -> bool:
    words, shared = len(Words().tokenize(text)), copied(text, answer_of(row))
    faults = (
        (not WORDS[0] <= words <= WORDS[1], "length", f"{words} words, not {WORDS[0]} to {WORDS[1]}"),
        (shared, "copies-answer", f"the instruction holds the answer's words {shared!r}"),
    )
    for broken, reason, detail in faults:
        if broken:
            job.refuse(row.where, reason, detail, text)
            return False
    return True


def _rated(job: Job, found: list[Candidate]) -> list[tuple[Candidate, int]]:
    """Candidates whose rating can be read and suffices."""
    requests = [_rating(job, one.prompt, answer_of(one.record)) for one in found]
    kept = []
    for one, text in zip(found, job.texts(requests, [one.record.where for one in found]), strict=True):
        if text is None:
            continue
        match = SCORE.fullmatch(text.splitlines()[-1].strip())
        if match is None:
            job.refuse(one.record.where, "unreadable", "the rating's last line is not 'Score: N'", text)
        elif int(match.group(1)) < job.settings.least:
            job.refuse(one.record.where, "low-rating", f"rated {match.group(1)} of 5", one.prompt)
        else:
            kept.append((one, int(match.group(1))))
    return kept


def plan(job: Job) -> list[Stage]:
    """An instruction and a rating for each text."""
    times = job.settings.count
    return [
        stage("instructions", [_question(job, row, 0, 0) for row in job.rows], times=times),
        stage("ratings", [_rating(job, "", answer_of(row)) for row in job.rows], times=times,
              more=job.sampling.max_new_tokens),
    ]


RECIPE = Recipe("backtranslate", ("demonstrations",), Settings, TEXTS, plan, run)
