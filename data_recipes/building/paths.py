"""Where a recipe's files are: beside the recipe, and only then in the working directory, which is said.

A locked recipe lies among the outputs, with paths as its build saw them: what is pinned is looked for in the working
directory first, or a source `train.jsonl` would be taken for the output of that name.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_recipes.building.checked import Place
from data_recipes.building.recipe import Call, Recipe, Source, input_settings
from data_recipes.errors import Refused
from data_recipes.origins import looks_like_path


def located(recipe: Recipe, place: Place) -> Recipe:
    """The recipe with paths that can be opened from here, pins included. place: of the recipe as a whole.

    Raises:
        Refused: a file is in neither folder; with the recipe's line.
    """
    search = _Search(Path(place.file).parent, recipe.pins)
    sources = [_located_source(source, search, place.below("sources", source.name, "path")) for source in recipe.sources]
    steps = [_located_call(call, search, place.below("steps", at, call.step.name)) for at, call in enumerate(recipe.steps)]
    pins = {search.seen(path) or path: pinned for path, pinned in recipe.pins.items()}
    return replace(recipe, sources=sources, steps=steps, pins=pins, elsewhere=tuple(dict.fromkeys(search.elsewhere)))


def _located_source(source: Source, search: _Search, place: Place) -> Source:
    return replace(source, path=[search.found(path, f"the source '{source.name}'", place) for path in source.path])


def _located_call(call: Call, search: _Search, place: Place) -> Call:
    what = f"the step '{call.step.name}'"
    found = {name: [search.found(path, what, place.below(name)) for path in call.settings[name]]
             for name in input_settings(call.step)}
    return replace(call, settings={**call.settings, **found})


@dataclass
class _Search:
    """folder: the recipe's. pinned: its locked paths. elsewhere: what was found in the working directory alone."""

    folder: Path
    pinned: Collection[str]
    elsewhere: list[str] = field(default_factory=list)

    def seen(self, name: str) -> str:
        """A pinned path as seen from here, any other as seen from the recipe; "" where nothing is there."""
        if name in self.pinned and Path(name).exists():
            return name
        path = self.folder / Path(name).expanduser()  # one from the root stays as it is
        return str(path) if path.exists() else ""

    def found(self, name: str, what: str, place: Place) -> str:
        """The path to open; a name that can only be a hub's is left to the reading, which refuses it."""
        if seen := self.seen(name):
            return seen
        if Path(name).exists():
            self.elsewhere.append(name)
        elif not name.startswith("hub:") and looks_like_path(name.partition(":")[0]):
            raise Refused(f"there is no such file: {name}, for {what}", where=str(place),
                          expected=f"a file, by its path from the recipe ({self.folder}) or from the working directory")
        return name
