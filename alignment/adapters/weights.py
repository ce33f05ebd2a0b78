"""The weights of adapters: made, continued, copied as a reference, put into their place, hashed; whatever their kind."""

from __future__ import annotations

import copy
import hashlib
import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from data_recipes.errors import Failed, Refused

from alignment.adapters import added_tokens, bottleneck, fused_lora  # noqa: F401  (PEFT knows bottlenecks by it)
from alignment.adapters import HEAD, AdapterChoice, peft_config
from alignment.adapters import describe as describe_config
from alignment.tasks import CAUSAL, SEQ2SEQ, Task

HEADS = ("score", "classifier")  # what transformers calls the scoring head of decoders, and of encoders


def new_adapter(model: torch.nn.Module, choice: AdapterChoice, *, task: Task, seed: int) -> PeftModel:
    """Wraps `model` with a fresh, trainable adapter named `default`, initialised from `seed`."""
    config = peft_config(choice, model.config.model_type)
    config.task_type = task.peft
    if config.is_prompt_learning and task != SEQ2SEQ:
        name_width(config, model.config)
    if task == SEQ2SEQ:
        fit_decoder(config, model.config)
    if task.has_head:
        config.modules_to_save = sorted({*(config.modules_to_save or []), *head_modules(model)})
    if choice.tokens:
        config.trainable_token_indices = added_tokens.layers(model, choice.tokens)
    torch.manual_seed(seed)
    return _wrap(model, config)


def name_width(config: PeftConfig, model_config) -> None:
    """DistilBERT says `dim` and `n_heads`, where PEFT does not look; transformers knows both by the common names too."""
    if not {"hidden_size", "n_embd", "d_model"} & model_config.to_dict().keys():
        config.token_dim = config.token_dim or model_config.hidden_size
        config.num_attention_heads = config.num_attention_heads or model_config.num_attention_heads


def fit_decoder(config: PeftConfig, model_config) -> None:
    """Sizes of virtual tokens for an encoder-decoder model, where nobody gave them.

    PEFT takes the first names that it finds: of T5 the encoder's layers, and the model's width for that of its heads, which
    Flan-T5 small and large have in another number. Of a soft prompt, which only the encoder reads, it keeps two halves.
    """
    if config.peft_type == "PROMPT_TUNING":
        config.num_transformer_submodules = config.num_transformer_submodules or 1
    if config.peft_type != "PREFIX_TUNING":
        return
    decoder = model_config.get_text_config(decoder=True)
    heads = decoder.num_attention_heads
    each = getattr(model_config, "d_kv", None) or decoder.hidden_size // heads
    config.num_layers = config.num_layers or getattr(model_config, "num_decoder_layers", None) or decoder.num_hidden_layers
    config.num_attention_heads = config.num_attention_heads or heads
    config.token_dim = config.token_dim or config.num_attention_heads * each


def continued_adapter(
    model: torch.nn.Module, folder: Path, *, task: Task, dropout: float | None = None, new_head: bool = False
) -> PeftModel:
    """Wraps `model` with a trainable copy of the adapter in `folder`.

    An adapter of another task is carried over to a model with a head of its own: the head is saved with the adapter
    (`modules_to_save`) and starts as the model has it (zero, for scores). So does it with `new_head`, where the adapter's own
    head is for other labels. Where the task has no head, the adapter's is left behind.

    Raises:
        Failed: where a tensor of the adapter found no place in the model.
    """
    state = load_adapter_file(folder)
    if task.has_head:
        virtual = PeftConfig.from_pretrained(str(folder)).is_prompt_learning
        above = "base_model." if virtual else "base_model.model."  # PEFT puts no tuner around what it only prompts
        for name in head_modules(model):
            if new_head and not name.endswith(".pooler"):
                state = {key: value for key, value in state.items() if not key.startswith(f"{above}{name}.")}
            for key, value in model.get_submodule(name).state_dict().items():
                state.setdefault(f"{above}{name}.{key}", value.detach().cpu())
    else:
        lost = tuple(f".{name}." for name in _lost_modules(PeftConfig.from_pretrained(str(folder)), model))
        state = {key: value for key, value in state.items() if not any(name in key for name in lost)}
    wrapped = like_parent(model, folder, task=task, dropout=dropout)
    put_adapter(wrapped, added_tokens.without_missing(state, model), "default")
    return wrapped


def like_parent(model: torch.nn.Module, folder: Path, *, task: Task, dropout: float | None = None) -> PeftModel:
    """Wraps `model` with a trainable adapter shaped like the one in `folder`, its values not yet set.

    dropout: another one than the parent's, where it was asked for by name.
    """
    return _wrap(model, _parents_config(model, folder, task=task, dropout=dropout))


def layers_of(model: torch.nn.Module, folder: Path, targets: Any, *, task: Task) -> set[str]:
    """Names of the layers that the adapter in `folder` would sit on, were its targets these; wraps `model`.

    Raises:
        Refused: there is no such layer.
    """
    config = _parents_config(model, folder, task=task)
    config.target_modules = set(targets) if isinstance(targets, (list, tuple)) else targets
    if getattr(config, "feedforward_modules", None):  # IA3: a part of its targets, and no further layers
        config.feedforward_modules = set()
    return set(_wrap(model, config).base_model.targeted_module_names)


