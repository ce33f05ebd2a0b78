"""Self-Instruct: new instructions in the manner of the seeds, then answers to them.

Wang et al. 2022, arXiv:2212.10560. A round shows some seeds and some instructions made before (6 and 2 in the paper) and
asks for more. Differences: instructions come as a list from a chat model, classification tasks are not told apart, and
one answer is asked for each instruction.
Gates: 3 to 150 words; nothing that text cannot do (images, files, drawing); ROUGE-L below 0.7 to every seed and to every
instruction kept so far; then the answer is whole.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from data_recipes.augment.generator import MESSAGE_TOKENS, Request
from data_recipes.augment.job import Job, Recipe, Stage, parent, prompt_of, said
from data_recipes.augment.novelty import Pool, Words
from data_recipes.files import sha256_json
from data_recipes.seeds import row_seed

ITEM = re.compile(r"^\s*(?:task\s*)?\d+\s*[.):]\s*(\S.*)$", re.IGNORECASE)
# The paper's list (its code, `generate_instructions`): what a model without eyes and hands cannot do.
NOT_FOR_TEXT = re.compile(r"\b(images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE)
WORDS = (3, 150)
TEXTS = {
    "instruct": (
        "Below are messages that people sent to an assistant.\n\n{{examples}}\n\n"
        "Write {{count}} new messages of the same kind, each about something else, each understandable by itself. "
        "Write them as a numbered list, one message a line, and nothing else."
    ),
}


@dataclass(frozen=True)
class Settings:
    """count: rows wanted. per_request: new instructions a question. shots, made_shots: seeds and made ones shown.
    novelty: ROUGE-L from which a text is not new. answer: also ask for answers. rounds: at most (0: as many as would do
    if one instruction in four passed). parallel: questions a round."""

    count: int = 100
    per_request: int = 4
    shots: int = 6
    made_shots: int = 2
    novelty: float = 0.7
    answer: bool = True
    rounds: int = 0
    parallel: int = 8


@dataclass(frozen=True)
class Instruction:
    """A text, with what was shown for it and the seed of the question."""

    text: str
    parents: tuple[dict, ...]
    seed: int


def run(job: Job) -> None:
    """Rounds until there are enough instructions or the last round is over; then answers."""
    pool, found = Pool(prompt_of(row)[-1]["content"] for row in job.rows), []
    for number in range(_rounds(job.settings)):
        if len(found) >= job.settings.count:
            break
        found += _round(job, number, pool, found)
    found = found[: job.settings.count]
    (_answers if job.settings.answer else _prompts)(job, found)


def _round(job: Job, number: int, pool: Pool, found: list[Instruction]) -> list[Instruction]:
    """One round's questions; their answers pass the gates in order, so that their speed decides nothing."""
    asked = [_question(job, number, index, found) for index in range(job.settings.parallel)]
    where = [f"round {number + 1}, question {index + 1}" for index in range(len(asked))]
    kept = []
    room = job.settings.count - len(found)
    for text, (request, parents), place in zip(job.texts([one for one, _ in asked], where), asked, where, strict=True):
        for line in _items(job, text, place) if text else ():
            if len(kept) == room:
                job.refuse(place, "not-needed", "there were enough before it", line)
            elif _passes(job, line, place, pool):
                pool.add(line)
                kept.append(Instruction(line, parents, request.seed))
    return kept


def _question(job: Job, number: int, index: int, found: list[Instruction]) -> tuple[Request, tuple[dict, ...]]:
    rng = random.Random(row_seed(job.seed, "shots", number, index))
    made = rng.sample(found, min(job.settings.made_shots, len(found)))
    seeds = rng.sample(job.rows, min(job.settings.shots, len(job.rows)))
    shown = [(prompt_of(row)[-1]["content"], parent(row)) for row in seeds]
    shown += [(one.text, {"where": "made", "sha256": sha256_json(_as_prompt(one.text))}) for one in made]
    rng.shuffle(shown)
    examples = "\n".join(f"{place}. {' '.join(text.split())}" for place, (text, _) in enumerate(shown, 1))
    text = job.wordings.fill("instruct", examples=examples, count=str(job.settings.per_request))
    return job.request(text, "instruct", number, index), tuple(origin for _, origin in shown)


def _items(job: Job, text: str, where: str) -> list[str]:
    found = [match.group(1).strip().strip('"') for line in text.splitlines() if (match := ITEM.match(line))]
    if not found:
        job.refuse(where, "unreadable", "the answer is no numbered list", text)
    return found


def _passes(job: Job, text: str, where: str, pool: Pool) -> bool:
    words = len(Words().tokenize(text))
    nearest = pool.nearest(text, job.settings.novelty)
    faults = (
        (words < WORDS[0], "too-short", f"{words} words"),
        (words > WORDS[1], "too-long", f"{words} words"),
        (NOT_FOR_TEXT.search(text), "not-for-text", "it asks for what a text cannot do"),
        (nearest[1], "not-novel", f"ROUGE-L {nearest[0]:.2f} to {nearest[1][:80]!r}"),
    )
    for broken, reason, detail in faults:
        if broken:
            job.refuse(where, reason, detail, text)
            return False
    return True


def _answers(job: Job, found: list[Instruction]) -> None:
    requests = [job.request(one.text, "answer", number) for number, one in enumerate(found)]
    where = [f"instruction {number + 1}" for number in range(len(found))]
    for one, request, text, place in zip(found, requests, job.texts(requests, where), where, strict=True):
        if text:
            row = {"messages": _as_prompt(one.text) + said(text)}
            job.keep(row, place, one.parents, request.seed, instruction_seed=one.seed)


def _prompts(job: Job, found: list[Instruction]) -> None:
    for number, one in enumerate(found):
        job.keep({"prompt": _as_prompt(one.text)}, f"instruction {number + 1}", one.parents, one.seed)


def _as_prompt(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def _rounds(settings: Settings) -> int:
    each = settings.per_request * settings.parallel
    return settings.rounds or max(1, -(-4 * settings.count // each))


def plan(job: Job) -> list[Stage]:
    """All rounds with the longest seeds in each question, and an answer to each instruction."""
    how, most = job.settings, job.sampling.max_new_tokens
    longest = sorted((len(prompt_of(row)[-1]["content"].encode()) for row in job.rows), reverse=True)[: how.shots]
    bound = sum(longest) + 8 * (how.shots + how.made_shots) + how.made_shots * most + len(job.wordings.texts["instruct"])
    questions = _rounds(how) * how.parallel
    stages = [Stage("instructions", questions, questions * (bound + 2 * MESSAGE_TOKENS), questions * most)]
    if how.answer:
        stages.append(Stage("answers", how.count, how.count * (most + 2 * MESSAGE_TOKENS), how.count * most))
    return stages


RECIPE = Recipe("self-instruct", ("prompts",), Settings, TEXTS, plan, run)
