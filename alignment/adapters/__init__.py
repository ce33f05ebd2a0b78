"""Adapter kinds: the one place that knows what each is, which keys are its own, how it is made and where it cannot work.

Light until a config is made: a command refuses what cannot work before torch is loaded. What is done with an adapter's
weights (made, continued, copied, hashed) lies in `alignment/adapters/weights.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from alignment.config.names import nearest
from alignment.sources import read_object
from data_recipes.errors import Refused

FULL, HEAD, PASSED = "full", "head", "peft:"
FIRST_TOKEN = ("bert", "roberta", "distilbert", "xlm-roberta", "camembert", "electra")  # encoders: the head reads the first
KEYLESS = ("distilbert",)  # model types that take no keys and values of earlier positions
HEADED = ("reward", "classify")  # stages that put a head on the model
TABLE = Path(__file__).parents[1] / "config" / "adapter_fields.json"  # PEFT's argument names, see config/trainer_table.py


@dataclass(frozen=True)
class AdapterChoice:
    """What the user asked for: the `adapter` section in plain arguments. targets None: those usual for the kind."""

    kind: str = "lora"
    rank: int = 16
    alpha: float = 32
    dropout: float = 0.05
    targets: str | tuple[str, ...] | None = "all-linear"
    virtual_tokens: int = 20
    bottleneck_size: int = 64
    placement: str = "pfeiffer"
    activation: str = "relu"
    trainable: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    tokens: tuple[int, ...] = ()  # ids whose embedding rows are trained beside it: those that were added by name


SHAPING = tuple(name for name in AdapterChoice.__dataclass_fields__ if name != "tokens")  # keys of the `adapter` section


@dataclass(frozen=True)
class Kind:
    """What is known of a kind.

    keys: those of the `adapter` section that are its own, beside kind, on_parent and options. source: its paper.
    peft: PEFT's type; None where the model's own weights are tuned. arguments: what PEFT's config is given.
    identity: a fresh one changes no output. folds: `align merge` can put it into the base's weights.
    roles: several of it can stand beside each other on one base and take turns, as `align ppo` needs it.
    """

    keys: tuple[str, ...]
    source: str
    peft: str | None = None
    arguments: Callable[[AdapterChoice, str], dict[str, Any]] = lambda choice, model_type: {}
    identity: bool = True
    folds: bool = True
    roles: bool = True


def _listed(targets: str | tuple[str, ...] | None) -> Any:
    return list(targets) if isinstance(targets, tuple) else targets


def _lora(**kind: bool) -> Callable[[AdapterChoice, str], dict[str, Any]]:
    return lambda choice, model_type: {
        "r": choice.rank,
        "lora_alpha": choice.alpha,
        "lora_dropout": choice.dropout,
        "target_modules": _listed(choice.targets),
        **kind,
    }


# PEFT names these layers for most families; these it does not know.
IA3_LAYERS = {"distilbert": (["k_lin", "v_lin", "ffn.lin2"], ["ffn.lin2"])}


def _ia3(choice: AdapterChoice, model_type: str) -> dict[str, Any]:
    if choice.targets is not None:
        return {"target_modules": _listed(choice.targets), "feedforward_modules": []}
    targets, feedforward = IA3_LAYERS.get(model_type, (None, None))
    return {"target_modules": targets, "feedforward_modules": feedforward}


def _virtual(choice: AdapterChoice, model_type: str) -> dict[str, Any]:
    return {"num_virtual_tokens": choice.virtual_tokens}


def _bottleneck(choice: AdapterChoice, model_type: str) -> dict[str, Any]:
    return {
        "bottleneck_size": choice.bottleneck_size,
        "placement": choice.placement,
        "activation": choice.activation,
        "dropout": choice.dropout,
        "target_modules": _listed(choice.targets),
    }


LORA_KEYS = ("rank", "alpha", "dropout", "targets")
KINDS: dict[str, Kind] = {
    "lora": Kind(LORA_KEYS, "Hu et al. 2021, arXiv 2106.09685", "LORA", _lora()),
    "rslora": Kind(LORA_KEYS, "Kalajdzievski 2023, arXiv 2312.03732", "LORA", _lora(use_rslora=True)),
    "dora": Kind(LORA_KEYS, "Liu et al. 2024, arXiv 2402.09353", "LORA", _lora(use_dora=True)),
    "qlora": Kind(LORA_KEYS, "Dettmers et al. 2023, arXiv 2305.14314", "LORA", _lora()),
    "ia3": Kind(("targets",), "Liu et al. 2022, arXiv 2205.05638", "IA3", _ia3),
    "bottleneck": Kind(
        ("bottleneck_size", "placement", "activation", "dropout", "targets"),
        "Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2020, arXiv 2005.00247",
        "BOTTLENECK",
        _bottleneck,
        folds=False,
    ),
    "prefix": Kind(
        ("virtual_tokens",), "Li and Liang 2021, arXiv 2101.00190", "PREFIX_TUNING", _virtual,
        identity=False, folds=False, roles=False,
    ),
    "prompt": Kind(
        ("virtual_tokens",), "Lester et al. 2021, arXiv 2104.08691", "PROMPT_TUNING", _virtual,
        identity=False, folds=False, roles=False,
    ),
    FULL: Kind(("trainable",), "all weights, or those that patterns name"),
    HEAD: Kind(("trainable",), "frozen base, the head alone"),
}  # fmt: skip
REWRITING = ("pissa", "olora", "corda", "loftq", "lora_ga")  # ways of PEFT's to begin a LoRA
OWNED = {
    "r": "adapter.rank",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "target_modules": "adapter.targets",
    "use_rslora": "adapter.kind",
    "use_dora": "adapter.kind",
    "num_virtual_tokens": "adapter.virtual_tokens",
    **{key: f"adapter.{key}" for key in ("bottleneck_size", "placement", "activation", "dropout")},
    "trainable_token_indices": "model.add_tokens",
    **dict.fromkeys(
        ("task_type", "peft_type", "inference_mode", "base_model_name_or_path", "revision", "auto_mapping",
         "peft_version"), "the stage"),
}  # fmt: skip


def kind(name: str) -> Kind:
    """What is known of a kind by its name; a `peft:NAME` passes through, and nothing is claimed for it but its name."""
    if not name.startswith(PASSED):
        return KINDS[name]
    peft = name.removeprefix(PASSED).upper()
    return Kind(("targets",), "PEFT's own, passed through untested", peft, _passed, identity=False)


def _passed(choice: AdapterChoice, model_type: str) -> dict[str, Any]:
    return {} if choice.targets is None else {"target_modules": _listed(choice.targets)}


def tunes_weights(name: str) -> bool:
    """Whether the model's own weights are tuned, all or some, and not an adapter beside them."""
    return kind(name).peft is None


