"""Equal and near-equal texts among millions, as `near.py` tells them, with the index on the disk.

A million texts have 42 million bands; a dictionary of them takes gigabytes. Here the bands of each number lie in a file of
their own, which is sorted alone: texts that stand in one run of equal keys are candidates, and every pair that counts was
compared by its true shingles. In `leaders` each text joins the earlier one that it resembles most; `linked` links all near
pairs. Both look at no more than MOST candidates of a text, those that share the most bands with it; that changes something
only in a family of thousands of texts from one template.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from data_recipes import near

CHUNK = 4096  # texts at once
MOST, GATHERED = 256, 4096  # candidates compared for one text, and looked at to choose them
ALONE = -1  # the run of a band that no other text shares


class Prepared:
    """Shingles and bands of texts in files below a folder.

    ends: int64 (N+1,), where the shingles of each text end; its i-th text has shingles ends[i] to ends[i+1].
    """

    def __init__(self, folder: Path, ends: np.ndarray) -> None:
        self.folder, self.ends = folder, ends
        self._file = os.open(folder / "shingles", os.O_RDONLY)
        self.shingles = lru_cache(maxsize=1 << 15)(self._shingles)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def _shingles(self, at: int) -> np.ndarray:
        """The shingles of one text, sorted: uint32 (S,)."""
        start, end = int(self.ends[at]), int(self.ends[at + 1])
        return np.frombuffer(os.pread(self._file, 4 * (end - start), 4 * start), np.uint32)

    def __enter__(self) -> Prepared:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file of shingles and removes all files."""
        os.close(self._file)
        for path in sorted(self.folder.iterdir()):
            path.unlink()
        self.folder.rmdir()


@dataclass(frozen=True)
class Cluster:
    """members: positions of the texts, the first of them the one that the others resemble. similarities: to it, 1.0 first."""

    members: tuple[int, ...]
    similarities: tuple[float, ...]


def clusters(texts: Iterable[str], threshold: float = near.THRESHOLD) -> list[Cluster]:
    """Groups of near and equal texts, in the order of their first members; what compares them lies in a temporary folder.

    Everybody in a group resembles its first: linking through members would chain a whole template family into one.
    """
    with tempfile.TemporaryDirectory() as folder, prepare_texts(texts, Path(folder) / "bands") as prepared:
        leader, score = leaders(prepared, threshold)
    members: dict[int, list[int]] = {}
    for at, first in enumerate(leader.tolist()):
        members.setdefault(first, []).append(at)
    return [Cluster(tuple(found), tuple(score[found].tolist())) for found in members.values() if len(found) > 1]


def prepare_texts(texts: Iterable[str], folder: Path) -> Prepared:
    """As `prepare`, of the texts themselves."""
    return prepare(((held, near.signature(held)) for held in map(near.shingles, texts)), folder)


def prepare(texts: Iterable[tuple[np.ndarray, np.ndarray]], folder: Path) -> Prepared:
    """Writes what is needed to compare texts.

    Args:
        texts: shingles, uint32 (S,), and signature, uint32 (near.PERMUTATIONS,), of each; see `near`.
        folder: is made, and removed by `Prepared.close`.
    """
    folder.mkdir(parents=True)
    ends = [np.zeros(1, np.int64)]
    with ExitStack() as stack:
        shingles = stack.enter_context(open(folder / "shingles", "wb"))
        bands = [stack.enter_context(open(_band(folder, number), "wb")) for number in range(near.BANDS)]
        for chunk in _chunks(texts):
            held, signatures = zip(*chunk, strict=True)
            shingles.write(np.concatenate(held).tobytes())
            ends.append(ends[-1][-1] + np.cumsum([len(one) for one in held], dtype=np.int64))
            for file, keys in zip(bands, band_keys(np.stack(signatures)).T, strict=True):
                file.write(np.ascontiguousarray(keys).tobytes())
    return Prepared(folder, np.concatenate(ends))


