"""One run of a sweep in a process of its own, so that its memory is given back; signals are passed on to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass

CAUGHT = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True)
class Ended:
    """How a run's process ended: exit code, the JSON document that it printed (or nothing), and why it failed."""

    code: int
    document: dict
    why: str


class Children:
    """Runs commands one after the other. `received` is the signal that came meanwhile, or 0."""

    def __init__(self) -> None:
        self.received = 0
        self._child: subprocess.Popen | None = None

    @contextlib.contextmanager
    def passing_signals(self):
        """Inside, SIGTERM and SIGINT go to the run at work, which writes a checkpoint; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._pass_on) for number in CAUGHT}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: object) -> None:
        self.received = number
        if self._child is not None:
            self._child.send_signal(number)

    def run(self, arguments: list[str], *, quiet: bool = False) -> Ended:
        """Runs `python -m alignment ARGUMENTS --json`; what it says goes to standard error, or nowhere when quiet."""
        return self.start([sys.executable, "-m", "alignment", *arguments, "--json"], quiet=quiet)

    def start(self, command: list[str], *, quiet: bool) -> Ended:
        """Runs a command that prints one JSON document, to its end."""
        # a group of its own: a terminal's Ctrl-C would reach it beside ours, and two signals stop a stage without a checkpoint
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"process_group": 0}
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else None, text=True,
            encoding="utf-8", **apart,
        )
        if self.received:  # it came while the process was being made
            self._child.send_signal(self.received)
        printed, _ = self._child.communicate()
        code = self._child.returncode
        self._child = None
        return _ended(code if code >= 0 else 128 - code, printed)


def _ended(code: int, printed: str) -> Ended:
    try:
        document = json.loads(printed)
    except ValueError:  # killed before it could say anything
        return Ended(code, {}, f"it ended with {code} and said nothing")
    return Ended(code, document, (document.get("error") or {}).get("message", ""))
