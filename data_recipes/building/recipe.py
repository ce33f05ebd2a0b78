"""A recipe as it is written, checked whole before anything is read: sources, steps, outputs, pinned hashes."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from data_recipes import formats, strict_yaml
from data_recipes.building import checked
from data_recipes.building.checked import REQUIRED, Place
from data_recipes.building.steps import STEPS
from data_recipes.building.steps.base import Step
from data_recipes.building.table import SIDES
from data_recipes.errors import Refused
from data_recipes.readers import Reading

Share = Annotated[float, Field(ge=0, le=1)]
TOP: checked.Allowed = {
    "name": (str, REQUIRED), "kind": (Literal[formats.KINDS], REQUIRED), "seed": (Annotated[int, Field(ge=0, lt=1 << 32)], 0),
    "sources": (Any, REQUIRED), "steps": (Any, ()), "outputs": (Any, {}), "pins": (dict[str, str], {}),
}
SOURCE: checked.Allowed = {
    "path": (str | list[str], REQUIRED), "licence": (str, REQUIRED), "format": (str, "auto"),
    "ranked": (Literal[("", *formats.RANKED)], ""), "columns": (list[str], []), "rename": (dict[str, str], {}),
    "weight": (Annotated[float, Field(gt=0)], 1.0), "max_rejected": (Share, 0.0),
}


@dataclass(frozen=True)
class Source:
    """Where rows come from, under which licence, and with which weight a mixture takes them."""

    name: str
    path: list[str]
    licence: str
    format: str = "auto"
    ranked: str = ""
    columns: list[str] = field(default_factory=list)
    rename: dict[str, str] = field(default_factory=dict)
    weight: float = 1.0
    max_rejected: float = 0.0

    def reading(self) -> Reading:
        """How its files are read."""
        return Reading(self.format, self.ranked, tuple(self.columns), tuple(self.rename.items()))


@dataclass(frozen=True)
class Call:
    """A step of a recipe with all of its settings."""

    step: Step
    settings: dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """See docs/data-recipes.md. pins: SHA-256 by path; a file that differs is refused. place: for errors.

    elsewhere: paths that lead from the working directory to a file, and not from the recipe.
    """

    name: str
    kind: str
    seed: int
    sources: list[Source]
    steps: list[Call]
    outputs: dict[str, str]
    pins: dict[str, str]
    place: str
    elsewhere: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The recipe as it could be written, with every default."""
        sources = {}
        for source in self.sources:
            sources[source.name] = asdict(source)
            del sources[source.name]["name"]
        return {
            "name": self.name, "kind": self.kind, "seed": self.seed, "sources": sources,
            "steps": [{call.step.name: call.settings} for call in self.steps], "outputs": self.outputs, "pins": self.pins,
        }


def load(path: Path | str) -> Recipe:
    """Reads and checks a recipe.

    Raises:
        Refused: not strict YAML, an unknown key, step or setting (with the nearest name), a value of the wrong type, or a
            file that is not there.
    """
    from data_recipes.building.paths import located

    values, lines = strict_yaml.read_file(path)
    place = Place(str(path), lines)
    return located(checked_recipe(values, place), place)


def checked_recipe(values: dict, place: Place) -> Recipe:
    """A recipe from the mapping that a YAML file holds."""
    top = checked.mapping(values, TOP, place)
    recipe = Recipe(
        top["name"], top["kind"], top["seed"], _sources(top["sources"], top["kind"], place.below("sources")),
        _steps(top["steps"], place.below("steps")), {}, top["pins"], place.file,
    )
    recipe.outputs.update(_outputs(top["outputs"], recipe.steps, place.below("outputs")))
    return recipe


def _sources(value: Any, kind: str, place: Place) -> list[Source]:
    if not isinstance(value, dict) or not value:
        raise Refused("a recipe needs one source at least", where=str(place),
                      expected="sources: {name: {path: FILE, licence: NAME}}")
    return [_source(name, source, kind, place.below(name)) for name, source in value.items()]


def _source(name: str, value: Any, kind: str, place: Place) -> Source:
    found = checked.mapping(value, SOURCE, place)
    paths = [found["path"]] if isinstance(found["path"], str) else found["path"]
    if not paths or not found["licence"].strip():
        missing = "licence" if paths else "path"
        raise Refused(f"{place.key}.{missing} is empty", where=str(place.below(missing)),
                      do="Where no licence is stated, write `licence: none stated`." if paths else "")
    if found["format"] != "auto" and found["format"] not in formats.names(kind):
        what = f"there is no format '{found['format']}' for {kind}"
        raise checked.unknown(what, found["format"], ["auto", *formats.names(kind)], place.below("format"))
    return Source(name, **{**found, "path": paths})


def _steps(value: Any, place: Place) -> list[Call]:
    if not isinstance(value, (list, tuple)):
        raise Refused("steps is a list", where=str(place), expected="lines such as `- shuffle` or `- cap: {rows: 3}`")
    calls = [_call(item, place.below(number)) for number, item in enumerate(value)]
    if sum(call.step.name == "split" for call in calls) > 1:
        raise Refused("the recipe splits twice", where=str(place), expected="one split at most")
    return calls


def _call(item: Any, place: Place) -> Call:
    name, given = (item, {}) if isinstance(item, str) else (next(iter(item.items())) if _is_call(item) else (None, None))
    if name is None:
        raise Refused("a step is a name, or a name with its settings", where=str(place),
                      expected="`- shuffle` or `- cap: {rows: 3}`, one step an item")
    if name not in STEPS:
        raise checked.unknown(f"there is no step '{name}'", name, STEPS, place.below(name))
    step = STEPS[name]
    allowed = {key: (item.annotation, item.default) for key, item in step.settings().items()}
    return Call(step, checked.mapping({} if given is None else given, allowed, place.below(name)))


def _is_call(item: Any) -> bool:
    return isinstance(item, dict) and len(item) == 1


def _outputs(value: Any, calls: list[Call], place: Place) -> dict[str, str]:
    """A file name for each side that there will be."""
    split = next((call.settings for call in calls if call.step.name == "split"), {})
    sides = [side for side in SIDES if side == "train" or split.get(side)]
    found = checked.mapping(value, {side: (str, f"{side}.jsonl") for side in sides}, place)
    for side, name in found.items():
        if Path(name).name != name or not name.endswith(".jsonl") or name == "ledger.jsonl" or name.startswith("."):
            raise Refused(f"{place.key}.{side} is {name!r}", where=str(place.below(side)),
                          expected="a file name that ends in .jsonl, without a folder")
    if len(set(found.values())) < len(found):
        raise Refused("two outputs have the same name", where=str(place), expected="a file of its own for each side")
    return found


def input_files(call: Call) -> list[str]:
    """The files that a step reads."""
    return [path for name in input_settings(call.step) for path in call.settings[name]]


def input_settings(step: Step) -> list[str]:
    """The names of a step's settings that are annotated as `InputFiles`."""
    return [name for name, item in step.settings().items() if _is_files(item)]


def _is_files(item: inspect.Parameter) -> bool:
    return "input files" in getattr(item.annotation, "__metadata__", ())
