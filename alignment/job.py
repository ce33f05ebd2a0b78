"""The light half of a stage: what may start, continue or is done, decided before torch is loaded.

config -> parents' manifests -> rows read and checked -> lock -> the same command or another one?
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_recipes.errors import AlignError, Interrupted
from data_recipes.files import sha256_file
from data_recipes.ledger import write_rejected

from alignment import tasks
from alignment.cli.progress import Ui
from alignment.data import RowSet, read_rows
from alignment.replay import read_replay
from alignment.runs import PRIVATE, Run, check_parent, locked, relative_to_run, versions
from alignment.runs.identity import identity
from alignment.runs.opening import Opening, decide, open_output
from alignment.sources import Source, resolve
from alignment.training import processes
from alignment.training.signals import Signals, caught, uncaught

# These keys change where things lie or how they are shown, not what comes out; data and models are compared by content.
NOT_COMPARED = {
    "model": {"path", "base"},
    "data": {"train", "validation", "tools", "replay"},
    "ppo": {"reward", "gold", "tools"},
    "training": {"save_every", "keep_checkpoints"},
    "hardware": {"max_hours", "max_gib"},
}


@dataclass
class Job:
    """One stage at work."""

    stage: str
    config: Any
    output: Path
    source: Source
    rows: RowSet
    parents: list[dict]
    request: dict
    signals: Signals
    ui: Ui
    dry_run: bool = False
    opening: Opening | None = None
    begun: bool = field(default=False, init=False)

    @property
    def run(self) -> Run:
        return self.opening.run if self.opening else Run(self.output.absolute())

    @property
    def done(self) -> bool:
        return self.opening is not None and self.opening.action == "done" and not self.dry_run

    def mark_running(self, **facts: Any) -> None:
        """Writes the manifest for the first time, once there is work that can be continued."""
        self.begun = True
        if processes.is_first():
            self._list_rejected()
            self.run.write(state="running", request=self.request, parents=self.parents, **facts)

    def _list_rejected(self) -> None:
        """Rows that were let pass as a share are listed too, not only those that stop a stage."""
        if any(ledger.rejected_rows for ledger in self.rows.ledgers.values()):
            write_rejected(self.run.private / "rejected.jsonl", self.rows.ledgers.values())

    def summary(self) -> dict:
        """What the command prints."""
        manifest = self.run.manifest
        keys = ("stage", "state", "content_hash", "counts", "metrics", "data", "hardware")
        return {"run": str(self.run.path), **{key: manifest.get(key) for key in keys}}


def work(stage: str, kind: str, tune: Callable[[Job], dict], config, output: Path | str, **how) -> dict:
    """Runs or continues a stage: `tune(job)` where there is something to do. Returns the run's summary.

    Raises:
        Refused: bad config, rows, parent, or a changed command. Failed: a broken invariant or a non-finite loss.
        Interrupted: a signal came; the same call continues.
    """
    with begin(stage, kind, config, Path(output), **how) as job:
        if job.done:
            job.ui.say(f"{job.output} is completed: nothing to do")
            return job.summary()
        return tune(job)


@contextlib.contextmanager
def begin(
    stage: str, kind: str, config, output: Path, *, parents: tuple[str, ...], rewards=(), tools=(), restart=False,
    dry_run=False, ui=None, read: Callable[[Any, Source, Path | None], RowSet] | None = None,
):
    """Opens a stage's job; yields it, and writes how it ended into the manifest.

    Args:
        stage: name of the stage. kind: kind of rows it reads. parents: stages whose runs it may build on.
        read: reads a stage's rows in a way of its own, from config, parent and the folder for rejected rows.
        rewards: (role, `alignment.rewards.RewardSource`) of a stage that is told what is good.
        tools: `alignment.ppo.tools.Tool` of a stage whose policy calls some.
    """
    output, ui = Path(output), ui or Ui(quiet=True)
    if not processes.is_first():
        ui.quiet = ui.silent = True
    with caught() as signals:
        source = resolve(config.model.path, revision=config.model.revision)
        parent = check_parent(source, stages=parents)
        tasks.check_stage(stage, source)
        private, seed = None if dry_run else output / PRIVATE, split_seed(config)
        rows = read(config, source, private) if read else read_rows(config.data, kind, seed=seed, private=private)
        if getattr(config.data, "replay", None):
            rows = read_replay(config, rows, private, seed=seed)
        entries = _parents(parent, output) + [entry for role, reward in rewards for entry in reward.parent(role, output)]
        job = Job(stage, config, output, source, rows, entries, {}, signals, ui, dry_run)
        job.request = make_request(stage, config, source, parent, rows)
        if rewards:
            job.request["rewards"] = [[role, reward.identity()] for role, reward in rewards]
        job.request["tools"] += [tool.identity() for tool in tools]
        how = {"restart": restart and not processes.again(), "usual": config.usual()}
        if dry_run:
            job.opening = decide(output, job.request, **how)
            _tell(job)
            yield job
            return
        with uncaught():  # one of the others may never come, and nothing has begun yet
            processes.join(config.hardware.device)
        with contextlib.ExitStack() as held:
            processes.first_decides(lambda: _hold(held, output))
            job.opening = processes.first_decides(lambda: open_output(output, job.request, **how))
            _tell(job)
            with _recorded(job):
                yield job
        processes.leave()


def _tell(job: Job) -> None:
    for note in job.opening.notes:
        job.ui.warn(note)


def split_seed(config) -> int:
    """What decides which rows are held out: by itself, so that runs with other seeds can be measured on the same rows."""
    return config.training.seed if config.data.split_seed is None else config.data.split_seed


def _hold(held: contextlib.ExitStack, output: Path) -> None:
    held.enter_context(locked(output, sweep=True))


@contextlib.contextmanager
def _recorded(job: Job):
    """Writes `interrupted` or `failed` into the manifest of a run that had begun."""
    try:
        yield
    except BaseException as error:
        stopped = isinstance(error, (Interrupted, KeyboardInterrupt))
        if job.begun and processes.is_first() and job.run.state == "running":
            what = error.what if isinstance(error, AlignError) else f"{type(error).__name__}: {error}"
            job.run.write(state="interrupted" if stopped else "failed", stopped_by=what)
        raise


def _parents(parent: dict | None, output: Path) -> list[dict]:
    return [{**parent, "path": relative_to_run(parent["path"], output)}] if parent else []


def compared(resolved: dict) -> dict:
    """The settings that decide what comes out."""
    return {
        section: {key: item for key, item in value.items() if key not in NOT_COMPARED.get(section, ())}
        if isinstance(value, dict)
        else value
        for section, value in resolved.items()
        if section != "report_to"
    }


def make_request(stage: str, config, source: Source, parent: dict | None, rows: RowSet) -> dict:
    """What decides the result. The same request continues; another is refused with the difference."""
    settings = compared(config.resolved())
    if getattr(config.data, "replay", None):
        settings["data"]["replay_share"] = config.data.replay.share
    model = parent["content_hash"] if parent else identity(source, base=config.model.base)
    named = getattr(config.data, "tools", None)
    tools = [sha256_file(Path(named).expanduser())] if named else []
    return {
        "stage": stage,
        "config": settings,
        "model": model,
        "tools": tools,
        "data": rows.fingerprints(),
        "versions": versions(),
    }
