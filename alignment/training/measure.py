"""What a run will take, from its own first steps: seconds and memory, beside the plan; and an end to what cannot fit.

Nothing of the training changes: steps are watched, not repeated. The first step of a process is a warm-up and is not counted in
time; it holds the longest row of all, so that the peak of memory shows at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from transformers import TrainerCallback

from alignment.training.order import EpochOrder

# One step of many seconds says as much as three of few; a step of milliseconds is mostly noise.
LONG, SHORT, FEW, MANY = 30.0, 5.0, 3, 50


@dataclass(frozen=True)
class Schedule:
    """What a run has to do.

    units_S: work of each step, by which seconds are expected to grow: tokens with padding, or 1. start: steps done before.
    period: steps that only together tell a step's time (PPO: the steps of one rollout). evaluates: whether a step, counted from
    1, is followed by an evaluation. held_out: units of one evaluation, in units of a training step; None where that is unknown.
    """

    units_S: np.ndarray
    start: int
    period: int = 1
    evaluates: Callable[[int], bool] = lambda step: False
    held_out: float | None = None

    @property
    def steps(self) -> int:
        return len(self.units_S)

    def evaluations_after(self, step: int) -> int:
        """How many are still to come after `step` steps."""
        return sum(map(self.evaluates, range(step + 1, self.steps + 1)))


@dataclass(frozen=True)
class Timing:
    """An estimate. spent: seconds of training so far in this process; left: those to come, evaluations among them."""

    counted: int
    seconds_per_step: float
    evaluations: int
    seconds_per_evaluation: float
    spent: float
    left: float

    @property
    def hours(self) -> float:
        """From the first step of this process to the last."""
        return (self.spent + self.left) / 3600


def line(units_N: np.ndarray, seconds_N: np.ndarray) -> tuple[float, float]:
    """(base, slope) of seconds = base + slope * units, neither below 0, by least squares; both of shape (N,), N at least 1.

    Between the two plain models: all steps take the same time (slope 0), or time is proportional to work (base 0).
    """
    spread = units_N - units_N.mean()
    slope = float((spread * seconds_N).sum() / (spread**2).sum()) if spread.any() else 0.0
    base = float(seconds_N.mean() - slope * units_N.mean())
    if slope <= 0:
        return float(seconds_N.mean()), 0.0
    return (base, slope) if base >= 0 else (0.0, float(seconds_N.sum() / units_N.sum()))


def estimate(schedule: Schedule, seconds_N: list[float], evaluations_E: list[float], spent: float) -> Timing:
    """Time left after the steps that were measured.

    Args:
        seconds_N: of the steps from `schedule.start` on, the warm-up first. evaluations_E: seconds of those that were made.
        spent: seconds since the first step began.
    """
    done = schedule.start + len(seconds_N)
    first = schedule.start + (1 if schedule.period == 1 and len(seconds_N) > 1 else _unaligned(schedule))
    counted_N = np.array(seconds_N[first - schedule.start :])
    if schedule.period > 1:
        counted_N = counted_N[: len(counted_N) // schedule.period * schedule.period]
        base, slope = float(counted_N.mean()), 0.0
    else:
        base, slope = line(schedule.units_S[first:done].astype(float), counted_N)
    rest_R = base + slope * schedule.units_S[done:]
    per_evaluation = _evaluation(schedule, evaluations_E, base, slope)
    evaluations = schedule.evaluations_after(done)
    left = float(rest_R.sum()) + evaluations * per_evaluation
    mean = float(rest_R.mean()) if len(rest_R) else float(counted_N.mean())
    return Timing(len(counted_N), mean, evaluations, per_evaluation, spent, left)


def _unaligned(schedule: Schedule) -> int:
    """Steps until the next period begins."""
    return -schedule.start % schedule.period


def _evaluation(schedule: Schedule, evaluations_E: list[float], base: float, slope: float) -> float:
    """Seconds of one evaluation: measured, or from its work."""
    if evaluations_E:
        return float(np.mean(evaluations_E))
    if schedule.held_out is None or not schedule.units_S.any():
        return 0.0
    return schedule.held_out * (slope + base / float(schedule.units_S.mean()))


def forward_share(*, all_weights: bool, checkpointing: bool) -> float:
    """Part of a training step's arithmetic that its forward pass is.

    A backward pass costs two forward ones: gradients of activations and of weights (Kaplan et al. 2020, arXiv 2001.08361,
    table 1). An adapter's frozen base needs the first alone; gradient checkpointing is one more forward pass.
    """
    return 1 / (1 + (2 if all_weights else 1) + checkpointing)


def step_units(order: EpochOrder, steps: int, micro: int) -> np.ndarray:
    """Tokens with padding of each of the first `steps` steps, of all processes together, shape (steps,)."""
    found, epoch = [], 0
    while sum(map(len, found)) < steps:
        found.append(padded(order.lengths[order.rows(epoch)], order.batch, micro))
        epoch += 1
    return np.concatenate(found)[:steps]


def padded(lengths_B: np.ndarray, batch: int, micro: int) -> np.ndarray:
    """Tokens of each step where every micro-batch is padded to its longest row; shape (steps,)."""
    steps = _parts(lengths_B, batch)
    return np.array([sum(len(part) * part.max() for part in _parts(step, micro)) for step in steps])


def _parts(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def peak_memory(device: str) -> int:
    """Bytes at the peak so far: what was allocated on a GPU, elsewhere what this process held."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.is_file():  # of this process alone; getrusage's figure is inherited from whoever started it
        peak = next(text for text in status.read_text().splitlines() if text.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    import psutil

    info = psutil.Process().memory_info()
    return getattr(info, "peak_wset", info.rss)


@dataclass
class MeasureCallback(TrainerCallback):
    """Watches the first steps, then tells what the whole run takes.

    on_memory: told the peak in bytes after the first step. on_timing: told a `Timing`, once. Both may raise. on_end: told the
    seconds that the run took from then on. agree: makes one answer of those of all processes.
    """

    schedule: Schedule
    memory: Callable[[], int]
    on_memory: Callable[[int], None]
    on_timing: Callable[[Timing], None]
    on_end: Callable[[float], None] = lambda seconds: None
    agree: Callable[[float], float] = lambda value: value
    clock: Callable[[], float] = time.perf_counter
    seconds: list[float] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    done: bool = False

    def __post_init__(self) -> None:
        self.mark = self.began = self.clock()

    def on_train_begin(self, args, state, control, **kwargs):
        self.mark = self.began = self.clock()

    def on_step_end(self, args, state, control, **kwargs):
        self._spend(self.seconds)
        if self.done:
            return
        if len(self.seconds) == 1:
            self.on_memory(int(self.agree(self.memory())))
        if self.agree(float(self._enough())):
            self.done, self.told = True, self.mark
            self.on_timing(self._timing())

    def on_evaluate(self, args, state, control, **kwargs):
        self._spend(self.evaluations)

    def on_save(self, args, state, control, **kwargs):
        self.mark = self.clock()

    def on_train_end(self, args, state, control, **kwargs):
        if self.done:
            self.on_end(self.clock() - self.told)

    def _spend(self, on: list[float]) -> None:
        now = self.clock()
        on.append(now - self.mark)
        self.mark = now

    def _enough(self) -> bool:
        """Whether the steps so far tell what a step takes."""
        if self.schedule.period > 1:
            return len(self.seconds) >= _unaligned(self.schedule) + self.schedule.period
        counted, seconds = len(self.seconds) - 1, sum(self.seconds[1:])
        ahead = self.schedule.steps - self.schedule.start
        few = counted >= 1 and (seconds >= LONG or counted >= ahead // 2)
        return few or counted >= MANY or (counted >= FEW and seconds >= SHORT)

    def _timing(self) -> Timing:
        return estimate(self.schedule, self.seconds, self.evaluations, self.mark - self.began)


def as_facts(timing: Timing, peak: int, planned: int) -> dict:
    """What the manifest keeps under `hardware.measured`."""
    return {**{name: round(value, 4) for name, value in asdict(timing).items()}, "hours": round(timing.hours, 5),
            "peak_bytes": peak, "planned_bytes": planned}
