"""Report cards of reward runs on held-out pairs. Needs torch."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np

from data_recipes.errors import Refused
from data_recipes.records import BadRow
from data_recipes.intervals import Interval, bootstrap_ratio, mean_or_share, wilson
from reward.metrics import outcomes
from reward.report_card import report_card, score_pairs

from alignment.evaluate.arms import Arm
from alignment.evaluate.compare import prompt_numbers, spread
from alignment.evaluate.evidence import conversation_key


def card_of_arm(arm: Arm, pairs: list, *, how: dict, batch_size: int, ui: Any) -> dict:
    """One arm: a card for each member, and the members' mean accuracy with an interval over pairs and their spread."""
    from alignment.models import load_scorer

    lengths = [(_length(pair.chosen), _length(pair.rejected)) for pair in pairs]
    cards, wins = [], []
    for member in arm.members:
        loaded = load_scorer(member, **how)
        ui.say(f"{arm.name}: {member.text} on {loaded.device}")
        chosen_B, rejected_B = score_member(loaded, pairs, batch_size=batch_size)
        cards.append(report_card(chosen_B, rejected_B, lengths))
        wins.append(outcomes(chosen_B, rejected_B)[0])
        del loaded
        gc.collect()  # the next model needs the room
    prompts = prompt_numbers([conversation_key(pair.prompt) for pair in pairs])
    return {
        "name": arm.name,
        "members": [member.text for member in arm.members],
        "cards": cards,
        **summary(cards, wins, outcomes(*zip(*lengths, strict=True))[0], prompts),
    }


def summary(cards: list[dict], wins_MB: list, longer_B: np.ndarray, prompts_B: np.ndarray | None) -> dict:
    """Over the members: accuracy, and the means of what has no interval. One member's accuracy is its card's.

    prompts_B: the number of each pair's prompt, where several pairs have the same one: intervals are then over prompts.
    """
    accuracy = {
        "value": cards[0]["accuracy"]["accuracy"],
        **{key: cards[0]["accuracy"][key] for key in ("low", "high", "n")},
    }
    if len(cards) > 1:
        accuracy = mean_or_share(np.mean(wins_MB, axis=0)).as_dict()
    longer = cards[0]["longer_wins"]
    longer = {"value": longer["accuracy"], **{key: longer[key] for key in ("low", "high", "n")}}
    if prompts_B is not None:
        accuracy, longer = (over_prompts(wins, prompts_B).as_dict() for wins in (np.mean(wins_MB, axis=0), longer_B))
    return {
        "accuracy": accuracy,
        "spread": spread([card["accuracy"]["accuracy"] for card in cards]),
        "longer_wins": longer,
        "loss": float(np.mean([card["loss"] for card in cards])),
        "ece": float(np.mean([card["calibration"]["ece"] for card in cards])),
    }


def over_prompts(wins_B: np.ndarray, prompts_B: np.ndarray) -> Interval:
    """The share of pairs that are won, with an interval over prompts: Wilson's where all pairs say the same."""
    counts_P = np.bincount(prompts_B)
    if np.ptp(wins_B) == 0:
        return wilson(float(wins_B[0]) * len(counts_P), len(counts_P))
    return bootstrap_ratio(np.bincount(prompts_B, weights=wins_B), counts_P)


def score_member(loaded: Any, pairs: list, *, batch_size: int) -> tuple[list, list]:
    """Scores of chosen and rejected. Rows are not cut: a cut row would be scored where nothing was trained.

    Raises:
        Refused: a pair that cannot be rendered, or is longer than the model's context.
    """
    from alignment.generation.batched import context_length

    renderer = loaded.renderer(max_length=context_length(loaded.model))
    rows = []
    for pair in pairs:
        try:
            made = renderer.comparison(pair)
        except BadRow as error:
            raise Refused(f"a pair cannot be scored: {error}", where=pair.where) from error
        rows.append((made.prompt_ids + made.chosen_ids, made.prompt_ids + made.rejected_ids))
    return score_pairs(loaded.model, rows, pad_id=renderer.pad_id, batch_size=batch_size)


def _length(turns: Any) -> int:
    return sum(len(turn.content) for turn in turns)
