"""Presets: config files that come with the suite, found by their path under `configs/` from any folder."""

from __future__ import annotations

import sys
from pathlib import Path

from alignment.config.names import nearest
from data_recipes.errors import Refused

# A checkout (or an editable install) has them beside the package, a wheel puts them under the environment's share/.
FOLDERS = (Path(__file__).parents[2] / "configs", Path(sys.prefix) / "share" / "align" / "configs")


def presets(stage: str) -> list[str]:
    """Names such as `configs/sft/lora-0.5b-8gb.yaml` of a stage's presets."""
    for folder in FOLDERS:
        if (folder / stage).is_dir():
            return [f"configs/{stage}/{file.name}" for file in sorted((folder / stage).glob("*.yaml"))]
    return []


def find(text: str | Path, stage: str) -> Path:
    """The file that `--config` names: a path from here, or a preset. Raises Refused with the nearest preset."""
    path = Path(text).expanduser()
    if path.exists():
        return path
    inside = Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path
    for folder in FOLDERS:
        if not path.is_absolute() and (folder / inside).is_file():
            return folder / inside
    close = nearest(str(text), presets(stage))
    raise Refused(f"there is no file '{text}'", where="--config", expected="a YAML file of settings",
                  do=f"Did you mean {close}?" if close else f"`align config show {stage}` lists the presets")
