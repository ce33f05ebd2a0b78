"""Scores from a model with a scalar head. Rows are padded on the right only, and scored at their last real token.

Left padding moves the positions of a model with learned ones: GPT-2's scores are then off by 0.08.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from data_recipes.errors import Failed, Refused

TOLERANCE = 1e-5


@torch.inference_mode()
def score(
    model, rows: list[list[int]], *, pad_id: int, batch_size: int = 16, device=None, names: list[str] | None = None
) -> list[float]:
    """One score a row, in the order of the rows.

    Args:
        model: a sequence classification model with one label, plain or under PEFT; put into evaluation mode and back.
        rows: token ids, each ending in the token where the score is taken.
        pad_id: the padding token; it has to be the one in the model's config, which finds the last real token by it.
        batch_size: rows a forward pass; rows of similar length go together.
        device: where the batches go; the model's own device where not said.
        names: how errors name the rows; by their numbers where not said.

    Raises:
        Refused: an empty row, a row that ends in the padding token, another padding token, more than one label.
        Failed: a score that is not finite.
    """
    _check(model, rows, pad_id)
    was_training = model.training
    model.eval()
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]), reverse=True)
    scores = [0.0] * len(rows)
    for chosen in _chunks(order, batch_size):
        batch = pad_right([rows[index] for index in chosen], pad_id, device or _device(model))
        logits_B = model(**batch).logits.squeeze(-1).float()
        for index, value in zip(chosen, logits_B.tolist(), strict=True):
            scores[index] = value
    model.train(was_training)
    _check_finite(scores, names or [f"row {index}" for index in range(len(rows))])
    return scores


def pad_right(rows: list[list[int]], pad_id: int, device=None) -> dict[str, torch.Tensor]:
    """input_ids and attention_mask of shape (B, T), T the longest row's length."""
    longest = max(map(len, rows))
    input_ids_BT = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    real_BT = torch.zeros((len(rows), longest), dtype=torch.long)
    for index, row in enumerate(rows):
        input_ids_BT[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        real_BT[index, : len(row)] = 1
    return {"input_ids": input_ids_BT.to(device), "attention_mask": real_BT.to(device)}


def padded_equals_alone(
    model, rows: list[list[int]], tolerance: float = TOLERANCE, *, pad_id: int, device=None
) -> float:
    """Checks that a padded batch scores as each row alone does; returns the largest difference.

    Raises:
        Failed: the difference is above `tolerance`.
    """
    together = score(model, rows, pad_id=pad_id, batch_size=len(rows), device=device)
    alone = score(model, rows, pad_id=pad_id, batch_size=1, device=device)
    worst = max(range(len(rows)), key=lambda index: abs(together[index] - alone[index]))
    difference = abs(together[worst] - alone[worst])
    if difference > tolerance:
        raise Failed(
            f"a padded row scores {together[worst]:.6f} in the batch and {alone[worst]:.6f} alone",
            where=f"row {worst} of {len(rows)}",
            expected=f"a difference of at most {tolerance:g}",
            do="The model's padding token, attention mask or positions are not what its config says.",
        )
    return difference


def _check(model, rows: list[list[int]], pad_id: int) -> None:
    config = model.config
    if getattr(config, "num_labels", 1) != 1:
        raise Refused(f"the model has {config.num_labels} labels", expected="a scalar head, num_labels = 1")
    known = config.get_text_config().pad_token_id
    if known != pad_id:
        raise Refused(f"the model's config has padding token {known}, the tokenizer {pad_id}", expected="the same one")
    for index, row in enumerate(rows):
        if not row or row[-1] == pad_id:
            what = "ends in the padding token" if row else "is empty"
            raise Refused(f"row {index} {what}, so it has no last real token to score", expected="token ids")


def _check_finite(scores: list[float], names: list[str]) -> None:
    for value, name in zip(scores, names, strict=True):
        if not -float("inf") < value < float("inf"):
            raise Failed(f"the score is {value}", where=name, expected="a finite number")


def _chunks(items: list[int], size: int) -> Iterator[list[int]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _device(model):
    return next(model.parameters()).device
