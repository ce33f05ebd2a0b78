"""Adapter kinds: the one place that knows how each is made, continued, copied and hashed.

`KINDS` maps a kind's name to the function that makes its PEFT config. A further kind is one function and one line.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file

from data_recipes.errors import Failed, Refused

from alignment import added_tokens

FULL = "full"
TRUNK_TASK, HEAD_TASK = "CAUSAL_LM", "SEQ_CLS"
HEADS = ("score", "classifier")  # what transformers calls the scoring head of decoders, and of encoders


@dataclass(frozen=True)
class AdapterChoice:
    """What the user asked for: the `adapter` section in plain arguments."""

    kind: str = "lora"
    rank: int = 16
    alpha: float = 32
    dropout: float = 0.05
    targets: str | tuple[str, ...] = "all-linear"
    tokens: tuple[int, ...] = ()  # ids whose embedding rows are trained beside it: those that were added by name


def _lora(choice: AdapterChoice, **kind: bool) -> LoraConfig:
    targets = choice.targets if isinstance(choice.targets, str) else list(choice.targets)
    return LoraConfig(
        r=choice.rank, lora_alpha=choice.alpha, lora_dropout=choice.dropout, target_modules=targets, **kind
    )


# LoRA arXiv 2106.09685, rsLoRA arXiv 2312.03732, DoRA arXiv 2402.09353: all start as the identity (B = 0).
KINDS: dict[str, Callable[[AdapterChoice], PeftConfig]] = {
    "lora": _lora,
    "rslora": lambda choice: _lora(choice, use_rslora=True),
    "dora": lambda choice: _lora(choice, use_dora=True),
}


def new_adapter(model: torch.nn.Module, choice: AdapterChoice, *, task: str, seed: int) -> PeftModel:
    """Wraps `model` with a fresh, trainable adapter named `default`, initialised from `seed`."""
    config = KINDS[choice.kind](choice)
    config.task_type = task
    if task == HEAD_TASK:
        config.modules_to_save = [head_name(model)]
    if choice.tokens:
        config.trainable_token_indices = added_tokens.layers(model, choice.tokens)
    torch.manual_seed(seed)
    return _wrap(model, config)


def continued_adapter(model: torch.nn.Module, folder: Path, *, task: str, dropout: float | None = None) -> PeftModel:
    """Wraps `model` with a trainable copy of the adapter in `folder`.

    With `task` "SEQ_CLS" a causal adapter is carried over to a model with a score head: the head is saved with the
    adapter (`modules_to_save`) and starts at zero, since PEFT saves it for that task type only.

    Raises:
        Failed: where a tensor of the adapter found no place in the model.
    """
    state = load_adapter_file(folder)
    if task == HEAD_TASK:
        name = head_name(model)
        zeros = torch.zeros_like(model.get_submodule(name).weight, device="cpu")
        state.setdefault(f"base_model.model.{name}.weight", zeros)
    wrapped = like_parent(model, folder, task=task, dropout=dropout)
    put_adapter(wrapped, added_tokens.without_missing(state, model), "default")
    return wrapped


def like_parent(model: torch.nn.Module, folder: Path, *, task: str, dropout: float | None = None) -> PeftModel:
    """Wraps `model` with a trainable adapter shaped like the one in `folder`, its values not yet set.

    dropout: another one than the parent's, where it was asked for by name.
    """
    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode, config.task_type, config.base_model_name_or_path = False, task, None
    if dropout is not None:
        config.lora_dropout = dropout
    if task == HEAD_TASK:
        config.modules_to_save = sorted({*(config.modules_to_save or []), head_name(model)})
    return _wrap(model, config)


def _wrap(model: torch.nn.Module, config: PeftConfig) -> PeftModel:
    """PEFT's wrapping, with room for the rows of added tokens and what TRL's fused head asks of them."""
    added_tokens.fit(model, config)
    wrapped = get_peft_model(model, config)
    added_tokens.show_bias(wrapped)
    return wrapped


def load_adapter_file(folder: Path) -> dict[str, torch.Tensor]:
    """The adapter's tensors. Raises Refused where only a pickle is there: those run code when they are read."""
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise Refused(
            "there is no adapter_model.safetensors",
            where=folder,
            expected="an adapter in safetensors",
            do="Convert a .bin adapter with the tool that made it; pickled weights are not read.",
        )
    return load_file(file)


def put_adapter(model: PeftModel, state: dict[str, torch.Tensor], name: str) -> None:
    """Sets adapter `name` to `state` and proves that every tensor arrived. Raises Failed otherwise."""
    set_peft_model_state_dict(model, state, adapter_name=name)
    seen = adapter_state(model, name)
    wrong = [
        key
        for key in state.keys() | seen.keys()
        if key not in state or key not in seen or not torch.equal(state[key].to(seen[key]), seen[key])
    ]
    if wrong:
        raise Failed(
            f"{len(wrong)} tensors of the adapter found no place in the model, first '{sorted(wrong)[0]}'",
            expected="an adapter made for this base",
            do="Check that base and adapter belong together.",
        )


