"""Held-out loss and perplexity on demonstrations, over the tokens that training would train on. Needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from alignment import libraries  # noqa: F401  (first: the heavy ones load faster by it)

import numpy as np
import torch
from torch.nn import functional as F

from data_recipes.errors import Failed, Refused
from data_recipes.records import BadRow
from data_recipes.intervals import bootstrap_ratio
from reward.metrics import Perplexity
from reward.scalar import pad_right

from alignment.data import IGNORED
from alignment.evaluate.compare import spread
from alignment.training.targets import TargetCollator

LOGIT_CELLS = 2**27  # rows x tokens x vocabulary held at once: half a GiB in float32


@dataclass(frozen=True)
class RowLosses:
    """Of each row the negative log-likelihood in nats, the number of tokens in it, and their bytes; shape (R,)."""

    nats_R: np.ndarray
    tokens_R: np.ndarray
    bytes_R: np.ndarray
    truncated: int = 0


def measure(loaded: Any, records: list, *, batch_size: int) -> RowLosses:
    """Losses of the records as this model's own template renders them, cut where its training would cut them.

    Raises:
        Refused: a row that cannot be rendered.
    """
    from alignment.generation.batched import context_length, reads_apart

    if reads_apart(loaded.model):
        return _measure_answers(loaded, records, batch_size)
    limits = [limit for limit in (loaded.options.get("max_length"), context_length(loaded.model)) if limit]
    renderer = loaded.renderer(max_length=min(limits, default=None))
    rows = [_render(renderer, record) for record in records]
    nats = row_losses(
        loaded.model, [(row.input_ids, row.trained) for row in rows], pad_id=renderer.pad_id, batch_size=batch_size
    )
    texts = [
        renderer.tokenizer.decode([token for token, kept in zip(row.input_ids[1:], row.trained[1:], strict=True) if kept])
        for row in rows
    ]
    return RowLosses(
        np.array(nats),
        np.array([sum(row.trained[1:]) for row in rows]),
        np.array([len(text.encode()) for text in texts]),
        sum(row.truncated for row in rows),
    )


def _measure_answers(loaded: Any, records: list, batch_size: int) -> RowLosses:
    """Of an encoder-decoder model: losses of the answers that its training would train, given what comes before them."""
    renderer = loaded.renderer()
    turns = [_usable(renderer.turns, record) for record in records]
    flat = [(turn.input_ids, turn.target_ids) for one in turns for turn in one]
    nats = iter(answer_losses(loaded.model, flat, pad_id=renderer.pad_id, batch_size=batch_size))
    texts = ["".join(renderer.tokenizer.decode(turn.target_ids) for turn in one) for one in turns]
    return RowLosses(
        np.array([sum(next(nats) for _ in one) for one in turns]),
        np.array([sum(len(turn.target_ids) for turn in one) for one in turns]),
        np.array([len(text.encode()) for text in texts]),
        sum(turn.input_cut or turn.target_cut for one in turns for turn in one),
    )


def _usable(render: Any, record: Any) -> Any:
    try:
        return render(record)
    except BadRow as error:
        raise Refused(f"a row cannot be used: {error}", where=record.where) from error


def _render(renderer: Any, record: Any) -> Any:
    row = _usable(renderer.demonstration, record)
    if not any(row.trained[1:]):
        raise Refused("a row has no token that could be predicted", where=record.where, do="Drop the row.")
    return row


@torch.inference_mode()
def row_losses(model, rows: list[tuple[list[int], list[bool]]], *, pad_id: int, batch_size: int) -> list[float]:
    """-sum over trained positions t of log p(x_t | x_<t) for each row, in nats and float32, in the order of the rows.

    A row's first token is predicted from nothing and never counts. Rows of similar length go together, padded on the
    right.

    Args:
        rows: token ids and, for each, whether it carries loss.

    Raises:
        Failed: a loss that is not finite.
    """
    widths = [len(ids) for ids, _ in rows]
    return _in_batches(model, widths, batch_size, lambda chosen: _batch_losses(model, [rows[i] for i in chosen], pad_id))


@torch.inference_mode()
def answer_losses(model, rows: list[tuple[list[int], list[int]]], *, pad_id: int, batch_size: int) -> list[float]:
    """-sum over an answer's tokens of log p(y_t | x, y_<t) for each row of an encoder-decoder model, as `row_losses` does.

    Args:
        rows: ids that the encoder reads, and ids of the answer.
    """
    widths = [max(map(len, row)) for row in rows]
    return _in_batches(model, widths, batch_size, lambda chosen: _answer_losses(model, [rows[i] for i in chosen], pad_id))


def _in_batches(
    model, widths: list[int], batch_size: int, measure_rows: Callable[[list[int]], list[float]]
) -> list[float]:
    """`measure_rows` of all rows in evaluation mode, some of like width at once, so that their logits fit."""
    was_training = model.training
    model.eval()
    order = sorted(range(len(widths)), key=lambda index: widths[index], reverse=True)
    losses, start, vocabulary = [0.0] * len(widths), 0, model.config.get_text_config().vocab_size
    while start < len(order):
        size = max(1, min(batch_size, LOGIT_CELLS // (widths[order[start]] * vocabulary)))
        chosen = order[start : start + size]
        for index, value in zip(chosen, measure_rows(chosen), strict=True):
            if not math.isfinite(value):
                raise Failed(f"the loss of row {index + 1} is {value}", expected="a finite number")
            losses[index] = value
        start += size
    model.train(was_training)
    return losses


def _answer_losses(model, rows: list[tuple[list[int], list[int]]], pad_id: int) -> list[float]:
    examples = [{"input_ids": ids, "labels": target} for ids, target in rows]
    device = next(model.parameters()).device
    batch = {name: values.to(device) for name, values in TargetCollator(model, pad_id)(examples).items()}
    labels_BT = batch.pop("labels")
    logits_BTV = model(**batch, use_cache=False).logits.float()
    nats_BT = F.cross_entropy(logits_BTV.transpose(1, 2), labels_BT, ignore_index=IGNORED, reduction="none")
    return nats_BT.sum(1).tolist()


def _batch_losses(model, rows: list[tuple[list[int], list[bool]]], pad_id: int) -> list[float]:
    device = next(model.parameters()).device
    batch = pad_right([ids for ids, _ in rows], pad_id, device)
    keep_BT = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    for index, (_, trained) in enumerate(rows):
        keep_BT[index, : len(trained)] = torch.tensor(trained, dtype=torch.bool)
    keep_BT = keep_BT[:, 1:]
    logits_BTV = model(**batch, use_cache=False).logits[:, :-1]
    nats_N = F.cross_entropy(logits_BTV[keep_BT].float(), batch["input_ids"][:, 1:][keep_BT], reduction="none")
    row_N = keep_BT.nonzero()[:, 0]
    return torch.zeros(len(rows), device=device).index_add(0, row_N, nats_N).tolist()


def describe(members: list[RowLosses], first: list[RowLosses] | None, *, seed: int) -> dict:
    """One arm's held-out figures, its seeds averaged row by row, with the paired difference to the first arm.

    The difference is left out where the two count different tokens: losses per token of two tokenizers are not
    comparable, but bits per byte are.
    """
    nats_R = np.mean([member.nats_R for member in members], axis=0)
    tokens_R, bytes_R = members[0].tokens_R, members[0].bytes_R
    found = Perplexity().compute(predictions=nats_R, references=tokens_R, seed=seed)
    each = [float(member.nats_R.sum() / member.tokens_R.sum()) for member in members]
    result = {
        "rows": len(nats_R),
        **found,
        "spread": spread(each),
        "truncated": members[0].truncated,
        "bits_per_byte": bootstrap_ratio(nats_R / math.log(2), bytes_R, seed=seed).as_dict(),
        "difference": None,
    }
    if first is not None and np.array_equal(first[0].tokens_R, tokens_R):
        theirs_R = np.mean([member.nats_R for member in first], axis=0)
        result["difference"] = bootstrap_ratio(nats_R - theirs_R, tokens_R, seed=seed).as_dict()
    return result
