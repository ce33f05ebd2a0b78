"""SIGTERM and SIGINT: stop at a place from which the same command continues.

While the optimizer loop runs, a signal is remembered and the loop writes a checkpoint after the present step. Elsewhere
(loading, rendering, saving) it stops at once: nothing there is half done, since results appear by rename. A second signal
stops at once everywhere.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading

from data_recipes.errors import Interrupted

CAUGHT = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """Remembers the signal that came; `received` is its number or 0."""

    def __init__(self) -> None:
        self.received = 0
        self.waiting = False  # true while the loop will look at `received` by itself

    def handle(self, number: int, frame: object) -> None:
        if self.received:
            os._exit(128 + number)  # the second one: no clean-up, the last sealed checkpoint stands
        self.received = number
        if not self.waiting:
            raise Interrupted(number, do="The same command again goes on where it can, or begins anew.")

    @contextlib.contextmanager
    def at_step_end(self):
        """Inside, a signal waits for the end of the optimizer step."""
        self.waiting = True
        try:
            yield self
        finally:
            self.waiting = False

    def raise_if_received(self, **details: str) -> None:
        """Raises Interrupted where a signal came."""
        if self.received:
            raise Interrupted(self.received, **details)


@contextlib.contextmanager
def caught():
    """Installs the handlers for the time of a stage; outside the main thread Python allows none."""
    signals = Signals()
    with _handled(signals.handle):
        yield signals


def uncaught():
    """The system's own way with signals for a while, for a wait outside of Python: a handler is not heard there."""
    return _handled(signal.SIG_DFL)


@contextlib.contextmanager
def _handled(how):
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, how) for number in CAUGHT}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
