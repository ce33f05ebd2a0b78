"""Paraphrase of prompts: the same question in other words, with the answer that the row has already.

Yu et al. 2023 (MetaMath), arXiv:2309.12284, section 3.2 ("rephrasing"). The paper keeps a rephrased question where a
model's answer to it is the known one; without a checkable answer we ask whether the two ask for the same thing, both
ways round, and keep it where both are yes.
Gates: every number, code, address and quotation is still there; not a copy (ROUGE-L at most `most_alike` to the original
and to its other paraphrases); half to twice as long; the same meaning.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from data_recipes.augment.generator import Request
from data_recipes.augment.job import Job, Recipe, Stage, others, parent, prompt_of, stage
from data_recipes.augment.novelty import Pool, Words
from data_recipes.records import Demonstration, Record

# What may not change: links and mail addresses, what stands in quotation marks, words with a digit in them.
FIXED = re.compile(r"https?://\S+|[\w.+-]+@[\w-]+\.\w+|\"[^\"\n]+\"|“[^”\n]+”|`[^`\n]+`|[\w.,:/-]*\d[\w.,:/-]*")
TEXTS = {
    "rewrite": (
        "Rewrite the message below in other words, in the same language. Keep its meaning exactly, and every name, "
        "number, code and quotation as it stands. Write only the rewritten message.\n\nMessage:\n{{prompt}}"
    ),
    "same": (
        "Do these two messages ask for exactly the same thing? Answer with one word, yes or no.\n\n"
        "First message:\n{{first}}\n\nSecond message:\n{{second}}"
    ),
}


@dataclass(frozen=True)
class Settings:
    """count: paraphrases asked a row. most_alike: ROUGE-L above which it is a copy. check: ask whether the meaning stayed."""

    count: int = 2
    most_alike: float = 0.9
    check: bool = True


@dataclass(frozen=True)
class Candidate:
    """A row, what it would ask instead, and the question that gave it."""

    record: Record
    text: str
    request: Request


def run(job: Job) -> None:
    """Asks for all paraphrases, then for the meaning of those that passed the other gates."""
    asked = [(row, _question(job, row, index, number)) for index, row in enumerate(job.rows)
             for number in range(job.settings.count)]
    texts = job.texts([request for _, request in asked], [row.where for row, _ in asked])
    found, pools = [], {}
    for (row, request), text in zip(asked, texts, strict=True):
        pool = pools.setdefault(id(row), Pool([_last(row)]))
        if text and _passes(job, row, text, pool):
            pool.add(text)
            found.append(Candidate(row, text, request))
    for one in _same_meaning(job, found) if job.settings.check else found:
        job.keep(_row(one.record, one.text), one.record.where, [parent(one.record)], one.request.seed)


def _question(job: Job, row: Record, index: int, number: int) -> Request:
    return job.request(job.wordings.fill("rewrite", prompt=_last(row)), "rewrite", index, number)


def _last(row: Record) -> str:
    return prompt_of(row)[-1]["content"]


def fixed_parts(text: str) -> Counter:
    """What a paraphrase may not touch, punctuation at the ends left out."""
    return Counter(found.strip(".,:;!?\"“”`'") for found in FIXED.findall(text))


def _passes(job: Job, row: Record, text: str, pool: Pool) -> bool:
    before, words = len(Words().tokenize(_last(row))), len(Words().tokenize(text))
    lost = fixed_parts(_last(row)) - fixed_parts(text)
    added = fixed_parts(text) - fixed_parts(_last(row))
    alike = pool.nearest(text)[0]
    faults = (
        (lost, "lost-detail", f"not there any more: {', '.join(lost)}"),
        (added, "added-detail", f"not in the original: {', '.join(added)}"),
        (alike > job.settings.most_alike, "copy", f"ROUGE-L {alike:.2f} to the original or another paraphrase"),
        (not before / 2 <= words <= before * 2 + 3, "length", f"{words} words, where the original has {before}"),
    )
    for broken, reason, detail in faults:
        if broken:
            job.refuse(row.where, reason, detail, text)
            return False
    return True


def _same_meaning(job: Job, found: list[Candidate]) -> list[Candidate]:
    """Those for which both orders of the question are answered yes."""
    asked = [request for one in found for request in _meaning(job, _last(one.record), one.text)]
    answers = job.ask(asked)
    kept = []
    for one, forward, backward in zip(found, answers[::2], answers[1::2], strict=True):
        texts = [answer.text.strip().strip(".").casefold() for answer in (forward, backward)]
        if fault := next((answer.fault() for answer in (forward, backward) if answer.fault()[0]), None):
            job.refuse(one.record.where, *fault, one.text)
        elif texts == ["yes", "yes"]:
            kept.append(one)
        else:
            job.refuse(one.record.where, "meaning", f"asked both ways: {texts[0][:20]!r}, {texts[1][:20]!r}", one.text)
    return kept


def _meaning(job: Job, first: str, second: str) -> list[Request]:
    ways = ((first, second), (second, first))
    return [job.request(job.wordings.fill("same", first=a, second=b), "same", greedy=True) for a, b in ways]


def _row(record: Record, text: str) -> dict:
    prompt = [*prompt_of(record)[:-1], {**prompt_of(record)[-1], "content": text}]
    if isinstance(record, Demonstration):
        return {"messages": [*prompt, record.messages[-1].as_dict()], **others(record)}
    return {"prompt": prompt, **others(record)}


def plan(job: Job) -> list[Stage]:
    """All paraphrases; then, for each, the question of its meaning both ways."""
    stages = [stage("paraphrases", [_question(job, row, 0, 0) for row in job.rows], times=job.settings.count)]
    if job.settings.check:
        known = [_meaning(job, _last(row), "")[0] for row in job.rows]
        stages.append(stage("meaning", known, times=2 * job.settings.count, more=job.sampling.max_new_tokens))
    return stages


RECIPE = Recipe("paraphrase", ("demonstrations", "prompts"), Settings, TEXTS, plan, run, draws=True)
