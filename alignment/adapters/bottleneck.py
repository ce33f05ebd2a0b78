"""Bottleneck adapters, a kind that PEFT has not: importing this module registers it, and PEFT then makes, saves and loads it.

    import alignment                   peft.PeftModel.from_pretrained(base, "runs/sft") knows the kind from here on

A small network behind a sub-layer, with a connection around it (Houlsby et al. 2019, arXiv 1902.00751, section 2.1):

    h <- h + up(f(down(h)))        down: width -> bottleneck_size, up: bottleneck_size -> width, f a nonlinearity

h is what a sub-layer adds to the residual stream, before it is added. `up` starts at zero, so that a fresh adapter changes
nothing. Placement `houlsby`: behind attention and behind the feed-forward layer of each block (section 2.1, figure 2);
`pfeiffer`: behind the feed-forward layer alone (Pfeiffer et al. 2020, arXiv 2005.00247, section 4.1). Two things differ from
the papers: the base's layer norms stay frozen, as nothing but the adapter and a head is written; and `pfeiffer` reads the
sub-layer's own output, where the paper's reads it with the residual added and normalised. In BERT's kin the block's dropout
comes behind the adapter. A nonlinear network cannot be folded into the base, so that merging is refused.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import torch
from peft import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING, PeftConfig
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D


class OutsideType(str, enum.Enum):  # noqa: UP042  (a StrEnum prints without its class, which PEFT's model card splits off)
    """PEFT's types are a closed enum, a member of which equals its text and hashes like it; so does this one."""

    BOTTLENECK = "BOTTLENECK"


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}

_LLAMA = (r"self_attn\.o_proj", r"mlp\.down_proj")
_BERT = (r"attention\.output\.dense", r"layer\.\d+\.output\.dense")
_T5 = (r"(?:SelfAttention|EncDecAttention)\.o", r"DenseReluDense\.wo")
# transformers' model type -> the projections (attention's, the feed-forward layer's) whose output joins the residual stream
PLACES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2"), _LLAMA),
    "gpt2": (r"attn\.c_proj", r"mlp\.c_proj"),
    "gpt_neox": (r"attention\.dense", r"mlp\.dense_4h_to_h"),
    "opt": (r"self_attn\.out_proj", r"fc2"),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), _BERT),
    "distilbert": (r"attention\.out_lin", r"ffn\.lin2"),
    **dict.fromkeys(("t5", "mt5"), _T5),
}
PLACEMENTS = ("pfeiffer", "houlsby")


def places(model_type: str, placement: str) -> str:
    """The pattern of the layers that get an adapter. Raises ValueError, as PEFT's tuners do, for an unknown model type."""
    if model_type not in PLACES:
        raise ValueError(
            f"it is not known where a bottleneck belongs in a model of type '{model_type}' (known: {', '.join(PLACES)}): "
            "name the projections whose output joins the residual stream as targets"
        )
    attention, feed_forward = PLACES[model_type]
    return rf".*\.(?:{attention}|{feed_forward})" if placement == "houlsby" else rf".*\.(?:{feed_forward})"


@dataclass
class BottleneckConfig(PeftConfig):
    """Arguments of bottleneck adapters.

    bottleneck_size: width of the network. init_scale: standard deviation of `down` at the start; Houlsby et al. found
    anything up to 1e-2 alike (section 3.6). target_modules: names or a pattern instead of what `placement` stands for.

    Raises:
        ValueError: a value that there is not.
    """

    bottleneck_size: int = 64
    placement: str = "pfeiffer"
    activation: str = "relu"
    dropout: float = 0.0
    init_scale: float = 1e-2
    target_modules: str | list[str] | set[str] | None = None
    exclude_modules: str | list[str] | None = None
    modules_to_save: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = OutsideType.BOTTLENECK
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        for name, value, known in (
            ("placement", self.placement, PLACEMENTS),
            ("activation", self.activation, tuple(ACTIVATIONS)),
        ):
            if value not in known:
                raise ValueError(f"{name} cannot be {value!r}: there is {', '.join(known)}")
        if self.bottleneck_size < 1 or self.init_scale < 0 or not 0 <= self.dropout < 1:
            raise ValueError("bottleneck_size is at least 1, init_scale at least 0, dropout in [0, 1)")