def band_keys(signatures_NK: np.ndarray) -> np.ndarray:
    """64-bit keys of the bands of signatures, uint64 (N, near.BANDS); equal bands have equal keys."""
    parts = signatures_NK.reshape(len(signatures_NK), near.BANDS, near.ROWS_PER_BAND).astype(np.uint64)
    keys = np.zeros(parts.shape[:2], np.uint64)
    with np.errstate(over="ignore"):
        for column in range(near.ROWS_PER_BAND):
            keys = (keys ^ parts[:, :, column]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
    return keys


def leaders(prepared: Prepared, threshold: float = near.THRESHOLD, leading: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Each text joins the earlier leader that it resembles most, or leads itself.

    Args:
        leading: so many texts at the start lead in any case: a set that another is compared with.

    Returns:
        Each text's leader (itself, where it leads), int32 (N,), and its similarity to it, float32 (N,).
    """
    leader, score = np.arange(len(prepared), dtype=np.int32), np.ones(len(prepared), np.float32)
    runs = _Runs(prepared)
    for at, candidates in runs.pass_through(lambda at: at < leading or leader[at] == at):
        if at >= leading and len(candidates) and (found := _nearest(prepared, at, candidates, threshold)):
            leader[at], score[at] = found
    return leader, score


def linked(prepared: Prepared, threshold: float = near.THRESHOLD) -> np.ndarray:
    """Groups in which any two near texts are together: the first text of each text's group, int32 (N,)."""
    groups = Groups(len(prepared))
    for at, candidates in _Runs(prepared).pass_through(lambda _at: True):
        if len(candidates):
            for other in candidates[_scores(prepared, at, candidates, threshold) > 0].tolist():
                groups.join(at, other)
    return groups.first()


class Groups:
    """Union-find over 0..N-1; each group is named by its smallest member."""

    def __init__(self, size: int) -> None:
        self.above = np.arange(size, dtype=np.int32)

    def find(self, at: int) -> int:
        """The smallest member of the group of `at`."""
        while (up := int(self.above[at])) != at:
            self.above[at] = self.above[up]
            at = up
        return at

    def join(self, one: int, other: int) -> None:
        """Makes one group of two."""
        one, other = sorted((self.find(one), self.find(other)))
        self.above[other] = one

    def join_equal(self, keys: np.ndarray) -> None:
        """Joins all members that have equal keys, of any type that can be sorted, shape (N,)."""
        _, first, which = np.unique(keys, return_index=True, return_inverse=True)
        for at in np.flatnonzero(first[which] != np.arange(len(keys))).tolist():
            self.join(int(first[which[at]]), at)

    def first(self) -> np.ndarray:
        """Each member's group, int32 (N,)."""
        return np.array([self.find(at) for at in range(len(self.above))], np.int32)


class _Runs:
    """The runs of equal keys in every band, and who of the texts passed so far was entered into them."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared, sizes = prepared, []
        for number in range(near.BANDS):
            sizes.append(self._sort_band(number, sum(map(len, sizes))))
        sizes = np.concatenate(sizes)
        self.starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])
        self.count = np.zeros(len(sizes), np.int32)
        self.entered = np.empty(int(self.starts[-1]), np.int32)

    def _sort_band(self, number: int, runs_before: int) -> np.ndarray:
        """Writes each text's run over the band's keys, int32 (N,); returns the sizes of the runs."""
        path = _band(self.prepared.folder, number)
        _, which, counts = np.unique(np.fromfile(path, np.uint64), return_inverse=True, return_counts=True)
        shared = counts > 1
        numbers = np.where(shared, np.cumsum(shared) - 1 + runs_before, ALONE).astype(np.int32)
        numbers[which].tofile(path)
        return counts[shared]

    def pass_through(self, enters: Callable[[int], bool]) -> Iterator[tuple[int, np.ndarray]]:
        """Each text in order with its candidates among the earlier ones that `enters` let in; it is asked afterwards."""
        for start in range(0, len(self.prepared), CHUNK):
            count = min(CHUNK, len(self.prepared) - start)
            columns = [np.fromfile(_band(self.prepared.folder, number), np.int32, count, offset=4 * start)
                       for number in range(near.BANDS)]
            runs_NB = np.stack(columns, axis=1)
            shares = (runs_NB != ALONE).any(axis=1).tolist()
            for row in range(count):
                runs = runs_NB[row][runs_NB[row] != ALONE] if shares[row] else runs_NB[row, :0]
                yield start + row, self._candidates(runs)
                if len(runs) and enters(start + row):
                    self.entered[self.starts[runs] + self.count[runs]] = start + row
                    self.count[runs] += 1

    def _candidates(self, runs: np.ndarray) -> np.ndarray:
        """Texts that share a run, at most MOST: int32, those first that share the most; of two alike, the earlier."""
        runs = runs[self.count[runs] > 0]
        if not len(runs):
            return runs
        runs = runs[np.argsort(self.count[runs], kind="stable")]  # small runs first: those of a template say little
        enough = int(np.searchsorted(np.cumsum(self.count[runs]), GATHERED)) + 1
        parts = [self.entered[start:start + count] for start, count in
                 zip(self.starts[runs[:enough]].tolist(), self.count[runs[:enough]].tolist(), strict=True)]
        found, shared = np.unique(np.concatenate(parts), return_counts=True)
        return found[np.argsort(-shared, kind="stable")[:MOST]]


def _nearest(prepared: Prepared, at: int, candidates: np.ndarray, threshold: float) -> tuple[int, float] | None:
    scores = _scores(prepared, at, candidates, threshold)
    best = np.lexsort((candidates, -scores))[0]
    return (int(candidates[best]), float(scores[best])) if scores[best] else None


def _scores(prepared: Prepared, at: int, candidates: np.ndarray, threshold: float) -> np.ndarray:
    """What `near.similar` gives for a text and each candidate, float64 (C,), all at once."""
    held, others = prepared.shingles(at), [prepared.shingles(other) for other in candidates.tolist()]
    sizes = np.array([len(other) for other in others])
    together = np.concatenate(others)
    found = np.minimum(np.searchsorted(held, together), len(held) - 1)
    both = np.add.reduceat(held[found] == together, np.cumsum(sizes) - sizes, dtype=np.int64)
    scores = both / (len(held) + sizes - both)
    bars = np.array([near.bar(int(size), threshold) for size in np.minimum(sizes, len(held))])
    return np.where(scores >= bars, scores, 0.0)


def _band(folder: Path, number: int) -> Path:
    return folder / f"band-{number:02}"


def _chunks(texts: Iterable) -> Iterator[list]:
    chunk = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
