"""From defaults, a file, flags and `--set` to one checked config.

Order: defaults < `--config` < nouns and short flags < `--set`. Each layer is checked for its names on its own, so that
an error names the place where the wrong word stands, and values are checked once, after all layers are laid over each
other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from alignment import adapters
from alignment.config import defaults, presets, trainer
from alignment.config.describe import expected_of, keys_of
from alignment.config.names import meant, nearest
from alignment.config.stages import CONFIGS, StageConfig
from alignment.flags import FLAGS
from data_recipes import strict_yaml
from data_recipes.errors import Refused

QLORA_BITS = "4bit"  # what `adapter.kind: qlora` means where model.quantisation does not say 8bit
Tree = dict[str, Any]
Origins = dict[str, str]


def load(
    stage: str, config_path: Path | str | None = None, sets: Iterable[str] = (), nouns: Mapping[str, Any] | None = None
) -> StageConfig:
    """Reads a stage's settings.

    Args:
        stage: one of `CONFIGS`.
        config_path: YAML file of sections.
        sets: texts `section.key=value`, the value in YAML.
        nouns: dotted key -> value from the command line's own flags; None values are left out.

    Raises:
        Refused: with `file:line`, the flag or `--set key` where the mistake stands.
    """
    tree: Tree = {}
    origins: Origins = {}
    if config_path is not None:
        values, lines = strict_yaml.read_file(presets.find(config_path, stage))
        places = {".".join(map(str, path)): f"{config_path}:{line}" for path, line in lines.items()}
        _lay_over(stage, tree, origins, values, places)
    for key, value in (nouns or {}).items():
        if value is not None:
            _lay_over(stage, tree, origins, _nested(key, value), {key: FLAGS.get(key, key)})
    for text in sets:
        key, value = parse_set(text)
        _lay_over(stage, tree, origins, _nested(key, value), {key: f"--set {key}"})
    return build(stage, tree, origins)


def parse_set(text: str) -> tuple[str, Any]:
    """Splits `a.b=value`; the value is read as YAML, so numbers, lists and {maps} work. A lone mark is itself (`|`, `,`), and
    so is a text of which YAML would take a part only: nobody comments a flag (`Refer to ticket #12`).
    Raises Refused where it is no `key=value`."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise Refused(f"{text!r} sets nothing", where="--set", expected="section.key=value, such as training.epochs=2")
    mark = value.strip()
    if len(mark) == 1 and not mark.isalnum() and mark != "~":  # YAML takes `|` for the beginning of an empty block of text
        return key, mark
    if strict_yaml.is_cut(value):
        return key, mark
    return key, strict_yaml.parse(value, f"--set {key}")[0]


def _nested(key: str, value: Any) -> Tree:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _lay_over(stage: str, tree: Tree, origins: Origins, layer: Tree, places: Origins) -> None:
    """Checks the names of a layer and lays it over the tree."""
    for section, content in layer.items():
        where = _place(places, section)
        _check_section(stage, section, content, where)
        if not isinstance(content, dict):
            tree[section], origins[section] = content, where
            continue
        for leaf, value in content.items():
            place = _place(places, f"{section}.{leaf}")
            _check_key(stage, section, leaf, place)
            _merge(tree.setdefault(section, {}), leaf, value)
            origins[f"{section}.{leaf}"] = place


def _merge(into: Tree, key: str, value: Any) -> None:
    if isinstance(value, dict) and isinstance(into.get(key), dict):
        for inner, inside in value.items():
            _merge(into[key], inner, inside)
    else:
        into[key] = value


def _place(places: Origins, key: str) -> str:
    """The place of a key, of the nearest key above it, or of the first one below it."""
    above = key
    while above:
        if above in places:
            return places[above]
        above = above.rpartition(".")[0]
    return next((place for other, place in places.items() if other.startswith(f"{key}.")), "")


def _check_section(stage: str, section: str, content: Any, where: str) -> None:
    known = CONFIGS[stage].model_fields
    if section not in known:
        raise Refused(f"unknown section {section!r}", where=where, **_unknown_section(stage, section))
    is_section = section == "trainer" or _is_section(known[section].annotation)
    if is_section and not isinstance(content, dict):
        raise Refused(
            f"{section} is a section, not a value",
            where=where,
            expected=f"lines such as `{section}:` and keys below it",
        )
    if not is_section and isinstance(content, dict):
        raise Refused(f"{section} is one value, not a section", where=where, expected=expected_of(stage, section))


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _unknown_section(stage: str, section: str) -> dict[str, str]:
    """What was expected instead of a section, and what to do."""
    known = list(CONFIGS[stage].model_fields)
    others = [other for other, kind in CONFIGS.items() if section in kind.model_fields]
    if others:
        return {"expected": ", ".join(known), "do": f"That section belongs to `align {others[0]}`"}
    close = nearest(section, known) or meant(section, keys_of(stage))
    return {"expected": ", ".join(known), "do": f"Did you mean {close}?" if close else ""}


def _check_key(stage: str, section: str, leaf: str, where: str) -> None:
    if section == "trainer":
        return
    keys = keys_of(stage)
    if f"{section}.{leaf}" in keys:
        return
    close = meant(f"{section}.{leaf}", keys)
    inside = ", ".join(key.partition(".")[2] for key in keys if key.startswith(f"{section}."))
    do = f"Did you mean {close}?" if close else f"The keys of {section}: {inside}"
    raise Refused(f"unknown key {section}.{leaf}", where=where, do=do)


