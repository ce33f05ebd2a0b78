"""`align data build`: reads the sources, runs the steps, delivers; what was made before and is still right is used again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from data_recipes import files
from data_recipes.building import delivery, events, reading, row_steps
from data_recipes.building.code import code_hash
from data_recipes.building.recipe import Call, Recipe, input_files
from data_recipes.building.stages import EVENTS, Stage, Stages
from data_recipes.building.table import Rows
from data_recipes.building.workers import Workers
from data_recipes.errors import Refused

FOLDER = ".stages"


def build(recipe: Recipe, output: Path, *, workers: int = 1, dry_run: bool = False, prune: bool = False,
          say: Callable[[str], None] = print) -> dict[str, Any]:
    """Builds a recipe into a folder, or says what that would do.

    Args:
        workers: processes for what is done row by row; changes no byte. prune: remove the stages that this recipe does
            not use. say: receives a line for each stage.

    Returns:
        The data card, and under "made" what was made and what reused; of a dry run the latter alone.

    Raises:
        Refused: input that is not there or not as pinned, a folder in use or with files that are not of a build.
    """
    output = Path(output)
    delivery.check_folder(output, recipe)
    hashes = _input_hashes(recipe)
    if recipe.elsewhere:
        say(f"not beside the recipe, so taken from the working directory: {', '.join(recipe.elsewhere)}")
    fresh = not output.exists()
    if dry_run:
        return {"output": str(output), "state": "dry-run", "made": _dry_run(recipe, hashes, Stages(output / FOLDER), say)}
    with _lock(output / FOLDER):
        stages = Stages(output / FOLDER)
        stages.sweep()
        pool = Workers(workers)
        try:
            return _Build(recipe, hashes, stages, pool, say).run(output, prune)
        except BaseException:
            if fresh and not stages.any():
                shutil.rmtree(output)  # nothing in it is of use to the next build
            raise
        finally:
            pool.close()


class _Build:
    """One build while it runs; what steps see of it is `steps.base.Build`."""

    def __init__(self, recipe: Recipe, hashes: dict[str, str], stages: Stages, pool: Workers, say: Callable) -> None:
        self.recipe, self.hashes, self.stages, self.pool, self.say = recipe, hashes, stages, pool, say
        self.seed = recipe.seed
        self.weights = {source.name: source.weight for source in recipe.sources}
        self.done: list[Stage] = []
        self.lines: list[dict[str, str]] = []

    def run(self, output: Path, prune: bool) -> dict[str, Any]:
        """All stages, then the delivery."""
        self._stage(None, _read_of(self.recipe, self.hashes), lambda folder: reading.fill(self.recipe, folder))
        for call in self.recipe.steps:
            made_of = _made_of(self.recipe, call, self.hashes, self.done[-1].output)
            self._stage(call, made_of, lambda folder, call=call: self._fill(call, folder))
        card, fresh = delivery.deliver(self.recipe, self.hashes, self.done, output, self.scratch())
        self._note("deliver", "made" if fresh else "reused", "" if fresh else "every file is there, with its hash")
        # a stage may hold the lines of one that is reused, though its own turn has passed
        unused = self.stages.unused({stage.folder for stage in self.done} | {stage.store.parent for stage in self.done})
        if prune:
            delivery.remove(unused)
        left = 0 if prune else len(unused)
        return {**card, "output": str(output), "state": "built", "made": self.lines, "unused_stages": left}

    def _stage(self, call: Call | None, made_of: dict[str, Any], fill: Callable) -> None:
        found = self.stages.find(made_of)
        why = "same settings, code and input" if found else self.stages.why_not(made_of)
        stage = found or self.stages.make(made_of, fill, self.done[-1] if self.done else None)
        self.done.append(stage)
        count = len(stage.rows())
        self._note(made_of["step"], "reused" if found else "made", why, count)
        if not count:
            raise Refused(f"no row is left after the step '{made_of['step']}'", where=self.recipe.place,
                          expected="one row at least", do=f"It dropped: {stage.about['counts']}.")

    def _note(self, step: str, state: str, why: str, rows: int | None = None) -> None:
        line = {"step": step, "state": state, "why": why}
        self.lines.append(line if rows is None else {**line, "rows": rows})
        self.say(f"{step}: {state}{f' ({why})' if why else ''}{'' if rows is None else f', {rows:,} rows'}")

    def _fill(self, call: Call, folder: Path) -> tuple[Rows, dict[str, Any]]:
        held = self.done[-1].rows()
        if call.step.how != "set":
            return row_steps.fill(call, held, self.pool, folder)
        selection = call.step.load()(self, held, **call.settings)
        with events.Log(folder / EVENTS) as log:
            for event in selection.events:
                log.add(event)
        return selection.rows, {"counts": log.counts, "facts": selection.facts}

    # ------------------------------------------------------------------------------------------- what steps may ask

    def source_of(self, rows: np.ndarray) -> np.ndarray:
        """See `steps.base.Build`."""
        ends = np.cumsum([source["entries"] for source in self.done[0].about["sources"]])
        return np.searchsorted(ends, rows, side="right")

    def scratch(self) -> Path:
        """See `steps.base.Build`."""
        return self.stages.folder / ".making-scratch"

    def each(self, function: str, settings: dict, rows: Rows) -> Iterator[tuple[int, Any]]:
        """See `steps.base.Build`."""
        return ((row, found) for row, _, found in self.pool.each(function, settings, rows))


def _read_of(recipe: Recipe, hashes: dict[str, str]) -> dict[str, Any]:
    """What the first stage is made of."""
    as_written = recipe.as_dict()["sources"]
    paths = {path: hashes[path] for source in recipe.sources for path in _paths(source)}
    return {"step": "read", "settings": {"kind": recipe.kind, "sources": as_written},
            "code": code_hash("data_recipes.building.reading", "data_recipes.raw_rows"), "input": "", "files": paths}


def _made_of(recipe: Recipe, call: Call, hashes: dict[str, str], before: str) -> dict[str, Any]:
    """What a step's stage is made of."""
    settings = {**call.settings}
    if call.step.how == "set":  # the others see no more than a row
        settings |= {"(seed)": recipe.seed, "(weights)": [[source.name, source.weight] for source in recipe.sources]}
    code = code_hash(call.step.path.partition(":")[0], "data_recipes.building.row_steps")
    return {"step": call.step.name, "settings": settings, "code": code, "input": before,
            "files": {path: hashes[path] for path in input_files(call)}}


