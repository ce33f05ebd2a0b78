"""Mappings of a recipe against what may stand in them: unknown keys with the nearest name, values of the right type."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from data_recipes.errors import Refused

REQUIRED = inspect.Parameter.empty
Allowed = dict[str, tuple[Any, Any]]  # key: (type, default or REQUIRED)
STRICT = ConfigDict(strict=True)


class Place:
    """Where in a recipe something stands: its keys, and the line of each."""

    def __init__(self, file: str, lines: dict[tuple, int], path: tuple = ()) -> None:
        self.file, self.lines, self.path = file, lines, path

    def below(self, *keys: str | int) -> Place:
        """The place of a key inside."""
        return Place(self.file, self.lines, (*self.path, *keys))

    def __str__(self) -> str:
        known = next((self.lines[self.path[:end]] for end in range(len(self.path), 0, -1) if self.path[:end] in self.lines), 1)
        return f"{self.file}:{known}"

    @property
    def key(self) -> str:
        """The dotted key."""
        return ".".join(map(str, self.path))


def mapping(value: Any, allowed: Allowed, place: Place) -> dict[str, Any]:
    """A mapping with defaults filled in, in the order of `allowed`.

    Raises:
        Refused: no mapping, an unknown or a missing key, or a value of another type.
    """
    if not isinstance(value, dict):
        what = "is a mapping of settings" if allowed else "takes no settings"
        raise Refused(f"{place.key or 'a recipe'} {what}", where=str(place),
                      expected=f"keys out of {', '.join(allowed)}" if allowed else "its name alone")
    for key in value:
        if key not in allowed:
            raise unknown(f"there is no key '{place.below(key).key}'", key, allowed, place.below(key))
    made = {}
    for key, (kind, default) in allowed.items():
        if key in value:
            made[key] = checked(value[key], kind, place.below(key))
        elif default is REQUIRED:
            raise Refused(f"the key '{key}' is missing{f' in {place.key}' if place.key else ''}", where=str(place),
                          expected=f"{key}: {_words(kind)}")
        else:
            made[key] = default
    return made


def checked(value: Any, kind: Any, place: Place) -> Any:
    """A value of the type `kind`. Raises Refused."""
    if kind is Any:
        return value
    try:
        return TypeAdapter(kind, config=STRICT).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        inside = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
        raise Refused(f"{place.key}{inside} is {str(first['input'])[:60]!r}, which does not do", where=str(place),
                      expected=first["msg"].removeprefix("Input should be ")) from error


def unknown(what: str, name: str, names: Any, place: Place) -> Refused:
    """The error for a name that is not among `names`."""
    near = difflib.get_close_matches(str(name).lower().replace("-", "_"), names, n=1)
    return Refused(what, where=str(place), expected=f"one of {', '.join(names)}", do=f"Did you mean {near[0]}?" if near else "")


def _words(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind)).replace("typing.", "")
