"""A small support desk: its rules, what customers ask, and how a right answer reads.

The rules (refund days, warranty months, shipping days and cost) are fixed, because the shipped base model was
pretrained on prose about them; a seed draws orders, requests and wording. Each request has one right answer: the order
code, copied from the request, and one amount, taken from the rules. Nothing here needs more than the standard library.

Order codes are two capital letters and two digits. The tokenizer gives each half one token, since a model of a million
parameters copies two tokens long before it copies four single digits.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

# category: (refund in days, warranty in months, items)
CATEGORIES = {
    "kitchen": (30, 24, ("kettle", "toaster", "pan", "blender")),
    "garden": (14, 12, ("rake", "hose", "spade", "lantern")),
    "clothing": (60, 6, ("coat", "scarf", "jumper", "belt")),
    "electronics": (10, 36, ("radio", "camera", "phone", "speaker")),
    "toys": (21, 18, ("puzzle", "kite", "doll", "robot")),
    "books": (45, 3, ("atlas", "novel", "diary", "cookbook")),
}
# region: (shipping in days, shipping in euros)
REGIONS = {
    "Norvale": (2, 4),
    "Eastmoor": (3, 7),
    "Southbay": (4, 9),
    "Westhill": (5, 5),
    "Lakeside": (6, 8),
    "Highfen": (7, 12),
    "Oldport": (8, 15),
    "Greenford": (9, 11),
}
ITEMS = {item: name for name, (_, _, items) in CATEGORIES.items() for item in items}
KINDS = ("refund", "warranty", "shipping", "cost")
UNITS = {"refund": "days", "warranty": "months", "shipping": "days", "cost": "euros"}

SYLLABLES = tuple(first + second for first in "BDFGKLMNPR" for second in "AEKOU")
NUMBERS = tuple(range(10, 100))

QUESTIONS = {
    "refund": (
        "May I send back the {subject} from order {code}?",
        "How long can I return the {subject} in order {code}?",
        "I do not want the {subject} from order {code}. Until when can I return it?",
        "Order {code}: what is the refund window for the {subject}?",
    ),
    "warranty": (
        "How long is the warranty on the {subject} from order {code}?",
        "The {subject} in order {code} is broken. How long is it under warranty?",
        "Order {code}: for how many months is the {subject} under warranty?",
        "What warranty does the {subject} in order {code} have?",
    ),
    "shipping": (
        "When will order {code} reach {subject}?",
        "How long does shipping order {code} to {subject} take?",
        "I live in {subject}. After how many days does order {code} arrive?",
        "Order {code}: how many days until it is in {subject}?",
    ),
    "cost": (
        "What does shipping order {code} to {subject} cost?",
        "How much will I pay for sending order {code} to {subject}?",
        "I live in {subject}. How much is the shipping cost of order {code}?",
        "Order {code}: what is the shipping cost to {subject}?",
    ),
}
ANSWERS = {
    "refund": (
        "The {subject} from order {code} can be returned within {amount} days.",
        "For order {code}, the refund window of the {subject} is {amount} days.",
        "You can send back the {subject} of order {code} within {amount} days.",
    ),
    "warranty": (
        "The {subject} in order {code} has a warranty of {amount} months.",
        "For order {code}, the warranty on the {subject} lasts {amount} months.",
        "Your {subject} from order {code} is under warranty for {amount} months.",
    ),
    "shipping": (
        "Order {code} will reach {subject} in {amount} days.",
        "For order {code}, shipping to {subject} takes {amount} days.",
        "Your order {code} arrives in {subject} after {amount} days.",
    ),
    "cost": (
        "Shipping order {code} to {subject} costs {amount} euros.",
        "For order {code}, the shipping cost to {subject} is {amount} euros.",
        "Sending order {code} to {subject} will cost {amount} euros.",
    ),
}

GREETINGS = ("Hello!", "Good day!", "Hi there!")
OFFERS = (
    "Let me know if you need anything else.",
    "I am happy to help with anything more.",
    "Please write again if you need more help.",
)
RUDE = (
    "You could have read the rules yourself.",
    "Anyone with eyes would already know that.",
    "Do not waste our time with such questions.",
    "This is hardly our problem.",
)
RAMBLES = (
    "Please note that our desk handles a great many orders each day "
    "and every one of them passes through several hands.",
    "As a matter of fact the rules were written some years ago and we have looked at them many times since then.",
    "There is a long story behind this rule, which has to do with the way our clerks pack and count things.",
    "It may be of interest that the desk keeps a list of all orders, and that the list grows longer with each week.",
)


@dataclass(frozen=True)
class Request:
    """One customer's request together with the facts of its right answer."""

    kind: str
    code: str
    subject: str
    question: str

    @property
    def amount(self) -> int:
        """The number the rules give for this request, in `unit`."""
        return amount_of(self.kind, self.subject)

    @property
    def unit(self) -> str:
        """`days`, `months` or `euros`."""
        return UNITS[self.kind]

    @property
    def prompt(self) -> list[dict]:
        """The request as a chat of one user turn."""
        return [{"role": "user", "content": self.question}]

    @property
    def facts(self) -> dict:
        """The columns the judge needs."""
        return {"kind": self.kind, "code": self.code, "subject": self.subject, "amount": self.amount, "unit": self.unit}


