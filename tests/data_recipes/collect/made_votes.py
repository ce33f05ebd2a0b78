"""Votes made in memory, for tests of what is computed from them."""

from __future__ import annotations

from data_recipes.collect.model import Vote


def vote(annotator: str, item: int, signed: int, **changes) -> Vote:
    """A vote of a person on a normal item: signed < 0 first better, > 0 second better, 0 a tie."""
    verdict = "first" if signed < 0 else "second" if signed > 0 else "tie"
    values = {
        "role": "annotator", "list": "main", "kind": "normal", "of": None, "gold": None, "prompt_id": f"p{item}",
        "sources": None, "first": "one answer", "second": "another answer", "verdict": verdict, "acceptable": (None, None),
        "swapped": False, "visible_ms": 10_000, "words": 40, "guideline": 1, "at": 0.0, "client_id": f"{annotator}-{item}"}
    return Vote(annotator=annotator, item=item, signed=signed, **{**values, **changes})