@cache
def fields(peft: str) -> list[str]:
    """The argument names of a PEFT type's config. Raises Refused for a type that PEFT has not."""
    known = json.loads(TABLE.read_text(encoding="utf-8"))["kinds"]
    if peft not in known:
        raise Refused(
            f"PEFT has no kind '{peft.lower()}'",
            where="adapter.kind",
            expected=", ".join(f"{PASSED}{name.lower()}" for name in known),
        )
    return known[peft]


# ----------------------------------------------------------------------------------------------- what cannot work, and why


def check(stage: str, config: Any, parent: dict | None, model_type: str | None = None) -> None:
    """Refuses what cannot work, before anything heavy is loaded.

    Args:
        config: the stage's config. parent: adapter_config.json of the model that is tuned, where it is an adapter.
        model_type: of the base, as its config.json names it; None where that is not at hand yet.

    Raises:
        Refused: a key of another kind, an unknown option, or a kind that this stage cannot train; with what would work.
    """
    section = config.adapter
    continued = parent is not None and section.on_parent == "continue"
    name = kind_of(parent) if continued and not config.given("adapter.kind") else section.kind
    check_keys(config, name)
    _check_options(config, name)
    if why := refusal(stage, name, fresh=not continued, model_type=model_type):
        raise Refused(why[0], where=config.origin("adapter.kind") or "adapter.kind", do=why[1])


