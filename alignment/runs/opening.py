"""The same command again: whether it starts, continues, is done or is refused, decided apart from what is then done. Light."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from data_recipes.errors import Refused

from alignment.runs import FORMAT, MERGE_RECORD, MERGED, PRIVATE, REFUSED, Run, changes, now
from alignment.sources import MANIFEST
from alignment.training.checkpoints import newest_whole, step_of


@dataclass
class Opening:
    """What a stage may do with its output folder.

    action: "start", "restart" (with an old run put aside as `kept`), "continue" or "done".
    """

    run: Run
    action: str
    notes: list[str] = field(default_factory=list)
    kept: Path | None = None

    def as_dict(self) -> dict:
        """What `--dry-run` says of the output: path, action, the step to continue after, where an old run would be kept."""
        found = newest_whole(self.run.checkpoints)[0] if self.action == "continue" else None
        step = {"step": step_of(found) if found else 0} if self.action == "continue" else {}
        kept = {"kept": str(self.kept)} if self.kept else {}
        return {"path": str(self.run.path), "action": self.action, **step, **kept}


def in_words(said: dict) -> str:
    """What `Opening.as_dict` says, for people."""
    return {
        "start": "a new run starts there",
        "restart": f"a new run starts there; the old one is kept as {said.get('kept')}",
        "continue": f"the run continues after step {said['step']}" if said.get("step") else
        "the run begins at its first step again: it has no whole checkpoint",
        "done": "nothing is done: the run is completed",
    }[said["action"]]  # fmt: skip


def decide(output: Path, request: dict, *, restart: bool = False, usual: frozenset[str] = frozenset()) -> Opening:
    """Decides what the same or a changed command does with an output folder; writes nothing.

    Args:
        output: the run directory.
        request: what determines the result: stage, config, data hashes, parents' content, library versions.
        restart: move an old run aside and start anew.
        usual: settings that nobody wrote and that have their default, see `alignment.runs.changes`.

    Raises:
        Refused: the folder holds something else, or a run of other inputs, or a completed one that was altered.
    """
    if not (output / MANIFEST).is_file():
        _refuse_foreign(output)
        return Opening(_at(output), "start")
    if restart:
        return Opening(_at(output), "restart", kept=aside(output))
    run = Run.open(output)
    if run.state == REFUSED:
        return Opening(_at(output), "start")
    changed = changes(run.manifest.get("request", {}), request, usual)
    libraries = [line for line in changed if line.startswith("versions.")]
    if changed and (changed != libraries or run.state != "completed"):
        raise Refused(
            f"this run was made from something else: {'; '.join(changed)}",
            where=output,
            expected="the same inputs as before",
            do="Choose another --output, or start anew with --restart (the old run is kept beside).",
        )
    if run.state == "completed":
        run.check_unchanged()
        warned = [f"library versions differ from those of the run: {'; '.join(libraries)}"] if libraries else []
        return Opening(run, "done", warned)
    return Opening(run, "continue")


def open_output(output: Path, request: dict, *, restart: bool = False, usual: frozenset[str] = frozenset()) -> Opening:
    """Decides, and does what has to be done before the stage: puts an old run aside, makes the folder.

    Call it while holding the lock. Arguments and errors are those of `decide`.
    """
    opening = decide(output, request, restart=restart, usual=usual)
    if opening.action in ("continue", "done"):
        return opening
    if opening.action == "restart":
        opening.kept = move_aside(output)
        opening.notes.append(f"--restart: the old run is kept as {opening.kept}")
    elif (output / MANIFEST).is_file() and _merged_here(output):  # of a run that its limits refused, perhaps of another parent
        shutil.rmtree(output / MERGED)
    opening.run.path.mkdir(parents=True, exist_ok=True)
    opening.run.manifest = {
        "format": FORMAT,
        "stage": request["stage"],
        "state": "running",
        "created": now(),
        "request": request,
    }
    return opening


def _at(output: Path) -> Run:
    return Run(Path(os.path.abspath(output)))


def _refuse_foreign(output: Path) -> None:
    """An output folder that holds something else is not ours to fill; rejected rows and a merged base precede a manifest."""
    ours = {PRIVATE, *([MERGED] if _merged_here(output) else [])}
    strange = (
        [p.name for p in output.iterdir() if p.name not in ours and not p.name.startswith(".")]
        if output.is_dir()
        else []
    )
    if strange:
        raise Refused(
            f"the output folder holds other files ({', '.join(sorted(strange)[:5])})",
            where=output,
            expected="a new folder, an empty one, or a run of this stage",
            do="Choose another --output.",
        )


def _merged_here(output: Path) -> bool:
    """Whether the run's folder for a merged base is one that we wrote: somebody's own model may have that name."""
    return (output / MERGED / MERGE_RECORD).is_file()


def aside(output: Path) -> Path:
    """Where an old run would be kept: NAME.old-1, -2, ... the first that is free."""
    output, number = Path(os.path.abspath(output)), 1  # "." has no name
    while (kept := output.with_name(f"{output.name}.old-{number}")).exists():
        number += 1
    return kept


def move_aside(output: Path) -> Path:
    """Renames an old run. The lock's file moves along; its holder keeps the descriptor."""
    output, kept = Path(os.path.abspath(output)), aside(output)
    output.mkdir(exist_ok=True)
    kept.mkdir()
    # the manifest last: a kill half-way leaves a run that can still be moved aside
    for item in sorted(output.iterdir(), key=lambda item: item.name == MANIFEST):
        if item.name != ".lock":
            shutil.move(str(item), kept / item.name)
    return kept