def _paths(source) -> list[str]:
    return [origin.name for origin in reading.origins(source)]


def _input_hashes(recipe: Recipe) -> dict[str, str]:
    """SHA-256 of every file that the recipe reads; each is looked for before anything is made, and compared with its pin."""
    hashes = {}
    for path in [path for source in recipe.sources for path in _paths(source)]:
        hashes[path] = files.sha256_file(path)
    for call in recipe.steps:
        for path in input_files(call):
            if not Path(path).is_file():
                raise Refused("there is no such file", where=path, expected=f"a file for the step '{call.step.name}'")
            hashes[path] = files.sha256_file(path)
    for path, pinned in recipe.pins.items():
        if hashes.get(path, pinned) != pinned:
            raise Refused("the file is not the one the recipe was locked with", where=path, expected=f"SHA-256 {pinned}",
                          do="Restore it, or take its line out of `pins`.")
    return hashes


def _dry_run(recipe: Recipe, hashes: dict[str, str], stages: Stages, say: Callable[[str], None]) -> list[dict[str, str]]:
    """What would be reused; what follows a stage that has to be made cannot be known before it is."""
    lines, before = [], None
    for call in (None, *recipe.steps):
        if call and before is None:
            lines.append({"step": call.step.name, "state": "to make", "why": "what comes before it has to be made first"})
            continue
        made_of = _made_of(recipe, call, hashes, before) if call else _read_of(recipe, hashes)
        found = stages.find(made_of)
        why = "same settings, code and input" if found else stages.why_not(made_of)
        lines.append({"step": made_of["step"], "state": "reused" if found else "to make", "why": why})
        before = found.output if found else None
    for line in lines:
        say(f"{line['step']}: {line['state']} ({line['why']})")
    return lines


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keeps a second build of the same folder out; the kernel lets go when the process ends, however it does."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        try:
            files.take_lock(file)
        except OSError as error:
            what = "another build of this folder is running"
            raise Refused(what, where=folder.parent, do="Wait for it, or stop it.") from error
        yield
