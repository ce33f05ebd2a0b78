"""How varied texts are, and synthetic ones beside people's: distinct-n and self-BLEU.

distinct-n: different n-grams over all n-grams (Li et al. 2016, arXiv:1510.03055, section 5.2); higher is more varied.
self-BLEU: BLEU of each text against the others, mean (Zhu et al. 2018, arXiv:1802.01886, section 3.3); lower is more
varied; 0 to 100 as sacrebleu gives it. Both depend on how many texts there are, so sides are compared on draws of equal size.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from data_recipes.augment.novelty import Words
from data_recipes.intervals import LEVEL

TEXTS = 60  # texts a draw: self-BLEU takes their square
DRAWS = 5


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Different n-grams of words over all of them, within texts; 0 where no text has n words."""
    words = Words()
    grams = [tuple(found[i : i + n]) for found in map(words.tokenize, texts) for i in range(len(found) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def self_bleu(texts: Sequence[str]) -> float:
    """Mean sentence BLEU of each text against all others, 0 to 100. Raises ValueError for fewer than two texts."""
    from sacrebleu.metrics import BLEU

    if len(texts) < 2:
        raise ValueError(f"two texts or more are needed, not {len(texts)}")
    bleu = BLEU(effective_order=True)  # a text of two words has no 4-grams
    scores = [bleu.sentence_score(text, [*texts[:i], *texts[i + 1 :]]).score for i, text in enumerate(texts)]
    return float(np.mean(scores))


MEASURES: dict[str, Callable[[Sequence[str]], float]] = {
    "distinct_1": lambda texts: distinct_n(texts, 1),
    "distinct_2": lambda texts: distinct_n(texts, 2),
    "distinct_3": lambda texts: distinct_n(texts, 3),
    "self_bleu": self_bleu,
}


def compare(synthetic: Sequence[str], human: Sequence[str], *, seed: int = 0, draws: int = DRAWS) -> dict | None:
    """Each measure on both sides, on `draws` draws of equally many texts, with the range that the draws span.

    Returns:
        {"texts": how many a draw, "measures": {name: {"synthetic": .., "human": .., "difference": ..}}}, each a
        {"value", "low", "high"} over the draws; None where one side has fewer than two texts.
    """
    size = min(len(synthetic), len(human), TEXTS)
    if size < 2:
        return None
    sides = {"synthetic": _draws(synthetic, size, seed, draws), "human": _draws(human, size, seed, draws)}
    found = {}
    for name, measure in MEASURES.items():
        values = {side: np.array([measure(drawn) for drawn in drawns]) for side, drawns in sides.items()}
        values["difference"] = values["synthetic"] - values["human"]
        found[name] = {side: _range(value) for side, value in values.items()}
    return {"texts": size, "draws": draws, "measures": found}


def is_synthetic(extra: dict) -> bool:
    """Whether a row's other columns say that a generator made it."""
    return isinstance(extra.get("synthetic"), dict)


def _draws(texts: Sequence[str], size: int, seed: int, draws: int) -> list[list[str]]:
    rng = random.Random(seed)
    return [rng.sample(list(texts), size) for _ in range(draws)]


def _range(values: np.ndarray) -> dict:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}
