"""Sweeps: a stage over a grid of values and seeds, its runs compared on the same held-out rows.

    from alignment import sweep
    sweep("sft", over={"training.learning_rate": [1e-5, 1e-4]}, model="runs/sft", data="rows.jsonl", output="sweeps/lr")
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def sweep(
    stage: str, *, over: Mapping[str, Sequence], seeds: int = 3, model: str | Path, data: str | Path | list[str],
    output: str | Path, config: str | Path | None = None, settings: Mapping[str, Any] | None = None, by: str | None = None,
    restart: bool = False, ui: Any = None,
) -> dict[str, Any]:
    """A sweep from Python; returns what `align sweep STAGE --json` prints.

    Args:
        over: dotted key -> values. seeds: runs of each setting, from the first one's `training.seed` on.
        model, data, output, config, settings: as for the stage; by: the held-out figure that decides.
        ui: pass `alignment.cli.progress.Ui()` to see progress.

    Raises:
        Refused, Failed, Interrupted: as `alignment.sweeping.work.run`.
    """
    from alignment.cli.progress import Ui
    from alignment.config import load
    from alignment.sweeping.work import Sweep, run

    rows = [str(item) for item in (data if isinstance(data, (list, tuple)) else [data])]
    sets = [f"{key}={json.dumps(value)}" for key, value in (settings or {}).items()]
    nouns = {"model.path": str(model), "data.train": rows}
    arguments = ["--model", str(model), *_each("--data", rows), *([] if config is None else ["--config", str(config)])]

    def loaded(more: list[str]):
        return load(stage, config, [*sets, *more], nouns)

    listed = {key: list(values) for key, values in over.items()}
    return run(Sweep(stage, [*arguments, *_each("--set", sets)], loaded, listed, seeds, Path(output), by=by, restart=restart,
                     ui=ui or Ui(quiet=True)))


def _each(flag: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]