def _parents_config(model: torch.nn.Module, folder: Path, *, task: Task, dropout: float | None = None) -> PeftConfig:
    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode, config.task_type, config.base_model_name_or_path = False, task.peft, None
    if getattr(config, "prefix_projection", False):
        config.prefix_projection = False  # the file holds what the projection made: a plain prefix
    if dropout is not None:
        setattr(config, "lora_dropout" if hasattr(config, "lora_dropout") else "dropout", dropout)
    if task.has_head:
        config.modules_to_save = sorted({*(config.modules_to_save or []), *head_modules(model)})
    elif lost := _lost_modules(config, model):
        config.modules_to_save = sorted({*config.modules_to_save} - lost) or None
    return config


def _lost_modules(config: PeftConfig, model: torch.nn.Module) -> set[str]:
    """Modules saved with an adapter that this model has not: the head of another task."""
    has = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    return set(getattr(config, "modules_to_save", None) or []) - has


def _wrap(model: torch.nn.Module, config: PeftConfig) -> PeftModel:
    """PEFT's wrapping, with room for the rows of added tokens and what TRL's fused head asks of them.

    Raises:
        Refused: PEFT does not know where this kind belongs in this architecture.
    """
    added_tokens.fit(model, config)
    fused_lora.register(config, model)
    try:
        wrapped = get_peft_model(model, config)
    except (ValueError, TypeError, NotImplementedError, KeyError) as error:
        unknown = "not found in the base model" in str(error)  # layers that were named
        raise Refused(
            f"PEFT cannot put this adapter into {type(model).__name__} ({' '.join(str(error).split())[:300]})",
            where="adapter.targets" if unknown else "adapter.kind",
            do="Name layers by the ends of their names, as they are called in this model, or all-linear." if unknown
            else "Name the layers with adapter.targets where the kind has them, or choose lora.",
        ) from error
    added_tokens.show_bias(wrapped)
    return wrapped


def unfreeze(model: torch.nn.Module, choice: AdapterChoice, task: Task) -> torch.nn.Module:
    """Makes trainable what kind and patterns name, and freezes the rest: all weights, the head, or parts by name.

    Patterns are those of the shell (`model.layers.1?.*`), over the names of the model's parameters.

    Raises:
        Refused: a pattern names no weight.
    """
    if choice.kind != HEAD and not choice.trainable:
        return model.requires_grad_(True)
    model.requires_grad_(False)
    for name in head_modules(model) if choice.kind == HEAD and task.has_head else []:
        model.get_submodule(name).requires_grad_(True)
    for pattern in choice.trainable:
        found = [p for name, p in model.named_parameters() if fnmatchcase(name, pattern)]
        if not found:
            names = [name for name, _ in model.named_parameters()]
            raise Refused(
                f"no weight is named like '{pattern}'",
                where="adapter.trainable",
                expected=f"names such as {', '.join(names[:2] + names[-2:])}",
                do="A head that is tied to the embeddings goes by their name.",
            )
        for parameter in found:
            parameter.requires_grad_(True)
    return model


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
    try:
        return load_file(file)
    except SafetensorError as error:
        raise unreadable(file, error) from error


def unreadable(where: Path | str, error: SafetensorError) -> Refused:
    """One paragraph for weights that are no whole safetensors: half a download, say."""
    said = f"the weights cannot be read ({str(error).splitlines()[0]})"
    return Refused(said, where=where, expected="whole files in safetensors", do="Copy or fetch them again.")


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
    config.task_type, config.modules_to_save, config.inference_mode = CAUSAL.peft, None, False
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
    """Name of the scoring head's module: `score` for decoders, `classifier` for encoders.

    Raises:
        Refused: it has neither.
    """
    for name in HEADS:
        if isinstance(getattr(model, name, None), torch.nn.Module):
            return name
    raise Refused(
        f"{type(model).__name__} has no scoring head that is known here",
        where="model",
        expected="a module named score or classifier",
    )


def head_modules(model: torch.nn.Module) -> list[str]:
    """Names of the modules on top of the trunk that a task's head is made of, the trunk's pooler among them.

    RoBERTa's head is one module, DistilBERT's are two; BERT's pooler belongs to the trunk, and is random where that was
    trained on masked words alone.
    """
    trunk = model.base_model_prefix
    on_top = [name for name, module in model.named_children() if name != trunk and any(True for _ in module.parameters())]
    pooler = getattr(getattr(model, trunk), "pooler", None)
    return on_top + ([f"{trunk}.pooler"] if isinstance(pooler, torch.nn.Module) else [])


def reset_head(model: torch.nn.Module) -> None:
    """A new head in place of one that was trained for other labels; the trunk's pooler stays."""
    for name in head_modules(model):
        if not name.endswith(".pooler"):
            model.get_submodule(name).apply(model._init_weights)


def describe(model: torch.nn.Module) -> dict | None:
    """The manifest's entry for the adapter; None for a model whose own weights are tuned."""
    if not isinstance(model, PeftModel):
        return None
    config = model.peft_config["default"].to_dict()
    return describe_config({**config, "peft_type": str(config["peft_type"]).rpartition(".")[2]})


def tuned(model: torch.nn.Module) -> dict[str, int]:
    """How many parameters are trained, of how many: an adapter's are counted with the base's, its copies are not."""
    others = set(getattr(model, "peft_config", {})) - {"default"}
    counts = [
        (_size(p), p.requires_grad) for name, p in model.named_parameters() if not others.intersection(name.split("."))
    ]
    return {"parameters": sum(size for size, trained in counts if trained), "of": sum(size for size, _ in counts)}


def _size(parameter: torch.nn.Parameter) -> int:
    """How many weights a parameter holds; bitsandbytes packs two of four bits into each byte."""
    packed = 2 * parameter.element_size() if hasattr(parameter, "quant_state") and parameter.dtype == torch.uint8 else 1
    return parameter.numel() * packed
