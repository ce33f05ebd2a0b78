"""Are spans found? Exact matches of type, beginning and end, as the CoNLL shared tasks count them. Only numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_recipes.tagging import spans_of
from reward.classification import class_means


def span_counts(truth: Sequence[Sequence[str]], guess: Sequence[Sequence[str]], types: Sequence[str]) -> np.ndarray:
    """What each sentence adds to each type's counts: (found exactly, true, guessed), shape (S, T, 3).

    Tjong Kim Sang and De Meulder 2003, section 2.4: a span counts only where it is an exact match of a true one.

    Args:
        truth, guess: the tags of each sentence in IOB2; a guessed I- that continues no span of its type begins none.
    """
    assert len(truth) == len(guess), (len(truth), len(guess))
    counts_ST3 = np.zeros((len(truth), len(types), 3))
    for sentence, (true_tags, guessed_tags) in enumerate(zip(truth, guess, strict=True)):
        assert len(true_tags) == len(guessed_tags), sentence
        true, guessed = set(spans_of(true_tags)), set(spans_of(guessed_tags))
        for column, spans in enumerate((true & guessed, true, guessed)):
            for span in spans:
                counts_ST3[sentence, types.index(span.label), column] += 1
    return counts_ST3


def span_types(names: Sequence[str]) -> list[str]:
    """The types among the tags."""
    return sorted({name[2:] for name in names if name[:2] in ("B-", "I-")})


def from_spans(counts_T3) -> dict[str, np.ndarray]:
    """Precision, recall and F1 over all spans, and the mean of F1 over types; of the leading shape of (..., T, 3)."""
    counts_T3 = np.asarray(counts_T3, dtype=np.float64)
    all_3 = class_means(counts_T3.sum(-2, keepdims=True))
    return {
        "entity_f1": all_3["macro_f1"],
        "entity_precision": all_3["precision"],
        "entity_recall": all_3["recall"],
        "entity_macro_f1": class_means(counts_T3)["macro_f1"],
    }
