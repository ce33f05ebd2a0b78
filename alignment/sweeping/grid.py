"""Which runs a sweep has: the grid of values times the seeds, each with a name that stays. Light: no torch."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_recipes import strict_yaml
from data_recipes.errors import Refused
from data_recipes.files import sha256_json

from alignment.config import StageConfig
from alignment.config.loading import parse_set

LONGEST_NAME = 40  # characters of one value in a folder's name
MOST_RUNS = 1000
# Keys that may not differ within a sweep: its runs are compared on the same held-out rows.
SAME_ROWS = ("data.split_seed", "data.validation", "data.validation_share")

Load = Callable[[list[str]], StageConfig]  # config of a stage with these `section.key=value` laid over it


@dataclass(frozen=True)
class Setting:
    """One place of the grid. values: dotted key -> value as the schema reads it. name: for people and folders."""

    values: Mapping[str, Any]
    name: str

    def sets(self) -> list[str]:
        """As `--set` takes them."""
        return [f"{key}={json.dumps(value)}" for key, value in self.values.items()]

    def words(self) -> str:
        """`learning_rate 1e-05, rank 4`."""
        return ", ".join(f"{leaf} {shown(v)}" for leaf, v in zip(leaves(self.values), self.values.values(), strict=True))


@dataclass(frozen=True)
class Point:
    """One run: a setting and a seed. sets: all that it changes of the sweep's command."""

    setting: Setting
    seed: int
    sets: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its folder: stable, and readable in a list."""
        return "_".join(filter(None, (self.setting.name, f"seed-{self.seed}")))


@dataclass(frozen=True)
class Grid:
    """All runs of a sweep, each setting with the first seed before any with the second."""

    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    split_seed: int
    settings: list[Setting]
    points: list[Point]


def parse_over(texts: Iterable[str]) -> dict[str, list]:
    """Dotted key -> values, from texts such as `training.learning_rate=1e-5,1e-4`; values are YAML, so lists work too.

    Raises:
        Refused: no value, or a key that is named twice.
    """
    over: dict[str, list] = {}
    for text in texts:
        key, equals, listed = text.partition("=")
        key = key.strip()
        if not equals or not listed.strip():
            raise Refused(f"{text!r} names no values", where="--over", expected="KEY=VALUE,VALUE such as adapter.rank=4,16")
        if key in over:
            raise Refused(f"{key} is named twice", where="--over", do="Name all its values at once, with commas between.")
        over[key] = strict_yaml.parse(f"[{listed}]", f"--over {key}")[0]
    return over


def make_grid(over: Mapping[str, Sequence], seeds: int, load: Load) -> Grid:
    """The runs of a sweep, every one of them checked by the stage's schema.

    Args:
        over: dotted key -> values. seeds: how many; the first one is the command's own `training.seed`.
        load: the stage's config with some `section.key=value` laid over the command's own.

    Raises:
        Refused: a key or a value that the stage does not take, a key that may not differ, or two values that are the same.
    """
    base = load([])
    if seeds < 1:
        raise Refused(f"{seeds} seeds are none", where="--seeds", expected="1 or more")
    _check_keys(over, base)
    settings = _settings(over, load)
    if len(settings) * seeds < 2:
        raise Refused("this is one run and no sweep", where="--over", expected="several values, or --seeds 2 and more",
                      do=f"Train it by align {base.stage}.")
    if len(settings) * seeds > MOST_RUNS:
        raise Refused(f"these are {len(settings) * seeds:,} runs", where="--over", expected=f"at most {MOST_RUNS:,}")
    split = base.training.seed if base.data.split_seed is None else base.data.split_seed
    numbers = tuple(range(base.training.seed, base.training.seed + seeds))
    same = [f"data.split_seed={split}"]
    points = [Point(setting, seed, (*same, *setting.sets(), f"training.seed={seed}"))
              for seed in numbers for setting in settings]
    for point in points:
        load(list(point.sets))
    return Grid(tuple(over), numbers, split, settings, points)


def _check_keys(over: Mapping[str, Sequence], base: StageConfig) -> None:
    for key in over:
        if key == "training.seed":
            raise Refused("the seeds are a dimension of their own", where="--over training.seed", do="Say --seeds N.")
        if key in SAME_ROWS or (key == "data.train" and not base.data.validation):
            raise Refused(f"with another {key} each run would be measured on other held-out rows", where=f"--over {key}",
                          do="Give all runs the same held-out rows by --validation FILE" + (
                              "." if key == "data.train" else ", and leave this key out."))


def _settings(over: Mapping[str, Sequence], load: Load) -> list[Setting]:
    """Every combination of the values, as the schema reads them."""
    found: dict[str, Setting] = {}
    for combination in itertools.product(*over.values()):
        asked = dict(zip(over, combination, strict=True))
        config = _loaded(asked, load)
        values = {key: _value(config, key) for key in asked}
        setting = Setting(values, _name(values))
        if setting.name in found:
            raise Refused(f"{setting.words()} is in it twice", where="--over", expected="values that differ")
        found[setting.name] = setting
    return list(found.values())


def _loaded(asked: Mapping[str, Any], load: Load) -> StageConfig:
    """The config of one combination; what is refused is blamed on `--over` and not on a `--set` that nobody typed."""
    sets = [f"{key}={json.dumps(value)}" for key, value in asked.items()]
    for text in sets:
        parse_set(text)
    try:
        return load(sets)
    except Refused as error:
        where = error.where.replace("--set", "--over") if any(f"--set {key}" == error.where for key in asked) else error.where
        raise Refused(error.what, where=where, expected=error.expected, do=error.do) from None


def _value(config: StageConfig, key: str) -> Any:
    value: Any = config.resolved()
    for part in key.split("."):
        value = value[part]
    return value


def leaves(keys: Iterable[str]) -> list[str]:
    """The last part of each dotted key, or the whole key where two end alike."""
    keys = list(keys)
    last = [key.rpartition(".")[2] for key in keys]
    return [leaf if last.count(leaf) == 1 else key for leaf, key in zip(last, keys, strict=True)]


def shown(value: Any) -> str:
    """A value as people write it: `1e-05`, `true`, `[q_proj, v_proj]`."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(values: Mapping[str, Any]) -> str:
    parts = zip(leaves(values), values.values(), strict=True)
    return "_".join(f"{leaf}-{_in_a_name(value)}" for leaf, value in parts)


def _in_a_name(value: Any) -> str:
    """A value that may stand in a folder's name on every system; one that loses something by it gets a hash."""
    text = shown(value)
    plain = re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-.")[:LONGEST_NAME]
    exact = plain == text and (not isinstance(value, float) or float(text) == value)
    return plain if exact else f"{plain}-{sha256_json(value)[:6]}"
