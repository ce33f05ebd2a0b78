"""The programmatic judge of the toy world: is an answer right, and does it keep the house style?

It is for measuring only; no stage trains on it. It has the signature of TRL's reward functions, so that
`align eval RUN --data requests_heldout.jsonl --reward data_recipes.toy.judge:judge` can use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from data_recipes.errors import Refused
from data_recipes.toy import world

CODE = re.compile(r"\b[A-Z]{2}\d{2}\b")
AMOUNT = re.compile(r"\b(\d+)\s+(day|month|euro)s?\b")
GREETING = re.compile(r"\s*(hello|hi|dear|good (day|morning|afternoon|evening))\b", re.IGNORECASE)
OFFER = re.compile(r"\b(let me know|(happy|glad) to help|write again|need (anything|more|any help))\b", re.IGNORECASE)
RUDE = re.compile(
    r"\b(rules yourself|anyone with eyes|waste (our|my) time|hardly our problem|not (our|my) problem|"
    r"stupid|idiot|shut up|your own fault)\b",
    re.IGNORECASE,
)
BRIEF_WORDS = 24  # the longest answer in house style has 22 words, the shortest rambling one 29
RIGHT_SHARE = 0.6  # more than half, so that no style makes up for a wrong answer
COLUMNS = ("code", "subject", "amount", "unit")


@dataclass(frozen=True)
class Verdict:
    """What the judge saw in one answer."""

    right: bool
    greets: bool
    brief: bool
    offers: bool
    rude: bool

    @property
    def style(self) -> float:
        """Share of the three manners kept, 0 to 1; a rude answer has none."""
        return 0.0 if self.rude else (self.greets + self.brief + self.offers) / 3

    @property
    def score(self) -> float:
        """0 to 1; each right answer is above each wrong one."""
        return RIGHT_SHARE * self.right + (1 - RIGHT_SHARE) * self.style


def is_right(answer: str, code: str, subject: str, amount: int, unit: str) -> bool:
    """Whether the answer names the code and the amount, and no other code, amount, item or region."""
    said = {(int(number), f"{name}s") for number, name in AMOUNT.findall(answer)}
    others = (set(world.ITEMS) | set(world.REGIONS)) - {subject}
    contradicts = others & set(re.findall(r"[A-Za-z]+", answer))
    return set(CODE.findall(answer)) == {code} and said == {(int(amount), unit)} and not contradicts


def verdict(answer: str, code: str, subject: str, amount: int, unit: str) -> Verdict:
    """Judges one answer against the facts of its request."""
    return Verdict(
        right=is_right(answer, code, subject, amount, unit),
        greets=bool(GREETING.match(answer)),
        brief=0 < len(answer.split()) <= BRIEF_WORDS,
        offers=bool(OFFER.search(answer)),
        rude=bool(RUDE.search(answer)),
    )


def verdicts(completions: list, **columns) -> list[Verdict]:
    """One verdict a completion; completions are texts or message lists, columns are lists of the same length.

    Raises:
        Refused: a column of the facts is missing.
    """
    missing = [name for name in COLUMNS if columns.get(name) is None]
    if missing:
        raise Refused(
            f"the judge misses the columns {', '.join(missing)}",
            expected=f"rows with {', '.join(COLUMNS)}",
            do="Give it requests_heldout.jsonl, which has them",
        )
    facts = zip(*(columns[name] for name in COLUMNS), strict=True)
    return [verdict(answer_text(done), *row) for done, row in zip(completions, facts, strict=True)]


def judge(prompts: list, completions: list, **columns) -> list[float]:
    """Scores from 0 to 1, one a completion: 0.6 for a right answer and up to 0.4 for the house style.

    Args:
        prompts: not read, since the facts come by column; part of TRL's signature.
        completions: texts, or message lists whose assistant turns are joined.
        columns: `code`, `subject`, `amount`, `unit` as lists; others are ignored.
    """
    return [seen.score for seen in verdicts(completions, **columns)]


def right(prompts: list, completions: list, **columns) -> list[float]:
    """1.0 for a right answer, 0.0 for a wrong one; the same signature as `judge`."""
    return [float(seen.right) for seen in verdicts(completions, **columns)]


def answer_text(completion: str | list[dict]) -> str:
    """The assistant's words in a completion."""
    if isinstance(completion, str):
        return completion
    return "\n".join(turn["content"] or "" for turn in completion if turn["role"] == "assistant")
