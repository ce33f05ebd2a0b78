"""One command measured from outside: wall and processor time, peak memory of its process tree, first and last step.

Nothing is put into what is measured: steps are seen by the lines of a file that grows, or by a mark in what is printed.
"""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

TICK = 0.02  # seconds between two looks at the process tree


@dataclass
class Watch:
    """How a step is seen: lines of `file`, or `mark` in the command's own output."""

    file: Path
    mark: bytes = b"\n"


@dataclass
class Measured:
    """Seconds and bytes of one command; `first` and `last` are seconds from its start to its first and last step."""

    wall: float
    cpu: float
    peak_tree: int
    peak_process: int
    first: float | None
    last: float | None
    foreign: float
    code: int


def busy_ticks() -> tuple[int, int]:
    """(busy, all) ticks of the machine since it started, from /proc/stat."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def idle_share(seconds: float = 2.0) -> float:
    """Share of the machine that is idle over the next `seconds`."""
    before = busy_ticks()
    time.sleep(seconds)
    busy, total = (after - old for after, old in zip(busy_ticks(), before, strict=True))
    return 1 - busy / max(total, 1)


def wait_until_idle(share: float, patience: float) -> float:
    """Waits until the machine's idle share is at least `share`, at most `patience` seconds; returns what was seen last."""
    until = time.monotonic() + patience
    while (seen := idle_share()) < share and time.monotonic() < until:
        pass
    return seen


def tree_memory(process: psutil.Process) -> int:
    """Resident bytes of a process and all its children."""
    total = 0
    try:
        for member in [process, *process.children(recursive=True)]:
            total += member.memory_info().rss
    except psutil.NoSuchProcess:  # it ended between two looks; the next look sees the rest
        pass
    return total


class StepClock:
    """Counts marks in a file that grows and notes when the first and the last one of `steps` came."""

    def __init__(self, watch: Watch, steps: int) -> None:
        self.watch, self.steps, self.seen, self.place = watch, steps, 0, 0
        self.first: float | None = None
        self.last: float | None = None

    def look(self, now: float) -> None:
        """Reads what is new since the last look."""
        if not self.watch.file.is_file() or self.watch.file.stat().st_size == self.place:
            return
        with open(self.watch.file, "rb") as file:
            file.seek(self.place)
            new = file.read()
        self.place += len(new)
        self.seen += new.count(self.watch.mark)
        if self.first is None and self.seen:
            self.first = now
        if self.last is None and self.seen >= self.steps:
            self.last = now


def measure(command: list[str], watch: Watch, *, steps: int, environment: dict[str, str], log: Path) -> Measured:
    """Runs a command to its end. Its output goes to `log`."""
    busy, clock, peak = busy_ticks()[0], StepClock(watch, steps), 0
    with open(log, "wb") as out:
        began = time.monotonic()
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environment})
        process = psutil.Process(child.pid)
        while True:
            ended, status, usage = os.wait4(child.pid, os.WNOHANG)
            now = time.monotonic() - began
            clock.look(now)
            if ended:
                break
            peak = max(peak, tree_memory(process))
            time.sleep(TICK)
    child.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    others = (busy_ticks()[0] - busy) / os.sysconf("SC_CLK_TCK") - cpu
    return Measured(wall=now, cpu=cpu, peak_tree=peak, peak_process=usage.ru_maxrss * 1024, first=clock.first,
                    last=clock.last, foreign=max(0.0, others) / now / (os.cpu_count() or 1), code=child.returncode)
