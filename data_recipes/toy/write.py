"""Writes the toy world's data sets in the formats any tuning tool reads. The same seed gives the same bytes.

Demonstrations are right in their facts and careless in style, so tuning on them teaches the answers and a poor manner.
Pairs differ mainly in style, a tenth of the training labels is swapped, and lengths are balanced: which side is to be
the longer is decided by a fair coin before the pair is drawn.
"""

from __future__ import annotations

import random
from pathlib import Path

from data_recipes import files
from data_recipes.toy import world
from data_recipes.toy.world import Request, Style

LABEL_NOISE = 0.10
WRONG_FACT_PAIRS = 0.05  # pairs of equal style whose rejected side has a wrong code or amount
CLEAR = 2  # faults of style between the sides of a pair: people agree on such pairs, and a small reward model can
SIZES = {
    "demonstrations": 5000,
    "pairs": 1600,
    "pairs_heldout": 500,
    "requests_heldout": 1000,
    "demonstrations_heldout": 200,
    "requests": 2000,
}


def write(output: Path | str, seed: int = 0) -> dict[str, int]:
    """Writes the six files of one seed into a folder and returns their row counts."""
    tables = build(seed)
    for name, rows in tables.items():
        files.write_jsonl(Path(output) / f"{name}.jsonl", rows)
    return {name: len(rows) for name, rows in tables.items()}


def build(seed: int) -> dict[str, list[dict]]:
    """All rows of one seed by file name. No question is in two files, and held-out codes are in no training file."""
    rng = random.Random(f"toy world {seed}")  # a text seed is hashed by SHA-512, the same on every platform
    train = iter(world.draw_requests(rng, SIZES["demonstrations"] + SIZES["pairs"], held_out=False))
    held = iter(world.draw_requests(rng, sum(SIZES[name] for name in SIZES if name.endswith("heldout")), held_out=True))

    def take(name: str, source) -> list[Request]:
        return [next(source) for _ in range(SIZES[name])]

    tables = {
        "demonstrations": [demonstration(rng, request) for request in take("demonstrations", train)],
        "pairs": [pair(rng, request, LABEL_NOISE) for request in take("pairs", train)],
        "pairs_heldout": [pair(rng, request, 0.0) for request in take("pairs_heldout", held)],
        "requests_heldout": [
            {"prompt": request.prompt, **request.facts} for request in take("requests_heldout", held)
        ],
        "demonstrations_heldout": [demonstration(rng, request) for request in take("demonstrations_heldout", held)],
    }
    return {**tables, "requests": new_requests(seed, tables)}


def new_requests(seed: int, tables: dict[str, list[dict]]) -> list[dict]:
    """Prompts alone, to be answered by the policy itself; none of their questions is in another file."""
    asked = {(row.get("prompt") or row["messages"])[0]["content"] for rows in tables.values() for row in rows}
    drawn = world.draw_requests(random.Random(f"toy world {seed}, requests"), SIZES["requests"] + len(asked), held_out=False)
    fresh = [request for request in drawn if request.prompt[0]["content"] not in asked]
    return [{"prompt": request.prompt} for request in fresh[: SIZES["requests"]]]


def demonstration(rng: random.Random, request: Request) -> dict:
    """A right answer in whatever style the clerk of the day had."""
    answer = world.dress(rng, world.core(rng, request), careless_style(rng))
    return {"messages": [*request.prompt, {"role": "assistant", "content": answer}]}


def careless_style(rng: random.Random) -> Style:
    """The manner of the demonstrations: mostly none."""
    greets, offers, rambles, rude = (rng.random() < share for share in (0.3, 0.3, 0.3, 0.25))
    return Style(greets, offers, rambles, rude)


def pair(rng: random.Random, request: Request, noise: float) -> dict:
    """One comparison; with probability `noise` its label is swapped."""
    wrong_fact = rng.random() < WRONG_FACT_PAIRS
    chosen, rejected = fact_contrast(rng, request) if wrong_fact else style_contrast(rng, request)
    if rng.random() < noise:
        chosen, rejected = rejected, chosen
    return {"prompt": request.prompt, "chosen": _turn(chosen), "rejected": _turn(rejected)}


def fact_contrast(rng: random.Random, request: Request) -> tuple[str, str]:
    """A right and a wrong answer of the same style."""
    style = near_house_style(rng)
    if rng.random() < 0.5:
        wrong = world.core(rng, request, code=world.wrong_code(rng, request))
    else:
        wrong = world.core(rng, request, amount=world.wrong_amount(rng, request))
    return world.dress(rng, world.core(rng, request), style), world.dress(rng, wrong, style)


def style_contrast(rng: random.Random, request: Request) -> tuple[str, str]:
    """Two right answers, the first with clearly fewer faults of style; a fair coin says which is the longer.

    Without the coin the chosen side, which has a greeting and an offer more, would be longer in most pairs.
    """
    chosen_is_longer = rng.random() < 0.5
    while True:
        better, worse = near_house_style(rng), careless_style(rng)
        if worse.faults < better.faults + CLEAR:
            continue
        chosen, rejected = (world.dress(rng, world.core(rng, request), style) for style in (better, worse))
        if len(chosen) != len(rejected) and (len(chosen) > len(rejected)) == chosen_is_longer:
            return chosen, rejected


def near_house_style(rng: random.Random) -> Style:
    """The house style, or, in three of ten answers, one step away from it."""
    slip = rng.choice(("greets", "offers", "rambles")) if rng.random() < 0.3 else None
    return Style(greets=slip != "greets", offers=slip != "offers", rambles=slip == "rambles", rude=False)


def longer_wins(rows: list[dict]) -> float:
    """Accuracy of the rule 'the longer answer is the better one' on pairs, in characters; a tie counts half."""
    lengths = [(len(row["chosen"][-1]["content"]), len(row["rejected"][-1]["content"])) for row in rows]
    return sum((chosen > rejected) + 0.5 * (chosen == rejected) for chosen, rejected in lengths) / len(rows)


def _turn(answer: str) -> list[dict]:
    return [{"role": "assistant", "content": answer}]
