"""What a person sees while a command works: words, tables and the progress of training, all on standard error.

Standard output belongs to results (one JSON document with `--json`), so nothing here ever writes to it. On a terminal
training shows one live line; elsewhere (a log file, a scheduler) it prints a plain line at each tenth of the way and
at least every thirty seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

# The figures shown while training, in this order; everything else goes to metrics.jsonl only.
FIGURES: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("loss", "loss", lambda value: f"{value:.4f}"),
    ("score/mean", "score", lambda value: f"{value:.3f}"),
    ("kl/k1", "kl", lambda value: f"{value:.2f}"),
    ("eval_gold", "held-out gold", lambda value: f"{value:.3f}"),
    ("eval_proxy", "held-out score", lambda value: f"{value:.3f}"),
    ("eval_loss", "held-out", lambda value: f"{value:.4f}"),
    ("eval_loss_change", "from its least", lambda value: f"{value:+.4f}"),
    ("eval_replay_loss", "general", lambda value: f"{value:.4f}"),
    ("rewards/accuracies", "accuracy", lambda value: f"{value:.2f}"),
    ("accuracy", "accuracy", lambda value: f"{value:.2f}"),
    ("learning_rate", "lr", lambda value: f"{value:.2e}"),
    ("tokens_per_second", "tokens/s", lambda value: f"{value:,.0f}"),
    ("memory_bytes", "memory", lambda value: f"{value / 2**30:.2f} GiB"),
    ("grad_norm", "norm", lambda value: f"{value:.2f}"),
)


class Ui:
    """Speaks to the person at the terminal, or stays quiet.

    Args:
        json: whether the command prints a JSON document; words then still go to standard error.
        quiet: print nothing at all but warnings (Python use, and all processes but the first).
        clock: seconds; replaced in tests.
    """

    def __init__(self, json: bool = False, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.json, self.quiet, self.clock = json, quiet, clock
        self._console = None
        self.silent = False
        self.on_measured: Callable[[dict[str, Any]], None] | None = None

    @property
    def console(self):
        """The rich console on standard error, made at first use because importing rich takes time."""
        if self._console is None:
            from rich.console import Console

            # Without a terminal rich assumes 80 columns and would break file names in two.
            width = None if sys.stderr.isatty() else 120
            self._console = Console(stderr=True, width=width, highlight=False, soft_wrap=False)
        return self._console

    def say(self, text: str) -> None:
        """Prints a line. Brackets are text, never rich's markup."""
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Prints a warning; this one is heard even when quiet, though not from every one of several processes."""
        if not self.silent:
            self.console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    def table(self, title: str, rows: Iterable[tuple], header: tuple[str, ...] = ()) -> None:
        """Prints a small table; the first column is the name of each row."""
        if self.quiet:
            return
        from rich import box
        from rich.table import Table
        from rich.text import Text

        rows = [tuple(Text(str(cell)) for cell in row) for row in rows]
        made = Table(title=Text(title), title_justify="left", box=box.SIMPLE, show_header=bool(header), pad_edge=False)
        for index in range(max((len(row) for row in rows), default=len(header))):
            made.add_column(header[index] if index < len(header) else "", overflow="fold")
        for row in rows:
            made.add_row(*row)
        self.console.print(made)

    def text(self, renderable: Any) -> None:
        """Prints anything that rich renders, such as a row coloured by what is trained."""
        if not self.quiet:
            self.console.print(renderable)

    def measured(self, facts: dict[str, Any]) -> None:
        """Told once what a run will take (`hardware.measured` of its manifest), after its first steps; may end it."""
        if self.on_measured is not None:
            self.on_measured(facts)

    def steps(self, total: int, start: int = 0) -> Steps:
        """Begins a progress display of `total` optimizer steps, of which `start` are done already."""
        if self.quiet:
            return Steps(total, start, self.clock)
        kind = LiveSteps if self.console.is_terminal else PlainSteps
        return kind(total, start, self.clock, self.console)


class Steps:
    """A progress display that shows nothing; the two below say how it looks."""

    def __init__(self, total: int, start: int, clock: Callable[[], float], console: Any = None) -> None:
        self.total, self.start, self.clock, self.console = total, start, clock, console
        self.began, self.latest = clock(), {}

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, step: int, metrics: dict[str, Any]) -> None:
        """Tells that `step` optimizer steps are done, with the newest figures; older ones stay until then."""

    def words(self, step: int, metrics: dict[str, Any]) -> list[str]:
        """What is worth saying after a step, the most important first."""
        self.latest |= {name: value for name, value in metrics.items() if value is not None}
        return [f"left {duration(self.seconds_left(step))}", *figures(self.latest)]

    def close(self) -> None:
        """Ends the display; safe to call twice."""

    def seconds_left(self, step: int) -> float | None:
        """Remaining seconds by the mean speed since this process began; None before the first step."""
        done = step - self.start
        return (self.clock() - self.began) / done * (self.total - step) if done > 0 else None


class PlainSteps(Steps):
    """Lines at intervals, for logs."""

    def __init__(self, *args: Any, every_seconds: float = 30.0) -> None:
        super().__init__(*args)
        self.every_seconds, self.spoke_at = every_seconds, self.began
        self.spoke_tenth = self.start * 10 // max(self.total, 1)

    def update(self, step: int, metrics: dict[str, Any]) -> None:
        words = self.words(step, metrics)
        tenth = step * 10 // max(self.total, 1)
        late = self.clock() - self.spoke_at >= self.every_seconds
        if tenth == self.spoke_tenth and not late and step != self.start + 1:
            return
        self.spoke_tenth, self.spoke_at = tenth, self.clock()
        self.console.print("  ".join([f"step {step}/{self.total}", *words]), markup=False, soft_wrap=True)


class LiveSteps(Steps):
    """One line that is drawn anew, for terminals."""

    BAR = 16

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (BarColumn(bar_width=self.BAR), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
        self.progress = Progress(*columns, console=self.console, transient=False)
        self.task = self.progress.add_task("", total=self.total, completed=self.start)
        self.progress.start()

    def update(self, step: int, metrics: dict[str, Any]) -> None:
        # rich would squeeze the bar to nothing rather than cut the words of a narrow terminal.
        room = self.console.width - self.BAR - 2 * len(str(self.total)) - 4
        self.progress.update(self.task, completed=step, description=fitting(self.words(step, metrics), room))

    def close(self) -> None:
        self.progress.stop()


def figures(metrics: dict[str, Any]) -> list[str]:
    """The figures of `metrics` worth a place on one line, written for people."""
    found = [(label, show(metrics[name])) for name, label, show in FIGURES if metrics.get(name) is not None]
    return [f"{label} {text}" for label, text in found]


def fitting(words: list[str], room: int) -> str:
    """As many words, from the first on, as fit into `room` columns with two spaces between."""
    text = ""
    for word in words:
        longer = f"{text}  {word}" if text else word
        if len(longer) > room:
            break
        text = longer
    return text


def duration(seconds: float | None) -> str:
    """`1:02:03` or `2:03`; a question mark where nothing is known yet."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