def refusal(stage: str, name: str, *, fresh: bool = True, model_type: str | None = None) -> tuple[str, str] | None:
    """Why a stage cannot train a kind, and what would work; None where it can.

    fresh: the adapter is a new one, not the parent's. model_type: the base's; None where it is not known yet.
    """
    known = kind(name)
    if name == "prefix" and model_type in KEYLESS:
        return (
            f"a prefix is made of keys and values of earlier positions, for which {model_type} has no place",
            "Train with adapter.kind prompt, bottleneck or lora.",
        )
    if stage == "classify" and name == "prompt" and model_type is not None and model_type not in FIRST_TOKEN:
        return (
            f"the head of a {model_type} reads a row's last token, which transformers finds by the row's ids, and a prompt "
            "hands the model vectors in their place",
            f"Train with adapter.kind prefix, lora or another one, or take an encoder ({', '.join(FIRST_TOKEN[:3])}).",
        )
    if name == HEAD and stage not in HEADED:
        return (
            f"align {stage} puts no head on the model that could be trained alone",
            "Name the weights instead: --set adapter.kind=full --set 'adapter.trainable=[lm_head.*]'.",
        )
    if stage == "ppo" and not known.roles:
        return (
            f"a {name} stands before the tokens: policy, reference, critic and reward cannot take turns with it on one base",
            f"Train with adapter.kind lora, ia3 or bottleneck{'' if fresh else f', from a parent without a {name}'}.",
        )
    if stage == "reward" and name == "prompt":
        return (
            "transformers finds the token that is scored by a row's ids, and a prompt hands the model vectors in their place",
            "Train the reward model with adapter.kind prefix, lora or another one, from a parent without a prompt.",
        )
    if stage == "dpo" and fresh and not known.identity:
        return (
            f"a fresh {name} changes the model before its first step, so that the policy would not be its reference",
            f"Train the {name} by align sft first: align dpo then continues it, with an exact copy as the reference.",
        )
    return None


def check_keys(config: Any, name: str) -> None:
    """A key of another kind would be read by nobody."""
    own = set(kind(name).keys)
    for key in type(config.adapter).model_fields:
        if key in own | {"kind", "on_parent", "options"} or not config.given(f"adapter.{key}"):
            continue
        if getattr(config.adapter, key) == type(config.adapter).model_fields[key].default:
            continue  # a saved config.yaml names every key
        raise Refused(
            f"adapter.{key} does not fit: it is no key of adapter.kind: {name}",
            where=config.origin(f"adapter.{key}"),
            expected=f"its own: {', '.join(sorted(own))}",
            do="Leave it out, or choose the kind that has it.",
        )


def _check_options(config: Any, name: str) -> None:
    """PEFT's remaining arguments, by PEFT's own names."""
    options, peft = config.adapter.options, kind(name).peft
    if peft is None:
        if options:
            raise Refused(f"adapter.kind: {name} has no options of PEFT's", where=config.origin("adapter.options"))
        return
    known = fields(peft)
    for option, value in options.items():
        if why := _cannot_go_on(option, value):
            raise Refused(f"adapter.options.{option} cannot be {value}: {why}", where=config.origin("adapter.options"),
                          do="Leave it out.")  # fmt: skip
    for option in options:
        if option in OWNED and name in KINDS or option in OWNED and OWNED[option] == "the stage":
            raise Refused(f"adapter.options.{option} is set by the suite", where=config.origin("adapter.options"),
                          do=f"Use instead: {OWNED[option]}")  # fmt: skip
        if option not in known:
            close = nearest(option, known)
            raise Refused(f"PEFT's {peft} has no argument {option!r}", where=config.origin("adapter.options"),
                          do=f"Did you mean {close}?" if close else f"It has: {', '.join(known)}")  # fmt: skip


def _cannot_go_on(option: str, value: Any) -> str:
    """Why a run with this option of PEFT's would fail at its end, or be no adapter on the base; empty where it would not."""
    if option == "prefix_projection" and value:
        return "PEFT keeps what the projection makes and not the projection, so that neither a resume nor a child could go on"
    if option == "bias" and value != "none":
        return "PEFT takes one adapter with biases on a model, and what is saved is read back beside it as a second one"
    if option == "init_lora_weights" and str(value).lower().startswith(REWRITING):
        return "it begins by changing the base's own weights, on which the reference and all other runs stand"
    return ""


def inherited(values: Mapping[str, Any]) -> str:
    """The kind that a stage trains where none is named: the parent's, whose adapter is continued, else LoRA.

    values: the sections as they were written, before they are checked.
    """
    file = Path(str((values.get("model") or {}).get("path") or ".")).expanduser() / "adapter_config.json"
    if (values.get("adapter") or {}).get("on_parent") == "merge" or not file.is_file():
        return "lora"
    return kind_of(read_object(file))


# ------------------------------------------------------------------------------------------------------ configs of PEFT's


def peft_config(choice: AdapterChoice, model_type: str) -> Any:
    """PEFT's config of a fresh adapter; imports PEFT.

    Raises:
        Refused: PEFT does not take the arguments.
    """
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    known = kind(choice.kind)
    try:
        return PEFT_TYPE_TO_CONFIG_MAPPING[known.peft](**{**known.arguments(choice, model_type), **choice.options})
    except (ValueError, TypeError) as error:
        raise Refused(f"PEFT does not take this ({' '.join(str(error).split())[:300]})", where="adapter.options") from error


