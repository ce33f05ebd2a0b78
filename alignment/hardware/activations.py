"""How many values a model keeps of each token until its backward pass: what the memory plan is made of beside the weights.

Counted from what autograd saves in a transformer's layer (h: hidden size, i: width of the feed-forward part):

    all weights   11 h + m i           two norms (input, normalised, output: 6 h), attention (q, k, v, output and its copy: 5 h)
    adapter        6 h + (m - 1) i     without the inputs of frozen matrices; and each tuned matrix's own input

with m = 4 where the feed-forward part is gated (gate, its activation, up, their product) and 2 where it is not. Korthikanti et
al. 2022 (arXiv 2205.05198, equation 2) have 17 h for i = 4 h without a gate; this gives 19 h.

Attention's matrices (a value for each pair of positions and head) are kept only where attention is not fused: by the name of
its code, and on a CPU wherever its weights are dropped or its bias is trained, which torch's fused code there does not know.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

NOISE = {"cpu": 1.0}  # dropout keeps what it multiplied by: a number of full size on a CPU, a byte elsewhere
# On a CPU what is freed between two kept tensors is not always used again (glibc's aligned blocks do not fit into their own
# gaps): measured by benchmarks/estimate.py, in h a layer and in values a tuned matrix's output.
GAPS_ALL, GAPS_TUNED = 3.0, 1.5


def kept_values(model: nn.Module, text_config, *, all_weights: bool, dropout: bool, device: str, layers: int,
                dropped: Collection[str] = ()) -> float:
    """Values a token over all layers.

    Args:
        model: with its adapter, on any device, the meta one too. text_config: the base's transformers config.
        dropout: whether the adapter drops any of its inputs. layers: through which a token goes.
        dropped: where the model itself drops values (`dropout.places`).
    """
    hidden, noise = text_config.hidden_size, NOISE.get(device, 0.5)
    inner = getattr(text_config, "intermediate_size", None) or getattr(text_config, "d_ff", None) or 4 * hidden
    held = 4 if is_gated(model) else 2
    own = layers * (2 * hidden * noise * ("residual" in dropped) + inner * (1 + noise) * ("inner" in dropped))
    if all_weights:
        return own + layers * ((11 + (GAPS_ALL if device == "cpu" else 0)) * hidden + held * inner)
    kept = own + layers * (6 * hidden + (held - 1) * inner) + tuned_inputs(model, dropout=dropout, device=device)
    return kept + (GAPS_TUNED * sum(layer.out_features for _, layer in tuned_layers(model)) if device == "cpu" else 0)


def kept_pairs(model: nn.Module, text_config, *, attention: str | None, device: str, layers: int,
               dropped: Collection[str] = ()) -> float:
    """Values a pair of a row's positions over all layers; 0 where attention is fused and has no bias.

    Args:
        attention: transformers' name of the code that is used. device, layers, dropped: as in `kept_values`.
    """
    heads, drops = text_config.num_attention_heads, "attention" in dropped
    biases = [p for name, p in model.named_parameters() if "attention_bias" in name]
    shared = heads if biases else 0.0  # T5's bias, one for all layers
    unknown = device == "cpu" and attention == "sdpa" and (drops or any(p.requires_grad for p in biases))
    if attention != "eager" and not unknown:
        return shared
    weights = 1.0 if device == "cpu" else 3.0  # made in float32 and cast to half of it
    return shared + layers * heads * (weights + (1 + NOISE.get(device, 0.5) if drops else 0))


def cached_values(text_config) -> int:
    """Values a token that all layers keep while answers are drawn: keys and values."""
    heads = getattr(text_config, "num_key_value_heads", None) or text_config.num_attention_heads
    size = getattr(text_config, "head_dim", None) or text_config.hidden_size // text_config.num_attention_heads
    return 2 * text_config.num_hidden_layers * heads * size


def tuned_inputs(model: nn.Module, *, dropout: bool, device: str) -> float:
    """Values a token of the inputs of tuned matrices: each its own after dropout, without it one for all that share it."""
    layers = tuned_layers(model)
    if dropout:
        return sum(layer.in_features for _, layer in layers) * (1 + NOISE.get(device, 0.5))
    shared = {(name.rpartition(".")[0], layer.in_features) for name, layer in layers}
    return sum(size for _, size in shared)


def tuned_layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Matrices that an adapter is beside."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    found = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)]
    return [(name, layer) for name, layer in found if hasattr(layer, "in_features") and hasattr(layer, "out_features")]


def is_gated(model: nn.Module) -> bool:
    """Whether the feed-forward part multiplies two of its matrices' outputs (Shazeer 2020, arXiv 2002.05202)."""
    return any(name.endswith(("gate_proj", "gate_up_proj", "wi_1")) for name, _ in model.named_modules())
