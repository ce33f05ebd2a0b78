"""The stages from Python: the same checks and the same results as the command line.

    from alignment import sft, reward_model, dpo, ppo_policy
    sft(model="Qwen/Qwen3-0.6B", data="support.jsonl", output="runs/sft", settings={"training.epochs": 2})
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack

from alignment import preflight
from alignment.cli.progress import Ui
from alignment.config import load
from alignment.config.describe import keys_of
from alignment.config.names import meant


class Options(TypedDict, total=False):
    """What every stage takes, so that editors and type checkers know it; see `sft`."""

    model: str | Path | None
    data: str | Path | list[str] | None
    output: Required[str | Path]
    config: str | Path | None
    settings: Mapping[str, Any] | None
    restart: bool
    dry_run: bool
    ui: Ui | None


def _run(stage: str, *, model: str | Path | None = None, data: str | Path | list[str] | None = None, output: str | Path,
         config: str | Path | None = None, settings: Mapping[str, Any] | None = None, restart: bool = False,
         dry_run: bool = False, ui: Ui | None = None, more: Mapping[str, Any] | None = None, **unknown: Any) -> dict[str, Any]:
    if unknown:
        raise TypeError(_no_argument(stage, next(iter(unknown))))
    nouns = {"model.path": None if model is None else str(model), "data.train": _texts(data), **(more or {})}
    # as `--set` takes them, so that None says null there
    sets = [f"{key}={json.dumps(value)}" for key, value in (settings or {}).items()]
    loaded = load(stage, config, sets, nouns)
    output = Path(output).expanduser()
    preflight.check(loaded, output)
    run = importlib.import_module(f"alignment.stages.{stage}").run
    return run(loaded, output, restart=restart, dry_run=dry_run, ui=ui or Ui(quiet=True))


def _no_argument(stage: str, name: str) -> str:
    """What is said of an argument that no stage has: most often a setting that was given without its section."""
    key = meant(name, keys_of(stage))
    hint = f"; did you mean settings={{'{key}': ...}}?" if key else "."
    return f"the stages have no argument '{name}'{hint} Settings go by their dotted keys (align config show {stage})"


def _texts(data: str | Path | list[str] | None) -> list[str] | None:
    if data is None:
        return None
    return [str(item) for item in (data if isinstance(data, list | tuple) else [data])]


def sft(**options: Unpack[Options]) -> dict[str, Any]:
    """Supervised tuning; returns the summary that `align sft --json` prints.

    Args:
        model, data, output, config: as the command's nouns; `settings` maps dotted keys to values and wins.
        restart, dry_run: as the flags. `ui`: pass `alignment.cli.progress.Ui()` to see progress.
    """
    return _run("sft", **options)


def reward_model(**options: Unpack[Options]) -> dict[str, Any]:
    """Reward training; arguments as for `sft`."""
    return _run("reward", **options)


def dpo(**options: Unpack[Options]) -> dict[str, Any]:
    """Direct preference optimisation; arguments as for `sft`."""
    return _run("dpo", **options)


def classify(*, task: str | None = None, **options: Unpack[Options]) -> dict[str, Any]:
    """A classifier; arguments as for `sft`, and the task where it is not to be told from the rows."""
    return _run("classify", more={} if task is None else {"classify.task": task}, **options)


def ppo_policy(
    *, reward: str | Path | list[str] | None = None, gold: str | Path | None = None, **options: Unpack[Options]
) -> dict[str, Any]:
    """PPO with a critic; arguments as for `sft`, and what rewards an answer: runs, folders, hub ids or `module:function`."""
    nouns = {"ppo.reward": _texts(reward), "ppo.gold": None if gold is None else str(gold)}
    return _run("ppo", more={key: value for key, value in nouns.items() if value is not None}, **options)
