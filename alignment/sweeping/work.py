"""A sweep at work: the grid checked, each run made by its own stage, then the table, the plot and the page."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_recipes.errors import Failed, Interrupted, Refused
from data_recipes.files import write_bytes, write_text

from alignment import preflight
from alignment.runs import Run, locked
from alignment.sweeping import metrics, table
from alignment.sweeping.children import Children
from alignment.sweeping.grid import Grid, Load, Point, make_grid
from alignment.sweeping.record import SWEEP, Record, open_record, request_of

TABLE, PLOT, PAGE = "sweep.csv", "sweep.png", "report.html"


@dataclass
class Sweep:
    """What is asked for.

    arguments: of the stage's own command line, without its output. load: the config that they make, with some
    `section.key=value` laid over it. by: the figure that decides, or None for the stage's main one.
    """

    stage: str
    arguments: list[str]
    load: Load
    over: dict[str, list]
    seeds: int
    output: Path
    by: str | None = None
    restart: bool = False
    ui: Any = None
    grid: Grid = field(init=False)

    def check(self) -> None:
        """Everything that can be refused in a moment, for every run, before any of them begins."""
        self.grid = make_grid(self.over, self.seeds, self.load)
        config = self.load([])
        metrics.check_name(self.stage, self.by, config)
        for setting in self.grid.settings:
            preflight.check(self.load(setting.sets()), self.output)
        self.ui.say(f"{len(self.grid.points)} runs of align {self.stage}: {len(self.grid.settings)} settings x "
                    f"{len(self.grid.seeds)} seeds, held-out rows by seed {self.grid.split_seed}")

    def command(self, point: Point) -> list[str]:
        """The stage's command line of one run."""
        sets = [word for text in point.sets for word in ("--set", text)]
        return [self.stage, *self.arguments, *sets, "--output", str(self.output / point.name)]

    def best_command(self, values: dict[str, Any]) -> str:
        """The line that trains with some values, as it can be typed."""
        setting = next(setting for setting in self.grid.settings if setting.values == values)
        sets = [word for text in setting.sets() for word in ("--set", text)]
        output = self.output.with_name(f"{self.output.name}-best")
        return shlex.join(["align", self.stage, *self.arguments, *sets, "--output", str(output)])


def run(sweep: Sweep) -> dict:
    """Runs or continues a sweep; returns what `--json` prints.

    Raises:
        Refused: wrong use, or another sweep than the folder's. Failed: some runs failed; its document holds the others.
        Interrupted: a signal came; the same command continues.
    """
    sweep.check()
    configs = [sweep.load(setting.sets()) for setting in sweep.grid.settings]
    config = sweep.load([])
    request = request_of(sweep.stage, sweep.grid, config, configs)
    with locked(sweep.output, sweep=True):
        record = open_record(sweep.output, request, sweep.grid, restart=sweep.restart, usual=config.usual(), ui=sweep.ui)
        failed = _make_runs(sweep, record)
        result = conclude(sweep, record)
        record.write(state="failed" if failed else "completed", result=result)
    if failed:
        _raise_failed(sweep, record, failed, result)
    return result


def _make_runs(sweep: Sweep, record: Record) -> list[Point]:
    """Makes what is not made yet; returns the runs that failed."""
    failed, began, made = [], time.monotonic(), 0
    waiting = [point for point in sweep.grid.points if not record.done(point)]
    for point in sweep.grid.points:
        if point not in waiting:
            record.entry(point)["state"] = "completed"
    if len(waiting) < len(sweep.grid.points):
        sweep.ui.say(f"{len(sweep.grid.points) - len(waiting)} runs are completed already")
    with Children().passing_signals() as children:
        for point in waiting:
            if children.received:
                _stop(sweep, record, children.received)
            left = f", about {_clock((time.monotonic() - began) / made * (len(waiting) - made))} left" if made else ""
            sweep.ui.say(f"run {made + 1} of {len(waiting)}: {point.name}{left}")
            if not _make(sweep, record, point, children):
                failed.append(point)
            made += 1
    return failed


def _make(sweep: Sweep, record: Record, point: Point, children: Children) -> bool:
    """Makes one run; whether it came to its end. Raises Interrupted where a signal came."""
    began = time.monotonic()
    record.note(point, state="running", error=None)
    ended = children.run(sweep.command(point), quiet=sweep.ui.quiet)
    stopped = children.received or (ended.code - 128 if ended.code in (130, 143) else 0)
    state = "interrupted" if stopped else "failed" if ended.code else "completed"
    record.note(point, state=state, error=ended.why or None, seconds=round(time.monotonic() - began, 1))
    if stopped:
        _stop(sweep, record, stopped)
    if state == "failed":
        sweep.ui.warn(f"{point.name} failed: {ended.why}")
    elif sweep.by:  # a figure that the first run does not have, no run will have
        metrics.choose(Run.open(record.folder(point)), sweep.by)
    return state == "completed"


def _stop(sweep: Sweep, record: Record, number: int) -> None:
    record.write(state="interrupted")
    raise Interrupted(number, where=str(sweep.output), do="The same command continues the sweep.")


