"""What "nearly the same text" means here, in one place: word pairs, their MinHash signature, and one bar.

Two texts are compared by the Jaccard index of their sets of adjacent word pairs. Pairs, not single words, since unrelated
texts share nearly none of them (single words: up to 0.1, which floods every index at a million rows), and not five in a row
as for web pages, since one edited word in ten leaves those a similarity of 0.4 and in five of 0.1. MinHash (Broder 1997)
only finds candidates: every pair that is named was compared by its true sets.

Short texts are held to a higher bar: "explain the concept of X" and "... of Y" share most of their pairs and are not the same.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any
from zlib import crc32

import numpy as np

# Scripts written without spaces (Han, kana, Hangul) count by the character, all else by the word.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
THRESHOLD = 0.4  # for texts of SHORT pairs or more; below, the bar rises to SHORT_THRESHOLD
SHORT_THRESHOLD, SHORT = 0.75, 24
# A candidate is found with probability 1 - (1 - s^3)^42: 0.94 at 0.4, 0.996 at 0.5. The scheme and the seed are pinned, since
# datasketch 2 changed its default and signatures of different schemes are never equal.
BANDS, ROWS_PER_BAND = 42, 3
PERMUTATIONS = BANDS * ROWS_PER_BAND
SCHEME, SEED = "affine32", 1


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation, in one spelling of Unicode (NFKC)."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def normal(text: str) -> str:
    """What two texts share that differ in case, spaces and punctuation alone; the text itself where it has no words."""
    return " ".join(words(text)) or " ".join(text.split())


def shingles(text: str) -> np.ndarray:
    """Hashes of the adjacent word pairs of a text, sorted, each once: uint32 (S,). Of a single word, that word's."""
    found = words(text)
    pairs = [f"{one} {two}" for one, two in zip(found, found[1:], strict=False)] or [normal(text)]
    return np.unique(np.array([crc32(pair.encode("utf-8", "surrogatepass")) for pair in pairs], dtype=np.uint32))


def signature(text_or_shingles: str | np.ndarray) -> np.ndarray:
    """The MinHash signature, uint32 (PERMUTATIONS,). Equal in every process and on every machine."""
    held = shingles(text_or_shingles) if isinstance(text_or_shingles, str) else text_or_shingles
    return _minhash(held).hashvalues


def jaccard(one: np.ndarray, two: np.ndarray) -> float:
    """|A and B| / |A or B| of two sets of shingles."""
    both = len(np.intersect1d(one, two, assume_unique=True))
    return both / (len(one) + len(two) - both)


def bar(size: int, threshold: float = THRESHOLD) -> float:
    """The similarity that counts as near for texts of which the shorter has `size` shingles."""
    rise = max(0.0, 1 - size / SHORT) * max(0.0, SHORT_THRESHOLD - threshold)
    return threshold + rise


def similar(one: str | np.ndarray, two: str | np.ndarray, threshold: float = THRESHOLD) -> float:
    """The similarity of two texts (or of their shingles) if it reaches the bar, else 0."""
    one, two = (shingles(text) if isinstance(text, str) else text for text in (one, two))
    found = jaccard(one, two)
    return found if found >= bar(min(len(one), len(two)), threshold) else 0.0


class Index:
    """Texts by key, in memory, that are asked for the near ones of another text."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        from datasketch import MinHashLSH

        self.threshold = threshold
        self._lsh = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS_PER_BAND))
        self._held: dict[Any, tuple[int, np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, key: Any, text: str) -> None:
        """Enters a text. Raises ValueError for a key that is there already."""
        held, minhash = _prepared(text)
        self._lsh.insert(key, minhash)
        self._held[key] = len(self._held), held

    def near(self, text: str) -> list[tuple[Any, float]]:
        """Keys of the texts that are near, with their similarity; the nearest first, then in the order of entry."""
        held, minhash = _prepared(text)
        scored = []
        for key in self._lsh.query(minhash):
            number, other = self._held[key]
            if score := similar(held, other, self.threshold):
                scored.append((-score, number, key))
        return [(key, -score) for score, _, key in sorted(scored, key=lambda found: found[:2])]


@lru_cache(maxsize=1)
def _blank():
    """A MinHash whose permutations are drawn once. The shingles are hashes already, hence `hashfunc=int`."""
    from datasketch import MinHash

    return MinHash(num_perm=PERMUTATIONS, seed=SEED, hashfunc=int, scheme=SCHEME)


def _prepared(text: str) -> tuple[np.ndarray, Any]:
    held = shingles(text)
    return held, _minhash(held).copy()


def _minhash(held: np.ndarray) -> Any:
    """The MinHash of shingles, until the next call: one object for all, since a new one checks its permutations anew."""
    made = _blank()
    made.clear()
    made.update_batch(held.tolist())
    return made
