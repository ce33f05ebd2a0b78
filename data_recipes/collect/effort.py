"""What a plan asks of people, before it is made: pairs, votes, hours for each person."""

from __future__ import annotations

import math
from collections.abc import Sequence

from data_recipes.collect.items import word_count
from data_recipes.collect.model import Item, ListPlan

WORDS_PER_MINUTE = 238  # silent reading of English prose: Brysbaert, J. Memory and Language 109 (2019), 104047
DECIDE_SECONDS = 10.0  # to decide and press a key; ours, to be compared with `align collect stats`


def seconds_of(item: Item, *, per_minute: float = WORDS_PER_MINUTE, decide: float = DECIDE_SECONDS) -> float:
    """How long one vote is expected to take: prompt and both answers read once, and the decision."""
    texts = [message["content"] for message in item.messages] + [item.first.text, item.second.text]
    return 60 * sum(map(word_count, texts)) / per_minute + decide


def effort(plan: ListPlan, people: int) -> dict:
    """Counts and expected hours of one list for `people` persons.

    votes: of normal items. extra: repeats, gold and training votes over all people. hours: of all; hours_each: for each.
    """
    by_kind = {kind: [item for item in plan.items if item.kind == kind] for kind in ("normal", "gold", "training")}
    normal = by_kind["normal"]
    repeats = round(plan.repeats * len(normal)) * plan.overlap
    own = _mean(by_kind["gold"]) * len(by_kind["gold"]) + _mean(by_kind["training"]) * len(by_kind["training"])
    seconds = _mean(normal) * (len(normal) * plan.overlap + repeats) + own * people
    votes = len(normal) * plan.overlap
    return {
        "prompts": len({str(item.messages) for item in normal}), "pairs": len(normal), "overlap": plan.overlap, "votes": votes,
        "repeats": repeats, "gold": len(by_kind["gold"]), "training": len(by_kind["training"]), "people": people,
        "votes_each": math.ceil((votes + repeats) / people) + len(by_kind["gold"] + by_kind["training"]) if people else None,
        "seconds_a_vote": round(_mean(normal), 1), "hours": round(seconds / 3600, 2),
        "hours_each": round(seconds / 3600 / people, 2) if people else None,
    }


def _mean(items: Sequence[Item]) -> float:
    return sum(map(seconds_of, items)) / len(items) if items else 0.0
