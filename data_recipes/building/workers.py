"""Row functions over many rows, on one process or several; the results come in the order of the rows either way.

A worker's function is named as `module:name` and called once in each process with the settings; what it returns is then
called with each line (bytes) and returns anything that pickles.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from typing import Any

from data_recipes.building.steps.base import load
from data_recipes.building.table import Rows

CHUNK = 500  # rows sent to a worker at once
FEW = 4000  # so many rows are quicker done here than processes are started
AHEAD = 3  # chunks waiting for each worker: enough to keep it busy, and a bound on memory


class Workers:
    """A pool that is started when it is first worth it, and closed by `close`."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None

    def each(self, function: str, settings: dict, rows: Rows) -> Iterator[tuple[int, bytes, Any]]:
        """(row, line, result) for each row, in order."""
        spec = function, json.dumps(settings)
        if self.count < 2 or len(rows) < FEW:
            here = _made(*spec)
            yield from ((row, line, here(line)) for row, line in rows.lines())
            return
        lines, waiting = rows.lines(), deque()
        while chunk := list(islice(lines, CHUNK)):
            numbers, texts = zip(*chunk, strict=True)
            waiting.append((numbers, texts, self._start(spec, texts)))
            if len(waiting) > AHEAD * self.count:
                yield from _finished(waiting.popleft())
        while waiting:
            yield from _finished(waiting.popleft())

    def _start(self, spec: tuple[str, str], lines: tuple[bytes, ...]) -> Future:
        if self._pool is None:
            # spawned, not forked: a fork holds whatever locks this process's threads held
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, context, initializer=_end_with_parent)
        return self._pool.submit(_do, spec, lines)

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _finished(waited: tuple[tuple[int, ...], tuple[bytes, ...], Future]) -> Iterator[tuple[int, bytes, Any]]:
    numbers, lines, future = waited
    yield from zip(numbers, lines, future.result(), strict=True)


_HELD: dict[tuple[str, str], Callable[[bytes], Any]] = {}  # a worker keeps only the function of its present step


def _do(spec: tuple[str, str], lines: tuple[bytes, ...]) -> list:
    if spec not in _HELD:
        _HELD.clear()
        _HELD[spec] = _made(*spec)
    return [_HELD[spec](line) for line in lines]


def _made(function: str, settings: str) -> Callable[[bytes], Any]:
    return load(function)(**json.loads(settings))


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever, since its siblings hold the pipe open."""
    parent = multiprocessing.parent_process()
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
