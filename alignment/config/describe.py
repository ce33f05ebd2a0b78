"""What a config may hold, for people and for editors: `align config show` and `align config schema`."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from alignment.config import defaults
from alignment.config.stages import CONFIGS, StageConfig

PLAIN = {
    "integer": "a whole number", "number": "a number", "boolean": "true or false", "string": "text", "null": "null",
    "object": "a mapping",
}
LIMITS = {"minimum": "from {}", "exclusiveMinimum": "over {}", "maximum": "up to {}", "exclusiveMaximum": "below {}"}


class Line(NamedTuple):
    """One key of a config as it is shown."""

    key: str
    value: Any
    default: Any
    expected: str
    meaning: str
    source: str


@functools.cache
def schema(stage: str) -> dict[str, Any]:
    """JSON Schema of a stage's config file."""
    made = CONFIGS[stage].model_json_schema()
    made["title"] = f"align {stage}"
    made["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return made


@functools.cache
def _properties(stage: str) -> dict[str, dict[str, Any]]:
    """Dotted key -> its piece of the JSON Schema."""
    whole = schema(stage)
    found: dict[str, dict[str, Any]] = {}
    for section, piece in whole["properties"].items():
        target = piece.get("$ref", "").rpartition("/")[2]
        if target:
            found |= {f"{section}.{leaf}": inner for leaf, inner in whole["$defs"][target]["properties"].items()}
        else:
            found[section] = piece
    return found


def keys_of(stage: str) -> list[str]:
    """All dotted keys of a stage."""
    return list(_properties(stage))


def expected_of(stage: str, key: str) -> str:
    """What a key may hold, in words; a section's keys for a section."""
    piece = _properties(stage).get(key)
    if piece is None:
        return ", ".join(other for other in keys_of(stage) if other.startswith(f"{key}."))
    return words(piece)


def words(piece: dict[str, Any]) -> str:
    """A piece of JSON Schema in words."""
    if "examples" in piece:
        return "null or {" + ", ".join(f"{key}: {value}" for key, value in piece["examples"][0].items()) + "}, say"
    if "anyOf" in piece:
        return " or ".join(words(option) for option in piece["anyOf"])
    if "pattern" in piece:
        return piece.get("title", f"text like {piece['pattern']}")
    if "const" in piece:
        return str(piece["const"])
    if "enum" in piece:
        return "one of " + ", ".join(str(option) for option in piece["enum"])
    if piece.get("type") == "array":
        return f"a list ({words(piece.get('items', {}))})"
    limits = [text.format(piece[name]) for name, text in LIMITS.items() if name in piece]
    return " ".join([PLAIN.get(piece.get("type", ""), "a value"), *limits])


def describe(stage: str, config: StageConfig | None = None) -> list[Line]:
    """Every key of a stage with its value, default, meaning and source, in the order of the sections."""
    from alignment.config.loading import load

    config = config or load(stage)
    values, plain = _flat(config.resolved()), _flat(CONFIGS[stage]().resolved())
    lines = []
    for key, piece in _properties(stage).items():
        source = config.origin(key) or _default_source(stage, key, config)
        lines.append(Line(key, values[key], plain[key], words(piece), piece.get("description", ""), source))
    return lines


def _default_source(stage: str, key: str, config: StageConfig) -> str:
    if key == "training.learning_rate":
        return defaults.learning_rate(stage, config.adapter.kind).source
    return defaults.source_of(stage, key)


def _flat(tree: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys for sections; `trainer` stays whole, its keys are TRL's."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and name != "trainer":
            flat |= {f"{name}.{leaf}": inner for leaf, inner in value.items()}
        else:
            flat[name] = value
    return flat