class BottleneckLayer(nn.Module, BaseTunerLayer):
    """A projection with the adapters of its output, by name. Several that are active at once add up, each on the same h."""

    adapter_layer_names = ("bottleneck_down", "bottleneck_up")
    other_param_names = ("bottleneck_dropout", "bottleneck_activation")

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.width = width_of(self.get_base_layer())
        self.bottleneck_down, self.bottleneck_up = nn.ModuleDict(), nn.ModuleDict()
        self.bottleneck_dropout, self.bottleneck_activation = nn.ModuleDict(), nn.ModuleDict()

    def add(self, name: str, config: BottleneckConfig) -> None:
        """Adds adapter `name` at its start, where it changes nothing. `down` is drawn from torch's generator."""
        down, up = nn.Linear(self.width, config.bottleneck_size), nn.Linear(config.bottleneck_size, self.width)
        nn.init.normal_(down.weight, std=config.init_scale)
        for parameter in (down.bias, up.weight, up.bias):
            nn.init.zeros_(parameter)
        self.bottleneck_down[name], self.bottleneck_up[name] = down, up
        self.bottleneck_dropout[name] = nn.Dropout(config.dropout)
        self.bottleneck_activation[name] = ACTIVATIONS[config.activation]()
        self._move_adapter_to_device_of_base_layer(name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The projection of x and what its active adapters make of it, (..., width), in the projection's own dtype."""
        plain = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return plain
        changed = plain
        for name in self.active_adapters:
            if name in self.bottleneck_down:
                changed = changed + self._change(name, plain)
        return changed

    def _change(self, name: str, hidden: torch.Tensor) -> torch.Tensor:
        """up(f(down(h))), computed in the dtype of the adapter (float32 while it is trained) unless autocast says otherwise."""
        down = self.bottleneck_down[name]
        inner = self.bottleneck_dropout[name](self._cast_input_dtype(hidden, down.weight.dtype))
        return self.bottleneck_up[name](self.bottleneck_activation[name](down(inner))).to(hidden.dtype)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise ValueError(NO_MERGE)

    def unmerge(self) -> None:
        raise ValueError(NO_MERGE)


NO_MERGE = "a bottleneck adapter is nonlinear, and no weights of the base stand for it: keep it beside its base"


def width_of(layer: nn.Module) -> int:
    """How many numbers a projection puts out. Raises ValueError for a layer that is none."""
    if isinstance(layer, Conv1D):  # GPT-2's, whose weight is (in, out)
        return layer.nf
    width = getattr(layer, "out_features", None)
    if not isinstance(width, int):
        raise ValueError(f"a bottleneck stands behind a projection such as Linear, and {type(layer).__name__} is none")
    return width


class BottleneckModel(BaseTuner):
    """Puts the adapters into a model; everything else (switching, saving, deleting) is PEFT's own."""

    prefix = "bottleneck_"
    tuner_layer_cls = BottleneckLayer
    target_module_mapping: dict[str, list[str]] = {}

    def _prepare_adapter_config(self, peft_config: BottleneckConfig, model_config: dict) -> BottleneckConfig:
        if peft_config.target_modules is None:
            peft_config.target_modules = places(model_config.get("model_type", "unknown"), peft_config.placement)
        return peft_config

    def _create_and_replace(
        self, peft_config, adapter_name, target, target_name, parent, current_key, parameter_name=None
    ) -> None:
        if isinstance(target, BottleneckLayer):
            target.add(adapter_name, peft_config)
            return
        layer = BottleneckLayer(target)
        layer.set_adapter(self.active_adapters)
        layer.add(adapter_name, peft_config)
        self._replace_module(parent, target_name, layer, target)

    def _check_merge_allowed(self) -> None:
        raise ValueError(NO_MERGE)


# What PEFT's `register_peft_method` writes, after it has looked the name up in its closed enum; the mappings are public.
PEFT_TYPE_TO_CONFIG_MAPPING[OutsideType.BOTTLENECK] = BottleneckConfig
PEFT_TYPE_TO_TUNER_MAPPING[OutsideType.BOTTLENECK] = BottleneckModel
PEFT_TYPE_TO_PREFIX_MAPPING[OutsideType.BOTTLENECK] = BottleneckModel.prefix
