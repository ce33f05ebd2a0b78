"""Labelled rows as tokens, and as batches. The tokenizer is handed in; torch is needed for batches only.

Texts are read as the tokenizer itself writes them, its special tokens included; a decoder's class is read at the last token.
Labels of words stand at the first token of each word, the further ones carry no loss (BERT, Devlin et al. 2019, section 5.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_recipes.labels import Example, Problem
from data_recipes.records import BadRow

from alignment.data import IGNORED

SEGMENTS = "token_type_ids"


@dataclass(frozen=True)
class Encoder:
    """Texts to tokens of at most `limit`, by a fast tokenizer."""

    tokenizer: Any
    limit: int

    @property
    def segments(self) -> bool:
        """Whether the model tells the two texts of a pair apart by `token_type_ids`."""
        return SEGMENTS in self.tokenizer.model_input_names

    def text(self, text: str, pair: str | None = None) -> tuple[dict[str, list[int]], bool]:
        """Columns of a text or a pair, and whether it was cut; of a pair the longer text is cut first.

        Raises:
            BadRow: nothing-to-train-on, where no token comes of it.
        """
        made = self.tokenizer(text, pair, verbose=False)
        cut = len(made["input_ids"]) > self.limit
        if cut:
            made = self.tokenizer(text, pair, truncation=True, max_length=self.limit, verbose=False)
        ids = made["input_ids"]
        if not ids or ids[-1] == self.tokenizer.pad_token_id:
            raise BadRow("nothing-to-train-on", "the text gives no token" if not ids else "the text ends in the padding token")
        return {"input_ids": ids, **({SEGMENTS: made[SEGMENTS]} if self.segments else {})}, cut

    def words(self, text: str, places) -> tuple[dict[str, list[int]], list[int | None], bool]:
        """Columns of a text, the place of each word's first token (None: it has none of its own), and whether it was cut.

        places: (first character, one past the last) of each word.
        """
        made = self.tokenizer(
            text, truncation=True, max_length=self.limit, return_offsets_mapping=True, return_special_tokens_mask=True,
            verbose=False,
        )
        spans = [
            (-1, -1) if special else span
            for span, special in zip(made["offset_mapping"], made["special_tokens_mask"], strict=True)
        ]
        firsts = first_tokens(spans, places)
        last = max((stop for _, stop in spans), default=0)
        columns = {"input_ids": made["input_ids"], **({SEGMENTS: made[SEGMENTS]} if self.segments else {})}
        return columns, firsts, bool(places) and last < places[-1][1]


def first_tokens(spans, places) -> list[int | None]:
    """The place of the first token that lies in each word; a token that two words share belongs to the first."""
    found: list[int | None] = []
    token = 0
    for start, stop in places:
        while token < len(spans) and spans[token][1] <= start:
            token += 1
        inside = token < len(spans) and spans[token][0] < stop
        found.append(token if inside else None)
        token += inside
    return found


def example_row(encoder: Encoder, problem: Problem, scale: tuple[float, float]) -> Callable[[Example], dict]:
    """Columns of a labelled row: input_ids, labels, length, and maybe segments. scale: mean and deviation of the numbers."""

    def one(example: Example) -> dict:
        record = example.record
        if problem.task == "token":
            columns, firsts, cut = encoder.words(record.text, record.places)
            labels = [IGNORED] * len(columns["input_ids"])
            for target, at in zip(example.target, firsts, strict=True):
                if at is not None:
                    labels[at] = target
            if all(label == IGNORED for label in labels):
                raise BadRow("nothing-to-train-on", "no word has a token of its own")
        else:
            columns, cut = encoder.text(record.text, record.pair)
            labels = labels_of(example.target, problem, scale)
        trained = sum(label != IGNORED for label in labels) if problem.task == "token" else 1
        size = len(columns["input_ids"])
        return {**columns, "labels": labels, "length": size,
                "counts": {"tokens": size, "trained": trained, "truncated": int(cut)}}

    return one


def labels_of(target, problem: Problem, scale: tuple[float, float]) -> int | float | list[int]:
    """A target as the loss takes it: a place, a scaled number, or a 0 or 1 for each label."""
    if problem.task == "multi":
        return [int(place in target) for place in range(len(problem.names))]
    return (target - scale[0]) / scale[1] if problem.task == "regression" else target


def scale_of(examples: list[Example], problem: Problem) -> tuple[float, float]:
    """Mean and deviation of the training rows' numbers, which the model learns in units of these; (0, 1) for classes."""
    if problem.task != "regression":
        return 0.0, 1.0
    values = np.asarray([example.target for example in examples], dtype=np.float64)
    return float(values.mean()), float(values.std()) or 1.0


class Collator:
    """Rows as a batch padded on the right: input_ids, attention_mask, labels, and maybe segments."""

    def __init__(self, pad_id: int, problem: Problem) -> None:
        self.pad_id, self.problem = pad_id, problem

    def __call__(self, rows: list[dict]) -> dict:
        import torch

        longest = max(len(row["input_ids"]) for row in rows)
        batch = {
            "input_ids": _padded(rows, "input_ids", longest, self.pad_id),
            "attention_mask": torch.tensor(
                [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
            ),
        }
        if SEGMENTS in rows[0]:
            batch[SEGMENTS] = _padded(rows, SEGMENTS, longest, 0)
        if "labels" in rows[0]:
            batch["labels"] = self._labels(rows, longest)
        return batch

    def _labels(self, rows: list[dict], longest: int):
        import torch

        if self.problem.task == "token":
            return _padded(rows, "labels", longest, IGNORED)
        kind = torch.long if self.problem.task == "single" else torch.float32
        return torch.tensor(np.asarray([row["labels"] for row in rows]), dtype=kind)


def _padded(rows: list[dict], name: str, longest: int, filling: int):
    import torch

    return torch.tensor([[*row[name], *[filling] * (longest - len(row[name]))] for row in rows], dtype=torch.long)


def longest_text(tokenizer, config, asked: int, taken: int = 0) -> tuple[int, str]:
    """Most tokens of a text: what was asked for, or less where the model reads less; and what to say of it.

    taken: positions that a prefix or a prompt takes in front of it.
    """
    limits = {"the tokenizer's limit": tokenizer.model_max_length}
    if positions := getattr(config, "max_position_embeddings", None):
        # RoBERTa counts positions from its padding id on, so that two of them are never used
        unused = config.pad_token_id + 1 if "roberta" in config.model_type else 0
        limits["the model's positions"] = positions - unused - taken
    name, least = min(limits.items(), key=lambda item: item[1])
    return (asked, "") if asked <= least else (least, f"texts are cut at {least} tokens, {name}")
