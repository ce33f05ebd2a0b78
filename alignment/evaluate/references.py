"""Answers beside the rows' own answers: ROUGE, exact match and BLEU of each arm, and of two answers that need no model.

Light until something is measured. The figures themselves are in `reward.overlap`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from data_recipes.errors import Refused

SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|\n+")
LEAD = 3  # sentences; the usual baseline of summarisation (See et al. 2017, section 5)


def wanted(asked: bool | None, kind: str, apart: list[bool]) -> bool:
    """Whether answers are compared with the rows' own.

    Args:
        asked: what the command line said; None where it said nothing: then only encoder-decoder models are, all of whose
            use is to turn an input into such an answer.
        kind: of rows. apart: for each model whether it is an encoder-decoder.

    Raises:
        Refused: asked for on rows that have no answer.
    """
    if asked and kind != "demonstrations":
        raise Refused(
            "these rows have no answers of their own to compare with",
            where="--references",
            expected="demonstrations: rows that end with an assistant's turn",
        )
    return all(apart) and kind == "demonstrations" if asked is None else asked


def texts_of(records: Sequence[Any]) -> list[str]:
    """The answers that demonstrations end with."""
    return [record.messages[-1].content for record in records]


def first_sentences(prompt: Any) -> str:
    """The first sentences of what the user said last."""
    said = next((turn.content for turn in reversed(prompt.messages) if turn.role == "user"), "")
    return " ".join(SENTENCE.split(said.strip())[:LEAD])


def add(result: dict, made: dict, prompts: Sequence[Any], references: Sequence[str], *, seed: int) -> None:
    """Adds `references` to each arm (differences are to the first), and to the result what needs no model.

    Args:
        made: completions by arm, member, prompt and sample.
    """
    from reward.overlap import describe, overlaps

    found = {name: overlaps(by_row(members), references) for name, members in made.items()}
    first = found[result["baseline"]]
    for entry in result["arms"]:
        against = None if entry["name"] == result["baseline"] else first
        entry["references"] = describe(found[entry["name"]], against, seed=seed)
    commonest = Counter(references).most_common(1)[0][0]
    trivial = {
        f"first {LEAD} sentences of the prompt": [first_sentences(prompt) for prompt in prompts],
        "the commonest answer": [commonest] * len(references),
    }
    result["references"] = {
        "rows": len(references),
        "baselines": [
            {"name": name, **describe(overlaps([[text] for text in said], references), first, seed=seed)}
            for name, said in trivial.items()
        ],
    }


def by_row(members: list[list[list[Any]]]) -> list[list[str]]:
    """All texts that an arm's members and samples gave to each prompt."""
    return [[done.text for member in members for done in member[row]] for row in range(len(members[0]))]