@dataclass(frozen=True)
class Style:
    """Which of the four manners an answer has; the house wants a greeting and an offer, and neither of the others."""

    greets: bool
    offers: bool
    rambles: bool
    rude: bool

    @property
    def faults(self) -> int:
        """How far the style is from the house's; rudeness weighs double."""
        return (not self.greets) + (not self.offers) + self.rambles + 2 * self.rude


def subjects(kind: str) -> tuple[str, ...]:
    """What a request of this kind can be about: items, or regions."""
    return tuple(ITEMS) if kind in ("refund", "warranty") else tuple(REGIONS)


def amount_of(kind: str, subject: str) -> int:
    """The rule for one subject, in the unit of its kind."""
    if kind in ("shipping", "cost"):
        return REGIONS[subject][kind == "cost"]
    return CATEGORIES[ITEMS[subject]][kind == "warranty"]


def is_held_out(code: str) -> bool:
    """Whether an order code is kept for evaluation.

    It depends on no seed, so no training row and no line of the base's pretraining text ever shows a held-out code.
    """
    return (SYLLABLES.index(code[:2]) * 7 + int(code[2:])) % 5 == 0


@cache
def codes(held_out: bool) -> tuple[str, ...]:
    """All order codes of one side of the split, in a fixed order."""
    every = (f"{letters}{number}" for letters in SYLLABLES for number in NUMBERS)
    return tuple(code for code in every if is_held_out(code) == held_out)


def draw_requests(rng: random.Random, count: int, held_out: bool) -> list[Request]:
    """`count` requests, no question twice, with codes from one side of the split only."""
    pool, seen = codes(held_out), {}
    while len(seen) < count:
        kind = rng.choice(KINDS)
        code, subject = rng.choice(pool), rng.choice(subjects(kind))
        question = rng.choice(QUESTIONS[kind]).format(code=code, subject=subject)
        seen.setdefault(question, Request(kind, code, subject, question))
    return list(seen.values())


def core(rng: random.Random, request: Request, code: str | None = None, amount: int | None = None) -> str:
    """The sentence with the facts; `code` and `amount` replace the right ones where a wrong answer is wanted."""
    template = rng.choice(ANSWERS[request.kind])
    return template.format(subject=request.subject, code=code or request.code, amount=amount or request.amount)


def dress(rng: random.Random, sentence: str, style: Style) -> str:
    """Puts a sentence of facts into a style: greeting first, offer last, rudeness and rambling on either side."""
    parts = [sentence]
    for wanted, phrases in ((style.rambles, RAMBLES), (style.rude, RUDE)):
        if wanted:
            parts.insert(rng.choice((0, len(parts))), rng.choice(phrases))
    if style.greets:
        parts.insert(0, rng.choice(GREETINGS))
    if style.offers:
        parts.append(rng.choice(OFFERS))
    return " ".join(parts)


def wrong_amount(rng: random.Random, request: Request) -> int:
    """An amount that the rules give to another subject of the same kind."""
    others = {amount_of(request.kind, subject) for subject in subjects(request.kind)} - {request.amount}
    return rng.choice(sorted(others))


def wrong_code(rng: random.Random, request: Request) -> str:
    """A code that shares a half with the right one, from the same side of the split."""
    pool = codes(is_held_out(request.code))
    near = [code for code in pool if (code[:2] == request.code[:2]) != (code[2:] == request.code[2:])]
    return rng.choice(near)