def adapter_state(model: PeftModel, name: str = "default") -> dict[str, torch.Tensor]:
    """The tensors of one adapter on the CPU, under the names that a file has."""
    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    return {key: value.detach().cpu().contiguous() for key, value in state.items()}


def state_hash(state: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for key in sorted(state):
        value = state[key].detach().cpu().contiguous()
        digest.update(json.dumps([key, str(value.dtype), list(value.shape)]).encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def pin_reference(model: PeftModel) -> str:
    """Makes adapter `ref` an exact frozen copy of `default` and returns its hash.

    TRL copies by replacing `.default.` in parameter names, which misses kinds that keep their tensors elsewhere (LoHa,
    LoKr, IA3 and more); the reference would silently be the base. PEFT's own state functions know every kind.
    """
    state = adapter_state(model, "default")
    put_adapter(model, state, "ref")
    for name, parameter in model.named_parameters():
        if ".ref." in name or name.endswith(".ref"):
            parameter.requires_grad_(False)
    return state_hash(adapter_state(model, "ref"))


def add_role(model: PeftModel, name: str, config: PeftConfig, state: dict[str, torch.Tensor]) -> None:
    """Adds adapter `name` with the values of `state` beside those that are there, as part of a causal model.

    The config of a reward run's adapter names a score head that a causal model has not: heads of roles are kept outside.

    Raises:
        Failed: a tensor found no place. Refused: the adapter is of another PEFT type than the first one.
    """
    if config.peft_type != model.peft_config["default"].peft_type:
        raise Refused(
            f"the adapters are of two kinds, {model.peft_config['default'].peft_type.value} and {config.peft_type.value}",
            where=f"adapter '{name}'",
            expected="one kind for all roles on one base",
            do="Train both runs with the same adapter.kind.",
        )
    config = copy.deepcopy(config)
    config.task_type, config.modules_to_save, config.inference_mode = TRUNK_TASK, None, False
    model.add_adapter(name, config)
    put_adapter(model, state, name)


def split_head(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """A reward run's adapter as (trunk's tensors, weight of its score head or None)."""
    heads = [key for key in state if key.endswith(tuple(f".{name}.weight" for name in HEADS))]
    trunk = {key: value for key, value in state.items() if key not in heads}
    return trunk, state[heads[0]] if heads else None


def float_head(model: torch.nn.Module) -> torch.nn.Parameter:
    """Makes the trained score head float32, whatever the base's dtype, and returns its weight.

    PEFT keeps `modules_to_save` in the base's dtype (and TRL casts them for a quantised base): in bf16 AdamW's small updates
    would vanish. A hook hands the head float32 hidden states, so that scores are float32 outside autocast too.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    head = base.get_submodule(head_name(base))
    head = head.modules_to_save["default"] if isinstance(model, PeftModel) else head
    head.weight.data = head.weight.data.float()
    head.register_forward_pre_hook(lambda module, inputs: tuple(value.to(module.weight.dtype) for value in inputs))
    return head.weight


def head_name(model: torch.nn.Module) -> str:
    """Name of the scoring head's module: `score` for decoders, `classifier` for encoders."""
    for name in HEADS:
        if isinstance(getattr(model, name, None), torch.nn.Module):
            return name
    raise Refused(
        f"{type(model).__name__} has no scoring head that is known here",
        where="model",
        expected="a module named score or classifier",
    )


def conflicts(parent: dict, asked: AdapterChoice, explicit: set[str]) -> list[str]:
    """What the user asked for by name that the parent's adapter is not; empty where it can be continued.

    Args:
        parent: the parent's adapter_config.json.
        explicit: the keys of the `adapter` section that the user wrote; defaults never conflict.
    """
    has = {"kind": kind_of(parent), "rank": parent.get("r"), "alpha": parent.get("lora_alpha")}
    wants = {"kind": asked.kind, "rank": asked.rank, "alpha": asked.alpha}
    if not isinstance(asked.targets, str):  # a pattern cannot be compared with the names that PEFT made of one
        has["targets"], wants["targets"] = sorted(parent.get("target_modules") or []), sorted(asked.targets)
    return [f"adapter.{key}: {has[key]} -> {wants[key]}" for key in has if key in explicit and has[key] != wants[key]]


def kind_of(config: dict) -> str:
    """Our name of the kind that a PEFT config describes."""
    if config.get("peft_type") != "LORA":
        return f"peft:{config.get('peft_type')}"
    return "dora" if config.get("use_dora") else "rslora" if config.get("use_rslora") else "lora"


def describe(model: torch.nn.Module) -> dict | None:
    """The manifest's entry for the adapter; None for a model that is tuned as a whole."""
    if not isinstance(model, PeftModel):
        return None
    config = model.peft_config["default"].to_dict()
    targets = config.get("target_modules")
    return {
        "kind": kind_of({**config, "peft_type": str(config["peft_type"]).split(".")[-1]}),
        "rank": config.get("r"),
        "alpha": config.get("lora_alpha"),
        "dropout": config.get("lora_dropout"),
        "targets": sorted(targets) if isinstance(targets, (set, list)) else targets,
        **({"token_rows": rows} if (rows := config.get("trainable_token_indices")) else {}),
    }
