"""Progress and words: plain lines for logs, one live line on a terminal, nothing when quiet."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from alignment.cli.progress import Ui, duration, figures, fitting


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def on(ui: Ui, *, terminal: bool) -> io.StringIO:
    """Gives a Ui a console that writes to memory."""
    stream = io.StringIO()
    ui._console = Console(file=stream, force_terminal=terminal, width=120, highlight=False)
    return stream


def lines_of(total: int, seconds: float, start: int = 0) -> list[str]:
    clock = Clock()
    ui = Ui(clock=clock)
    stream = on(ui, terminal=False)
    with ui.steps(total, start) as steps:
        for step in range(start + 1, total + 1):
            clock.now += seconds
            steps.update(step, {"loss": 1.0})
    return stream.getvalue().splitlines()


def test_a_log_gets_the_first_step_each_tenth_and_the_last():
    lines = lines_of(100, seconds=0.1)
    assert [line.split()[1] for line in lines] == ["1/100", *(f"{step}/100" for step in range(10, 101, 10))]


def test_a_slow_run_speaks_every_half_minute():
    lines = lines_of(1000, seconds=10)
    assert [line.split()[1] for line in lines[:4]] == ["1/1000", "4/1000", "7/1000", "10/1000"]


def test_time_left_counts_from_where_this_process_began():
    assert "left 0:18" in lines_of(20, seconds=2, start=10)[0]


def test_the_live_line_shows_figures_and_ends():
    ui = Ui(clock=Clock())
    stream = on(ui, terminal=True)
    with ui.steps(4) as steps:
        steps.update(4, {"loss": 0.5, "learning_rate": 1e-4, "memory_bytes": 2**30, "unknown": 3})
    steps.close()
    assert all(word in stream.getvalue() for word in ("4/4", "loss 0.5000", "lr 1.00e-04", "memory 1.00 GiB"))


def test_quiet_shows_warnings_only():
    ui = Ui(quiet=True)
    stream = on(ui, terminal=False)
    ui.say("a")
    ui.table("t", [("a", 1)])
    ui.text(Text("x"))
    with ui.steps(1) as steps:
        steps.update(1, {"loss": 1.0})
    assert stream.getvalue() == ""
    ui.warn("listen")
    assert stream.getvalue() == "warning: listen\n"


def test_brackets_are_text_and_long_lines_stay_whole():
    ui = Ui()
    stream = on(ui, terminal=False)
    ui.say("[red]x[/red] " + "a" * 200)
    assert stream.getvalue() == "[red]x[/red] " + "a" * 200 + "\n"


def test_a_table_shows_all_cells():
    ui = Ui()
    stream = on(ui, terminal=False)
    ui.table("Data [x]", [("rows", 3), ("tokens", "4,000")], header=("what", "count"))
    assert all(word in stream.getvalue() for word in ("Data [x]", "rows", "3", "tokens", "4,000", "what"))


def test_figures_skip_what_is_not_there():
    assert figures({"loss": None, "tokens_per_second": 1234.5}) == ["tokens/s 1,234"]


def test_older_figures_stay_until_newer_ones_come():
    ui = Ui(clock=Clock())
    stream = on(ui, terminal=False)
    with ui.steps(2) as steps:
        steps.update(1, {"loss": 0.25})
        steps.update(2, {"eval_loss": 0.5, "loss": None})
    assert "loss 0.2500  held-out 0.5000" in stream.getvalue().splitlines()[-1]


def test_a_narrow_terminal_keeps_the_most_important_words():
    assert fitting(["left 0:10", "loss 1.0", "lr 1"], 19) == "left 0:10  loss 1.0"
    assert fitting(["left 0:10", "loss 1.0"], 5) == ""


def test_durations():
    assert [duration(seconds) for seconds in (None, 5, 65, 3661)] == ["?", "0:05", "1:05", "1:01:01"]
