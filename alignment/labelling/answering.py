"""What a classifier says to texts: logits in float64, batch by batch, in the order of the texts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from data_recipes.labels import Problem
from data_recipes.tagging import OUTSIDE

from alignment.labelling.encoding import Collator, Encoder

BATCH = 32
SURE = 20.0  # the logit of O for a word that the model never saw


def logits_of(
    model, encoder: Encoder, problem: Problem, texts: Sequence[tuple[str, str | None]], *, batch_size: int = BATCH
) -> np.ndarray:
    """Logits of texts or pairs, (N, outputs).

    Raises:
        BadRow: a text gives no token.
    """
    return np.concatenate(run(model, encoder, problem, [encoder.text(*text)[0] for text in texts], batch_size))


def run(model, encoder: Encoder, problem: Problem, rows: list[dict], batch_size: int = BATCH) -> list[np.ndarray]:
    """Outputs of encoded rows, each (1, outputs), or (T, classes) for labels of words. Rows of like length go together."""
    collator, was_training = Collator(encoder.tokenizer.pad_token_id, problem), model.training
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]["input_ids"]), reverse=True)
    found: list = [None] * len(rows)
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = {key: value.to(device) for key, value in collator([rows[at] for at in chosen]).items()}
            logits = model(**batch).logits.double().cpu().numpy()
            for place, at in enumerate(chosen):
                found[at] = _own(logits[place], len(rows[at]["input_ids"]), batch["input_ids"].shape[1])
    model.train(was_training)
    return found


def _own(logits: np.ndarray, length: int, padded: int) -> np.ndarray:
    """A row's outputs, without padding and without the trained positions that prompt tuning puts before a text."""
    if logits.ndim == 1:
        return logits[None]
    return logits[len(logits) - padded :][:length]


def answer_words(
    model, encoder: Encoder, problem: Problem, texts: Sequence[tuple[str, Sequence]], *, batch_size: int = BATCH
) -> list[np.ndarray]:
    """Logits of the words of each text, (words, classes). A text that is longer than the model reads goes in pieces.

    texts: each with the (first, one past the last) character of its words.

    A word without a token of its own (it shares one with the word before) is answered as that one goes on.
    """
    rows, ranges = [], []
    for text, places in texts:
        start = 0
        pieces = []
        while start < len(places):
            stop, columns, firsts = _piece(encoder, text, places, start)
            pieces.append((len(rows), firsts))
            rows.append(columns)
            start = stop
        ranges.append(pieces)
    found = run(model, encoder, problem, rows, batch_size) if rows else []
    return [_words(found, pieces, problem) for pieces in ranges]


def _piece(encoder: Encoder, text: str, places, start: int) -> tuple[int, dict, list[int | None]]:
    """The words from `start` on that the model reads at once: (one past the last of them, columns, first tokens)."""
    begin = places[start][0]
    shifted = [(left - begin, right - begin) for left, right in places[start:]]
    columns, firsts, cut = encoder.words(text[begin:], shifted)
    read = max((at for at, token in enumerate(firsts) if token is not None), default=0) + 1
    # the last word may be cut in its middle, so that the next piece begins with it; a lone one is longer than the limit
    count = len(firsts) if not cut else max(1, read - 1)
    return start + count, columns, firsts[:count]


def _words(found: list[np.ndarray], pieces, problem: Problem) -> np.ndarray:
    logits = [
        found[row][token] if token is not None else None for row, firsts in pieces for token in firsts
    ]
    made: list[np.ndarray] = []
    for one in logits:
        made.append(_going_on(made[-1] if made else None, problem) if one is None else one)
    return np.stack(made) if made else np.zeros((0, len(problem.names)))


def _going_on(before: np.ndarray | None, problem: Problem) -> np.ndarray:
    """What is said of a word by the token of the one before it: a span goes on."""
    outside = SURE * np.eye(len(problem.names))[problem.names.index(OUTSIDE) if OUTSIDE in problem.names else 0]
    if before is None:
        return outside
    name = problem.names[int(before.argmax())]
    inside = f"I-{name[2:]}"
    if problem.scheme == "BIO" and name.startswith("B-"):
        return SURE * np.eye(len(problem.names))[problem.names.index(inside)] if inside in problem.names else outside
    return before
