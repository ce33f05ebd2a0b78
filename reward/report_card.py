"""What a reward model is worth on held-out pairs, with the trivial baseline beside it."""

from __future__ import annotations

import numpy as np
import torch

from data_recipes.errors import Refused
from reward.calibration import Scale
from data_recipes.intervals import wilson
from reward.losses import bradley_terry_losses
from reward.metrics import ExpectedCalibrationError, LongerWins, PairwiseAccuracy, outcomes
from reward.scalar import score


def score_pairs(
    model, pairs: list[tuple[list[int], list[int]]], *, pad_id: int, batch_size: int = 16
) -> tuple[list, list]:
    """Scores of the chosen and of the rejected rows, each row a prompt with its completion as token ids."""
    rows = [row for pair in pairs for row in pair]
    scores = score(model, rows, pad_id=pad_id, batch_size=batch_size)
    return scores[0::2], scores[1::2]


def report_card(chosen_B: list[float], rejected_B: list[float], lengths: list[tuple[int, int]]) -> dict:
    """Accuracy, loss, calibration, baseline, scale and slices of scored pairs, as JSON.

    Args:
        chosen_B, rejected_B: scores of both sides, shape (B,) each.
        lengths: (chosen, rejected) lengths of each pair in one unit; characters say the same for every tokenizer.

    Raises:
        Refused: nothing to measure, or numbers that do not match.
    """
    if not chosen_B or not len(chosen_B) == len(rejected_B) == len(lengths):
        raise Refused(
            f"{len(chosen_B)} chosen, {len(rejected_B)} rejected scores and {len(lengths)} lengths",
            expected="the same number of each, at least one",
        )
    longer_chosen, longer_rejected = zip(*lengths, strict=True)
    margins_B = np.subtract(chosen_B, rejected_B)
    return {
        "pairs": len(chosen_B),
        "accuracy": PairwiseAccuracy().compute(predictions=chosen_B, references=rejected_B),
        "longer_wins": LongerWins().compute(predictions=longer_chosen, references=longer_rejected),
        "loss": bradley_terry_losses(*(torch.tensor(x, dtype=torch.float64) for x in (chosen_B, rejected_B))).mean().item(),
        "calibration": ExpectedCalibrationError().compute(predictions=chosen_B, references=rejected_B),
        "scores": _scores(chosen_B, rejected_B, margins_B),
        "length_correlation": _correlation([*chosen_B, *rejected_B], [*longer_chosen, *longer_rejected]),
        "slices": slices(chosen_B, rejected_B, lengths),
    }


def slices(chosen_B: list[float], rejected_B: list[float], lengths: list[tuple[int, int]]) -> list[dict]:
    """Accuracy where the chosen side is the longer, the shorter, or neither, and by thirds of the pairs' length."""
    wins_B, _ = outcomes(chosen_B, rejected_B)
    lengths_B2 = np.asarray(lengths)
    difference_B, total_B = lengths_B2[:, 0] - lengths_B2[:, 1], lengths_B2.sum(1)
    first, second = np.quantile(total_B, [1 / 3, 2 / 3])
    kept = {
        "chosen is longer": difference_B > 0,
        "chosen is shorter": difference_B < 0,
        "same length": difference_B == 0,
        f"short pairs (to {first:.0f})": total_B <= first,
        f"middle pairs (to {second:.0f})": (total_B > first) & (total_B <= second),
        f"long pairs (above {second:.0f})": total_B > second,
    }
    return [
        {"slice": name, "pairs": int(keep_B.sum()), **_accuracy(wins_B[keep_B])}
        for name, keep_B in kept.items()
        if keep_B.any()
    ]


def _accuracy(wins_B: np.ndarray) -> dict:
    share = wilson(float(wins_B.sum()), len(wins_B))
    return {"accuracy": share.value, "low": share.low, "high": share.high}


def _scores(chosen_B, rejected_B, margins_B) -> dict:
    scale = Scale.of([*chosen_B, *rejected_B])
    return {
        "chosen_mean": float(np.mean(chosen_B)),
        "rejected_mean": float(np.mean(rejected_B)),
        "mean": scale.mean,
        "std": scale.std,
        "margin_mean": float(margins_B.mean()),
        "margin_std": float(margins_B.std()),
    }


def _correlation(scores, lengths) -> float | None:
    """Pearson's r between score and length; None where one of them does not vary."""
    if np.std(scores) == 0 or np.std(lengths) == 0:
        return None
    return float(np.corrcoef(scores, lengths)[0, 1])
