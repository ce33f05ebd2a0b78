"""sweep.json: what a sweep is, how far it is, what came of it; and whether the same command goes on. Light: no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_recipes import origins
from data_recipes.errors import Refused
from data_recipes.files import sha256_file, write_json

from alignment.config import StageConfig
from alignment.job import compared
from alignment.runs import Run, changes, differences, now, versions
from alignment.runs.identity import identity
from alignment.runs.opening import move_aside
from alignment.sources import MANIFEST, resolve
from alignment.sweeping.grid import Grid, Point

SWEEP = "sweep.json"
FORMAT = 1


@dataclass
class Record:
    """A sweep's folder and its sweep.json."""

    path: Path
    content: dict = field(default_factory=dict)

    def write(self, **changes: Any) -> None:
        """Updates the file by rename."""
        self.content.update(changes, updated=now())
        write_json(self.path / SWEEP, self.content)

    def entry(self, point: Point) -> dict:
        """What is recorded of one run."""
        return next(run for run in self.content["runs"] if run["name"] == point.name)

    def note(self, point: Point, **facts: Any) -> None:
        """Records something of one run."""
        self.entry(point).update(facts)
        self.write()

    def folder(self, point: Point) -> Path:
        """Where a run lies."""
        return self.path / point.name

    def done(self, point: Point) -> bool:
        """Whether a run is there and completed."""
        folder = self.folder(point)
        return (folder / MANIFEST).is_file() and Run.open(folder).state == "completed"


def request_of(stage: str, grid: Grid, config: StageConfig, configs: Iterable[StageConfig]) -> dict:
    """What decides the runs of a sweep: settings, seeds, and the content of rows, models and rewards.

    config: the command's own, without the grid. configs: one for each setting.
    """
    fixed = compared(config.resolved())
    for key in (*grid.keys, "training.seed", "data.split_seed"):
        section, _, leaf = key.partition(".")
        fixed.get(section, {}).pop(leaf, None)
    over = {key: _values(grid, key) for key in grid.keys}
    return {"stage": stage, "over": over, "seeds": list(grid.seeds), "split_seed": grid.split_seed, "config": fixed,
            "inputs": inputs(configs), "versions": versions()}


def _values(grid: Grid, key: str) -> list:
    found: list = []
    for setting in grid.settings:
        if setting.values[key] not in found:
            found.append(setting.values[key])
    return found


def inputs(configs: Iterable[StageConfig]) -> dict:
    """Content of everything that the runs read, in the order in which it is named first."""
    configs = list(configs)
    models = {config.model.path: (resolve(config.model.path, revision=config.model.revision), config.model.base)
              for config in configs}
    sources = {source: None for config in configs for source in [*config.data.train, config.data.validation] if source}
    rewards: dict[str, dict] = {}
    if configs[0].stage == "ppo":
        from alignment.rewards import named

        texts = {text: config for config in configs for text in [*config.ppo.reward, config.ppo.gold] if text}
        rewards = {text: named(text, base=config.model.base).identity() for text, config in texts.items()}
    return {
        "models": [identity(source, base=base) for source, base in models.values()],
        "data": [[Path(one.name).name, sha256_file(one.path) if one.path else one.split]
                 for source in sources for one in origins.resolve(source)],
        "rewards": list(rewards.values()),
    }


def open_record(output: Path, request: dict, grid: Grid, *, restart: bool, usual: frozenset[str], ui: Any) -> Record:
    """Begins or continues a sweep. Call it while holding the folder's lock.

    More values and more seeds make a sweep grow; anything else that differs, by `changes`, is refused.
    """
    if restart and (output / SWEEP).is_file():
        ui.warn(f"--restart: the old sweep is kept as {move_aside(output)}")
    if not (output / SWEEP).is_file():
        _refuse_foreign(output)
        record = Record(output, {"format": FORMAT, "stage": request["stage"], "created": now()})
    else:
        record = read_record(output)
        _check_same(record, request, usual, ui)
    known = {run["name"]: run for run in record.content.get("runs", [])}
    runs = [known.get(point.name) or _entry(point) for point in grid.points]
    record.write(state="running", request=request, runs=runs)
    return record


def read_record(output: Path) -> Record:
    """A sweep's record. Raises Refused where it cannot be read."""
    try:
        return Record(output, json.loads((output / SWEEP).read_text(encoding="utf-8")))
    except ValueError as error:
        raise Refused(f"the sweep cannot be read ({error})", where=output / SWEEP, do="Choose another --output.") from error


def _entry(point: Point) -> dict:
    return {"name": point.name, "values": dict(point.setting.values), "seed": point.seed, "state": "planned"}


def _refuse_foreign(output: Path) -> None:
    strange = [item.name for item in output.iterdir() if not item.name.startswith(".")] if output.is_dir() else []
    if strange:
        raise Refused(f"the output folder holds other files ({', '.join(sorted(strange)[:5])})", where=output,
                      expected="a new folder, an empty one, or a sweep", do="Choose another --output.")


def _check_same(record: Record, request: dict, usual: frozenset[str], ui: Any) -> None:
    """Raises Refused unless the recorded sweep is this one or a part of it."""
    before = record.content["request"]
    apart = ("versions", "over", "seeds")
    old, new = ({key: value for key, value in one.items() if key not in apart} for one in (before, request))
    if changed := changes(old, new, usual) + _not_grown(before, request):
        raise Refused(f"this sweep was made from something else: {'; '.join(changed)}", where=record.path,
                      expected="the same command as before, or one with more values or seeds",
                      do="Choose another --output, or start anew with --restart (the old sweep is kept beside).")
    if libraries := differences(before["versions"], request["versions"]):
        ui.warn(f"library versions differ from those of the first runs: {'; '.join(libraries)}")


def _not_grown(before: dict, request: dict) -> list[str]:
    """A line for each key or seed that was there and is not there now, and for each key that is new."""
    if before["over"].keys() != request["over"].keys():
        return differences({"over": list(before["over"])}, {"over": list(request["over"])})
    lost = [f"over.{key}: {before['over'][key]} -> {values}" for key, values in request["over"].items()
            if any(value not in values for value in before["over"][key])]
    seeds = before["seeds"], request["seeds"]
    return lost if set(seeds[0]) <= set(seeds[1]) else [*lost, f"seeds: {seeds[0]} -> {seeds[1]}"]
