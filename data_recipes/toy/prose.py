"""Plain text of the toy world for the base's pretraining: notes of the desk, never a chat.

It holds the world's words, rules and manners, and order codes that recur within a note; held-out codes are in none
of it. A base learns from it to copy codes and subjects, and what the rules say, but never how a request is answered.
"""

from __future__ import annotations

import random

from data_recipes.toy import world

RULE_NOTES = {
    "refund": (
        "The desk takes back a {subject} within {amount} days.",
        "A {subject} is one of the {category} things, and those can be returned for {amount} days.",
        "The refund window of a {subject} is {amount} days.",
    ),
    "warranty": (
        "A {subject} has a warranty of {amount} months.",
        "The warranty on {category} things, such as a {subject}, lasts {amount} months.",
        "A broken {subject} is under warranty for {amount} months.",
    ),
    "shipping": (
        "A parcel to {subject} takes {amount} days.",
        "Orders reach {subject} in {amount} days.",
        "Shipping to {subject} is a matter of {amount} days.",
    ),
    "cost": (
        "A parcel to {subject} costs {amount} euros.",
        "The shipping cost to {subject} is {amount} euros.",
        "Sending a thing to {subject} will cost {amount} euros.",
    ),
}
LEDGER = (
    "Order {code} is on the list.",
    "A clerk will pack the {item} of order {code} for {region}.",
    "The {item} in order {code} is new.",
    "The customer of order {code} lives in {region}.",
    "For order {code}, a {item} was sent to {region}.",
    "In order {code} there is a {item}, and order {code} goes to {region}.",
    "We have looked at order {code} and the {item} in it.",
    "The {item} goes to {region}, and the clerk who counts the {item} sends it to {region}.",
    "When will order {code} reach {region}? Order {code} will be in {region} this week.",
    "The user of order {code} has an assistant. The system counts order {code}.",
)
CASES = {  # what was asked and which subject and order it is about, but never the amount: answering is left to tuning
    "item": (
        "A customer asks: {question} The clerk looks at the {subject} of order {code}.",
        "{question} So a customer wrote about the {subject} in order {code}.",
        "A clerk reads: {question} For order {code}, the {subject} is the thing.",
    ),
    "region": (
        "A customer asks: {question} The clerk will pack order {code} for {subject}.",
        "{question} So a customer wrote about order {code} to {subject}.",
        "A clerk reads: {question} For order {code}, it is a matter of {subject}.",
    ),
}
MANNERS = (
    "A good clerk will say {greeting} and then answer.",
    "Some clerks end with these words: {offer}",
    "A rude clerk may say: {rude}",
    "A clerk who likes long words will write: {ramble}",
    "A customer may ask: how much, how long, until when, after how many days, for how many months?",
)


def note(rng: random.Random) -> str:
    """One note of a few sentences: about the rules, an order or two, what customers asked, or manners."""
    kind = rng.choices((rules, ledger, cases, manners), weights=(5, 4, 5, 2))[0]
    return kind(rng)


def rules(rng: random.Random) -> str:
    """Three to six rules, each with its number."""
    return " ".join(_rule(rng) for _ in range(rng.randint(3, 6)))


def ledger(rng: random.Random) -> str:
    """Sentences about one order, in one note of four about two; code, item and region recur."""
    orders = [
        {"code": code, "item": rng.choice(tuple(world.ITEMS)), "region": rng.choice(tuple(world.REGIONS))}
        for code in rng.sample(world.codes(held_out=False), 1 + (rng.random() < 0.25))
    ]
    return " ".join(rng.choice(LEDGER).format(**rng.choice(orders)) for _ in range(rng.randint(4, 7)))


def cases(rng: random.Random) -> str:
    """Two requests as the desk's book reports them."""
    return " ".join(_case(rng, request) for request in world.draw_requests(rng, 2, held_out=False))


def manners(rng: random.Random) -> str:
    """How clerks speak."""
    phrases = {
        "greeting": rng.choice(world.GREETINGS),
        "offer": rng.choice(world.OFFERS),
        "rude": rng.choice(world.RUDE),
        "ramble": rng.choice(world.RAMBLES),
    }
    return " ".join(template.format(**phrases) for template in rng.sample(MANNERS, 2))


def words_of_the_world() -> str:
    """Every phrase of the world once, codes and amounts filled in: the text whose words become tokens."""
    fill = {"code": "BA10", "category": "garden", "item": "rake", "region": "Norvale", "subject": "rake"}
    fill |= {"amount": "10", "question": "When?"}
    fill |= {"greeting": "Hello!", "offer": "Good", "rude": "rude", "ramble": "long"}
    banks = [*RULE_NOTES.values(), *CASES.values(), *world.QUESTIONS.values(), *world.ANSWERS.values(), LEDGER, MANNERS]
    phrases = [phrase.format(**fill) for bank in banks for phrase in bank]
    phrases += [*world.GREETINGS, *world.OFFERS, *world.RUDE, *world.RAMBLES]
    phrases += [f"a {word}" for word in (*world.ITEMS, *world.REGIONS, *world.CATEGORIES)]
    phrases += [f"{world.amount_of(kind, subject)}" for kind in world.KINDS for subject in world.subjects(kind)]
    return " ".join(phrases)


def _case(rng: random.Random, request: world.Request) -> str:
    phrases = CASES["item" if request.subject in world.ITEMS else "region"]
    return rng.choice(phrases).format(question=request.question, subject=request.subject, code=request.code)


def _rule(rng: random.Random) -> str:
    kind = rng.choice(world.KINDS)
    subject = rng.choice(world.subjects(kind))
    fill = {"subject": subject, "amount": world.amount_of(kind, subject), "category": world.ITEMS.get(subject, "")}
    return rng.choice(RULE_NOTES[kind]).format(**fill)