def conflicts(parent: dict, asked: AdapterChoice, explicit: set[str], layers: Callable[[Any], set[str]]) -> list[str]:
    """What the user asked for by name that the parent's adapter is not; empty where it can be continued.

    Args:
        parent: the parent's adapter_config.json.
        explicit: the keys of the `adapter` section that the user wrote; defaults never conflict.
        layers: names of the layers that targets mean for this adapter, asked where they are written otherwise than it has them.
    """
    has = {"kind": kind_of(parent), **own_figures(parent)}
    wants = {
        "kind": "lora" if asked.kind == "qlora" else asked.kind,  # the same adapter, on a base in fewer bits
        **{key: getattr(asked, key) for key in has if key in AdapterChoice.__dataclass_fields__ and key != "kind"},
    }
    lines = [f"adapter.{key}: {has[key]} -> {wants[key]}" for key in has if key in explicit and has[key] != wants[key]]
    if "targets" in explicit and "targets" in kind(has["kind"]).keys:
        lines += _other_layers(parent.get("target_modules"), _listed(asked.targets), layers)
    options = asked.options if "options" in explicit else {}
    return lines + [
        f"adapter.options.{key}: {parent.get(key)} -> {value}"
        for key, value in options.items()
        if _plain(parent.get(key)) != _plain(value)
    ]


def _other_layers(has: Any, wants: Any, layers: Callable[[Any], set[str]]) -> list[str]:
    """A line where two ways to name layers mean others."""
    if _plain(has) == _plain(wants) or (before := layers(has)) == (after := layers(wants)):
        return []
    return [f"adapter.targets: {_named(has)} ({len(before)} layers) -> {_named(wants)} ({len(after)} layers)"]


def _named(targets: Any) -> str:
    """Targets for people: of layers that are named by their place in the model, the last part of each name."""
    return targets if isinstance(targets, str) else ", ".join(sorted({name.rpartition(".")[2] for name in targets or ()}))


def _plain(value: Any) -> Any:
    """An option as it is compared: PEFT writes sets as lists in any order."""
    return sorted(value, key=repr) if isinstance(value, (list, tuple)) else value


def own_figures(config: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of an adapter's config, by the names that the `adapter` section has for them."""
    names = {
        "rank": "r", "alpha": "lora_alpha", "virtual_tokens": "num_virtual_tokens",
        "bottleneck_size": "bottleneck_size", "placement": "placement", "activation": "activation",
    }  # fmt: skip
    return {key: config[peft] for key, peft in names.items() if config.get(peft) is not None}


def kind_of(config: Mapping[str, Any]) -> str:
    """Our name of the kind that a PEFT config describes."""
    peft = config.get("peft_type")
    if peft == "LORA":
        return "dora" if config.get("use_dora") else "rslora" if config.get("use_rslora") else "lora"
    return next((name for name, known in KINDS.items() if known.peft == peft), f"{PASSED}{str(peft).lower()}")


def describe(config: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest's entry for an adapter, from PEFT's config of it as a dictionary."""
    targets = config.get("target_modules")
    dropout = config.get("lora_dropout", config.get("dropout"))
    return {
        "kind": kind_of(config),
        **own_figures(config),
        **({"dropout": dropout} if dropout is not None else {}),
        **({"targets": sorted(targets) if isinstance(targets, (set, list)) else targets} if targets else {}),
        **({"token_rows": rows} if (rows := config.get("trainable_token_indices")) else {}),
    }


def in_words(manifest: Mapping[str, Any]) -> str:
    """What a run trained, in a few words: kind, its figures, and the share of the weights."""
    adapter, tuned = manifest.get("adapter"), manifest.get("tuned") or {}
    shown = {key: f"{len(value)} layers" if key == "targets" and isinstance(value, list) else value
             for key, value in (adapter or {}).items() if key != "kind"}  # fmt: skip
    name = (adapter or tuned).get("kind", FULL)
    words = [name if adapter else f"none: {'all weights' if name == FULL else f'{name} of the model'}",
             *(f"{key.replace('_', ' ')} {value}" for key, value in shown.items())]  # fmt: skip
    if tuned:
        words.append(f"{tuned['parameters']:,} of {tuned['of']:,} weights trained")
    return ", ".join(words)
