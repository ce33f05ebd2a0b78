"""Whether a text repeats an evaluation set, and where: word n-grams in common, counted by what share of the item they cover.

A single n-gram in common proves little (in one large audit 88 of 114 sources so flagged were false alarms, so every
finding shows its span and a reviewed list of phrases can be let pass). What counts is how much of one evaluation text is
covered by n-grams that one training text has in common with it. A text shorter than an n-gram counts where it is the whole
message. Prompts and answers alike are looked at on both sides, each message by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from unicodedata import normalize

import numpy as np

from data_recipes import near

NGRAM = 5  # a leak with one word in ten changed has runs of five left; unrelated texts share few, and cover little
SHARE = 0.3
# One n-gram of a short question covers a third of it ("What do you think about"): so many words count, or more than half of
# it. Tried: MT-bench against six published sets of 4,365 rows gave 20 false alarms without this and none with it.
FEWEST, HALF = 7, 0.5
UNKNOWN = -1  # a word that no evaluation text has
BASE = np.uint64(0x9E3779B97F4A7C15)


class Item(NamedTuple):
    """A text of an evaluation set. where: its "file:line". part: "prompt" or "answer"."""

    where: str
    part: str
    text: str


@dataclass(frozen=True)
class Span:
    """What a text has in common with an item.

    start, end: characters of the text from the first common word to the last. share: of the item's words that are
    covered. text: that piece of the text.
    """

    item: Item
    start: int
    end: int
    share: float
    text: str


class Index:
    """Evaluation texts, to be asked for overlaps. Memory: 16 bytes a word of theirs.

    Args:
        allowed: phrases that may be shared: words they cover count neither as common nor as the item's.
    """

    def __init__(self, items: Iterable[Item], ngram: int = NGRAM, share: float = SHARE, allowed: Iterable[str] = ()) -> None:
        self.items, self.ngram, self.share = list(items), ngram, share
        self.vocabulary: dict[str, int] = {}
        self.short: dict[str, list[int]] = {}
        self.allowed = frozenset(tuple(near.words(phrase)) for phrase in allowed) - {()}
        self.counted = np.zeros(len(self.items), np.int64)
        none = np.zeros(0, np.uint64), np.zeros(0, np.int32), np.zeros(0, np.int32)
        found = [none, *(self._enter(number, item) for number, item in enumerate(self.items))]
        hashes, owners, places = (np.concatenate(column) for column in zip(*filter(None, found), strict=True))
        order = np.argsort(hashes, kind="stable")
        self.hashes, self.owners, self.places = hashes[order], owners[order], places[order]

    def _enter(self, number: int, item: Item) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        words = near.words(item.text)
        free = ~covered(words, self.allowed)
        self.counted[number] = free.sum()
        if len(words) < self.ngram:
            # "Negative" and "3" answer a hundred questions each
            if words and free.any() and (item.part == "prompt" or len(words) > 2):
                self.short.setdefault(" ".join(words), []).append(number)
            return None
        ids = np.array([self.vocabulary.setdefault(word, len(self.vocabulary)) for word in words])
        grams = ngrams(ids, self.ngram)
        places = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(free, self.ngram).any(axis=1))
        return grams[places], np.full(len(places), number, np.int32), places.astype(np.int32)


def overlaps(text: str, index: Index) -> list[Span]:
    """The items of which a text covers at least `index.share`, the most covered first."""
    words = _words(text)
    if len(words) < index.ngram:
        return [Span(index.items[number], 0, len(text), 1.0, text) for number in index.short.get(" ".join(words), ())]
    ids = np.array([index.vocabulary.get(word, UNKNOWN) for word in words])
    mine, theirs = _common(ids, index)
    numbers, spans = _enough(theirs, index), []
    found = list(near.WORD.finditer(text)) if numbers else []
    for number in numbers:
        of_item = index.owners[theirs] == number
        share = _covered_share(index.places[theirs[of_item]], number, index)
        if share >= index.share and (share > HALF or share * index.counted[number] >= FEWEST):
            start = found[mine[of_item].min()].start()
            end = found[mine[of_item].max() + index.ngram - 1].end()
            spans.append(Span(index.items[number], start, end, share, text[start:end]))
    return sorted(spans, key=lambda span: -span.share)


def _words(text: str) -> list[str]:
    """A text's words, one for each match of `near.WORD` in it: levelling the whole text first could part them otherwise."""
    if text.isascii():
        return near.WORD.findall(text.lower())
    return [normalize("NFKC", word).casefold() for word in near.WORD.findall(text)]


def _enough(theirs: np.ndarray, index: Index) -> list[int]:
    """The items whose n-grams at these places of the index cover enough of them, allowed phrases aside."""
    if not len(theirs):
        return []
    pairs = np.unique(index.owners[theirs].astype(np.int64) << 32 | index.places[theirs])
    gaps = np.minimum(np.diff(pairs, append=pairs[-1] + (1 << 32)), index.ngram)  # words that each covers before the next
    owners = pairs >> 32
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    items = owners[first]
    return items[np.add.reduceat(gaps, first) >= index.share * np.maximum(1, index.counted[items])].tolist()


def _common(ids: np.ndarray, index: Index) -> tuple[np.ndarray, np.ndarray]:
    """Common n-grams as pairs (place in the text, place in the index)."""
    unknown = np.concatenate([[0], np.cumsum(ids == UNKNOWN)])
    places = np.flatnonzero(unknown[index.ngram:] == unknown[:-index.ngram])
    if not len(places) or not len(index.hashes):
        return places[:0], places[:0]
    grams = ngrams(ids, index.ngram)[places]
    left, right = (np.searchsorted(index.hashes, grams, side) for side in ("left", "right"))
    counts = right - left
    first = np.repeat(left - np.cumsum(counts) + counts, counts)
    return np.repeat(places, counts), first + np.arange(counts.sum())


def _covered_share(places: np.ndarray, number: int, index: Index) -> float:
    """The share of an item's words that lie in one of the n-grams at these places of it."""
    words = np.unique(places[:, None] + np.arange(index.ngram))
    if index.allowed:
        free = ~covered(near.words(index.items[number].text), index.allowed)
        words = words[free[words]]
    return len(words) / max(1, int(index.counted[number]))


def ngrams(ids: np.ndarray, size: int) -> np.ndarray:
    """Hashes of each `size` whole numbers in a row, uint64 (N - size + 1,)."""
    numbers, count = ids.astype(np.uint64) + np.uint64(1), len(ids) - size + 1
    hashes = np.zeros(count, np.uint64)
    with np.errstate(over="ignore"):
        for column in range(size):
            hashes = (hashes ^ numbers[column:column + count]) * BASE
            hashes ^= hashes >> np.uint64(31)
    return hashes


def covered(words: list[str], phrases: frozenset[tuple[str, ...]]) -> np.ndarray:
    """Which of the words lie inside of one of the phrases, bool (N,)."""
    inside = np.zeros(len(words), bool)
    for size in {len(phrase) for phrase in phrases}:
        for start in range(len(words) - size + 1):
            if tuple(words[start:start + size]) in phrases:
                inside[start:start + size] = True
    return inside