def _clock(seconds: float) -> str:
    from alignment.cli.progress import duration

    return duration(seconds)


def _raise_failed(sweep: Sweep, record: Record, failed: list[Point], result: dict) -> None:
    first = record.entry(failed[0])["error"]
    error = Failed(f"{len(failed)} of {len(sweep.grid.points)} runs failed ({table.named(failed)})", where=sweep.output,
                   expected="all to be completed", do=f"The first one said: {first} The same command tries them again.")
    error.document = result
    raise error


# ------------------------------------------------------------------------------------------------------- what came of it


def conclude(sweep: Sweep, record: Record) -> dict:
    """Writes sweep.csv, sweep.png and report.html; returns the result."""
    finished = [point for point in sweep.grid.points if record.done(point)]
    figures = {point.name: metrics.figures_of(Run.open(record.folder(point))) for point in finished}
    result: dict[str, Any] = {"sweep": str(sweep.output), "stage": sweep.stage, "over": record.content["request"]["over"],
                              "seeds": list(sweep.grid.seeds), "runs": record.content["runs"]}
    write_text(sweep.output / TABLE, table.as_csv(sweep.grid, record.content["runs"], figures))
    if not figures:
        return {**result, "by": None, "settings": [], "best": None, "notes": [], "table": str(sweep.output / TABLE)}
    by = metrics.choose(Run.open(record.folder(finished[0])), sweep.by)
    rows = table.tabulate(sweep.stage, sweep.grid, by, figures)
    best = table.best_of(rows)
    lead = table.ahead(rows, best, by) if best else None
    said = table.notes(sweep.grid, by, rows, best, lead)
    chosen = {**best, "command": sweep.best_command(best["values"]), "ahead": lead} if best else None
    files = _write_page(sweep, record, by, rows, chosen, said)
    return {**result, "by": {"name": by.name, "better": "lower" if by.lower else "higher"}, "settings": rows, "best": chosen,
            "notes": said, **files}


def _write_page(sweep: Sweep, record: Record, by: metrics.By, rows: list[dict], best: dict | None, said: list[str]) -> dict:
    """The plot and the page; returns where they lie."""
    from alignment.evaluate.figures import png, svg_uri
    from alignment.evaluate.page import render
    from alignment.evaluate.page import table as page_table
    from alignment.sweeping.picture import draw_sweep

    figure = draw_sweep(sweep.grid, by, rows, best)
    write_bytes(sweep.output / PLOT, png(figure))
    title, header, body = table.printed(sweep.grid.keys, by, rows)
    entries = record.content["runs"]
    runs = page_table([(run["name"], run["state"], run.get("seconds"), run.get("error")) for run in entries],
                      ("run", "state", "seconds", "why"), "Runs")
    page = render(
        "page_sweep.jinja", title=f"Sweep of align {sweep.stage}",
        subtitle=f"{len(entries)} runs in {sweep.output.name}, {SWEEP}",
        figure=svg_uri(figure), made=page_table(body, header, title), best=best, notes=said, runs=runs,
    )
    write_text(sweep.output / PAGE, page)
    return {name: str(sweep.output / file) for name, file in (("table", TABLE), ("plot", PLOT), ("page", PAGE))}


# ------------------------------------------------------------------------------------------------------------ dry run


def plan(sweep: Sweep, more: Iterable[str] = ()) -> dict:
    """What `--dry-run` says: all runs, by the dry run of one of each length; nothing is written.

    more: options of the stage's dry run, such as `--measure`.
    """
    sweep.check()
    points = sweep.grid.points
    firsts = {_length(point): point for point in reversed(points)}  # of each length the first one
    with Children().passing_signals() as children:
        said = {length: _dry(sweep, point, children, more) for length, point in reversed(firsts.items())}
    each = [said[_length(point)] for point in points]
    runs = [{"name": point.name, "values": dict(point.setting.values), "seed": point.seed, "steps": one.get("steps")}
            for point, one in zip(points, each, strict=True)]
    hours = None if each[0].get("measured") is None else sum(one["measured"]["hours"] for one in each)
    return {"dry_run": True, "stage": sweep.stage, "runs": runs, "steps": each[0].get("steps"),
            "hardware": each[0].get("hardware"), "measured": each[0].get("measured"), "hours": hours}


def _length(point: Point) -> str:
    """What tells how long a run takes: its values but the rate."""
    return str({key: value for key, value in point.setting.values.items() if key != "training.learning_rate"})


def _dry(sweep: Sweep, point: Point, children: Children, more: Iterable[str]) -> dict:
    """The document of one run's own dry run."""
    anew = ["--restart"] if sweep.restart else []
    ended = children.run([*sweep.command(point), "--dry-run", *anew, *more], quiet=sweep.ui.quiet)
    if children.received:
        raise Interrupted(children.received)
    if ended.code:
        raise (Refused if ended.code == 2 else Failed)(f"the dry run of {point.name} says: {ended.why}", where="--dry-run")
    return ended.document