def build(stage: str, tree: Tree, origins: Origins) -> StageConfig:
    """Checks all values and makes the stage's config; `learning_rate: auto` becomes its number."""
    values = {name: dict(content) if isinstance(content, dict) else content for name, content in tree.items()}
    for name, value in values.get("trainer", {}).items():
        trainer.check(stage, name, value, origins.get(f"trainer.{name}", ""))
    training = values.setdefault("training", {})
    if training.get("learning_rate", "auto") == "auto":
        kind = values.get("adapter", {}).get("kind") or adapters.inherited(values)
        training["learning_rate"] = defaults.learning_rate(stage, kind).value
    if values.get("adapter", {}).get("kind") == "qlora":
        values["model"] = {**values.get("model", {})}
        if values["model"].get("quantisation", "none") == "none":
            values["model"]["quantisation"] = QLORA_BITS
    try:
        config = CONFIGS[stage].model_validate(values)
    except ValidationError as error:
        raise _refusal(stage, error, origins) from None
    config._stage, config._origins = stage, dict(origins)
    _check_together(config)
    return config


def _refusal(stage: str, error: ValidationError, origins: Origins) -> Refused:
    """One paragraph from pydantic's first finding."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"][:2] if isinstance(part, str))
    if key not in keys_of(stage):
        key = key.partition(".")[0]
    value = _shown(first["input"])
    return Refused(f"{key} cannot be {value}", where=_place(origins, key), expected=expected_of(stage, key))


def _shown(value: Any) -> str:
    """A value as it would be written in YAML, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _check_together(config: StageConfig) -> None:
    """Refuses settings that contradict each other; one that only repeats its default does not (a saved config.yaml)."""
    if config.given("adapter.kind"):
        adapters.check_keys(config, config.adapter.kind)
    if adapters.tunes_weights(config.adapter.kind) and config.model.quantisation != "none":
        what = f"weights in 4 or 8 bits cannot be tuned, adapter.kind is {config.adapter.kind}"
        _contradiction(config, "model.quantisation", what)
    if config.data.validation and _changed(config, "data.validation_share"):
        _contradiction(config, "data.validation_share", "the held-out rows come from data.validation")
    if config.training.max_steps and _changed(config, "training.epochs"):
        _contradiction(config, "training.epochs", "training.max_steps says how long already")
    if config.stage in ("reward", "dpo", "ppo") and config.adapter.dropout and config.trainer.get("disable_dropout", True):
        _contradiction(config, "adapter.dropout", "TRL turns dropout off in this stage unless trainer.disable_dropout is false")
    _check_regularisation(config)
    if config.stage == "dpo" and "exo_pair" in config.dpo.loss_type and not config.dpo.label_smoothing:
        _contradiction(config, "dpo.loss_type", "exo_pair needs dpo.label_smoothing above 0 (its paper: 0.001)")
    weights = config.dpo.loss_weights if config.stage == "dpo" else None
    if weights and len(weights) != len(config.dpo.loss_type):
        _contradiction(config, "dpo.loss_weights", f"{len(config.dpo.loss_type)} losses, but {len(weights)} weights")
    if config.stage == "ppo":
        _check_ppo(config)


def _check_regularisation(config: StageConfig) -> None:
    """Dropout beside a reference, and settings of the loss that exclude each other."""
    if config.model.dropout and config.stage in ("dpo", "ppo"):
        _contradiction(config, "model.dropout", "the reference is the same model, and its probabilities would be noise too")
    if config.model.dropout and config.stage == "reward" and config.trainer.get("disable_dropout", True):
        _contradiction(config, "model.dropout", "TRL turns dropout off in this stage unless trainer.disable_dropout is false")
    if config.stage != "sft":
        return
    if config.training.label_smoothing and config.trainer.get("loss_type", "nll") != "nll":
        _contradiction(config, "training.label_smoothing", f"trainer.loss_type is {config.trainer['loss_type']}")
    if config.data.replay and config.trainer.get("packing"):
        _contradiction(config, "data.replay", "trainer.packing joins rows before an epoch can choose among them")


def _check_ppo(config: StageConfig) -> None:
    """Settings of `align ppo` that contradict each other."""
    ppo, batch = config.ppo, config.training.batch_size
    if ppo.rollout_size % batch:
        _contradiction(config, "ppo.rollout_size", f"{ppo.rollout_size} is no multiple of training.batch_size, {batch}")
    if ppo.rollout_size % ppo.samples:
        _contradiction(config, "ppo.samples", f"ppo.rollout_size is no multiple of {ppo.samples}")
    named = [*ppo.reward, *([ppo.gold] if ppo.gold else [])]
    if twice := next((text for text in named if named.count(text) > 1), None):
        _contradiction(config, "ppo.reward", f"{twice} is named twice")
    if ppo.weights and ppo.reward and len(ppo.weights) != len(ppo.reward):
        _contradiction(config, "ppo.weights", f"{len(ppo.reward)} rewards, but {len(ppo.weights)} weights")
    if ppo.weights and ppo.combine in ("minimum", "lower"):
        _contradiction(config, "ppo.weights", f"combine: {ppo.combine} takes no weights")
    if ppo.kl_in == "loss" and ppo.kl_estimator == "k1":
        _contradiction(config, "ppo.kl_estimator", "the gradient of k1 in a loss is 0 in the mean; k2 or k3 has one")
    if ppo.kl_target and not ppo.kl_coefficient:
        _contradiction(config, "ppo.kl_target", "a coefficient of 0 stays 0 however it is steered")
    if ppo.critic == "head" and ppo.critic_start == "reward":
        _contradiction(config, "ppo.critic_start", "a head on the policy's trunk starts from the policy")


def _changed(config: StageConfig, key: str) -> bool:
    section, _, leaf = key.partition(".")
    held = getattr(config, section)
    return config.given(key) and getattr(held, leaf) != type(held).model_fields[leaf].default


def _contradiction(config: StageConfig, key: str, why: str) -> None:
    raise Refused(f"{key} does not fit: {why}", where=config.origin(key), do="Leave one of the two out")
