"""What can be refused in a moment, before torch is loaded: missing nouns, files and folders."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from alignment import adapters
from alignment.config import StageConfig
from alignment.rendering import read_tools
from alignment.sources import Source, base_of, check_hub, hub_file, read_object, resolve
from data_recipes import origins
from data_recipes.errors import Refused


def check(config: StageConfig, output: Path) -> None:
    """Raises Refused for whatever is missing or stands in the way."""
    if not config.model.path:
        raise Refused("no model was named", where="--model", expected="a hub id, a model folder or a run")
    if not config.data.train:
        raise Refused("no training data was named", where="--data", expected="a file or a hub data set id")
    check_extras(config)
    model = resolve(config.model.path, revision=config.model.revision)
    if config.model.revision and model.kind != "hub":
        where = config.origin("model.revision")
        raise Refused("a folder has no revisions", where=where, expected="a hub id", do="Leave it out.")
    base = resolve(config.model.base) if config.model.base else model
    for source in config.data.train:
        check_data(source, config.origin("data.train") or "--data")
    if config.data.validation:
        check_data(config.data.validation, config.origin("data.validation") or "--validation")
    if getattr(config.data, "replay", None):
        check_data(config.data.replay.source, config.origin("data.replay") or "data.replay")
    if getattr(config.data, "tools", None):
        if not Path(config.data.tools).expanduser().is_file():
            raise Refused(f"there is no file '{config.data.tools}'", where=config.origin("data.tools"))
        read_tools(config.data.tools)
    if config.stage == "ppo" and not config.ppo.reward:
        raise Refused("no reward was named", where="--reward", expected="a reward run, or module:function")
    check_output(output)
    if model.path and output.exists() and output.samefile(model.path):
        raise Refused("this is the model that is tuned", where="--output", expected="another folder, to write the run to")
    for source in (model, base):  # last: it may ask the hub
        check_hub(source)
    if config.model.base and not model.is_adapter:
        raise Refused("this model is whole, and has no base beneath it", where=config.origin("model.base"), do="Leave it out.")
    adapters.check(config.stage, config, model.adapter_config() if model.is_adapter else None, model_type(config, model))


def check_output(output: Path) -> None:
    """Refuses a place where no folder can be made or written to."""
    expected = "a folder to write the run to"
    found = next(place for place in (output.absolute(), *output.absolute().parents) if place.exists())
    if not found.is_dir():
        shown = output if found == output.absolute() else found
        raise Refused(f"'{shown}' is a file", where="--output", expected=expected)
    if not os.access(found, os.W_OK | os.X_OK):
        raise Refused(
            f"the folder '{found}' cannot be written to", where="--output", expected=expected,
            do="Choose another place, or ask for the right to write there.",
        )


def model_type(config: StageConfig, model: Source) -> str | None:
    """What the base's config.json says that it is; None where that is not at hand."""
    base = base_of(model, base=config.model.base)
    file = hub_file(base, "config.json") if base.kind == "hub" else base.path / "config.json"
    if file is None or not Path(file).is_file():
        return None
    return read_object(Path(file)).get("model_type")


def check_extras(config: StageConfig) -> None:
    """Refuses what needs a package that is not installed, and names the extra that brings it."""
    needed = [("report_to", "trackers", name) for name in config.report_to]
    if config.model.quantisation != "none":
        needed.append(("model.quantisation", "quantisation", "bitsandbytes"))
    for key, extra, package in needed:
        if importlib.util.find_spec(package) is None:
            raise Refused(
                f"{package} is not installed",
                where=config.origin(key) or key,
                do=f"In this project's folder: pip install -e '.[{extra}]' -c constraints.txt",
            )


def check_data(text: str, where: str) -> None:
    """Refuses what can only be meant as a file and is not there; `owner/name` may be a hub data set."""
    try:
        origins.resolve(text)
    except Refused as error:
        raise Refused(f"'{text}': {error.what}", where=where, expected=error.expected, do=error.do) from None
