"""Answers drawn faster than by plain `generate`: the adapter folded into the base, finished rows let go.

Folding spares each layer the adapter's own products while tokens are drawn one by one. What is put back afterwards are the very
tensors of before, not the difference: subtracting what was added drifts from rollout to rollout. TRL's seam for it is
`_generate_single_turn`, through which tools' turns go too; its `rollout_func` sees no call of a tool.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from alignment.adapters.fused_lora import FusedLinear
from alignment.generation.batched import pad_left

ENGINES = ("use_vllm", "use_transformers_continuous_batching", "cache_implementation")  # TRL's own ways of drawing faster
WHOLE = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU")  # every process holds all weights


def in_the_way(model, arguments, distributed: str) -> str:
    """Why this model's answers are drawn by plain `generate`; empty where nothing stands against drawing them here."""
    if asked := [name for name in ENGINES if getattr(arguments, name, None)]:
        return f"trainer.{asked[0]} draws them"
    if distributed not in WHOLE:
        return f"weights are spread over processes ({distributed})"
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    if "position_ids" not in inspect.signature(causal.forward).parameters:
        return f"{type(causal).__name__} takes no positions"
    kinds = {type(layer) for layer in DynamicCache(config=causal.config).layers}
    if strange := kinds - {DynamicLayer, DynamicSlidingWindowLayer}:
        return f"its cache ({strange.pop().__name__}) cannot let go of finished rows"
    return ""


def not_foldable(model, role: str) -> str:
    """Why this adapter is not folded into the base; empty where it can be."""
    if not isinstance(model, PeftModel):
        return "there is no adapter"
    for layer in tuned_layers(model):
        weight = layer.get_base_layer().weight
        if type(layer) not in (LoraLinear, FusedLinear) or layer.lora_variant:
            return "its kind is not plain LoRA, or the base is quantised"
        if weight.dtype != torch.float32:
            return f"the base is {weight.dtype}, which would round much of the adapter away"
        if layer.lora_bias.get(role):
            return "it has biases"
    return ""


def tuned_layers(model: PeftModel) -> list[BaseTunerLayer]:
    """The layers that have adapters."""
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def folded(model: PeftModel, role: str) -> Iterator[None]:
    """The adapter `role` in the base's weights for a while. It needs the tuned layers' weights once more in memory."""
    layers = tuned_layers(model)
    before = [layer.get_base_layer().weight.data for layer in layers]
    try:
        with torch.no_grad():
            model.merge_adapter([role], safe_merge=True)  # safe: into new tensors, so that those of before stay as they are
        yield
    finally:
        for layer, tensor in zip(layers, before, strict=True):
            layer.get_base_layer().weight.data = tensor
            layer.merged_adapters.clear()


@torch.no_grad()
def draw(model, prompts: list[list[int]], *, new_tokens: int, temperature: float, stops: list[int],
         pad_id: int) -> tuple[list[list[int]], list[list[float]]]:
    """Answers to prompts (token ids), each up to its stop token, and the log-probability of each token.

    The distribution is softmax(logits / temperature), and nothing else. Random numbers are torch's global ones.
    """
    ids_BT, keep_BT = (x.to(model.device) for x in pad_left(prompts, pad_id))
    rows, logps = [[] for _ in prompts], [[] for _ in prompts]
    going = torch.arange(len(prompts), device=model.device)  # numbers of the rows that are still computed
    at_BT, cache = (keep_BT.cumsum(1) - 1).clamp(min=0), DynamicCache(config=model.config)
    ends, tokens_BT = torch.tensor(stops, device=model.device), ids_BT
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(_causal(model).forward).parameters else {}
    for _ in range(new_tokens):
        made = model(input_ids=tokens_BT, attention_mask=keep_BT, position_ids=at_BT, past_key_values=cache, use_cache=True,
                     **last_only)
        chosen_B, logps_B = _chosen(made.logits[:, -1], temperature)
        for row, token, logp in zip(going.tolist(), chosen_B.tolist(), logps_B.tolist(), strict=True):
            rows[row].append(token)
            logps[row].append(logp)
        left = (~torch.isin(chosen_B, ends)).nonzero()[:, 0]
        if not len(left):
            break
        if len(left) < len(chosen_B):
            cache.batch_select_indices(left)
            going, chosen_B, keep_BT, at_BT = going[left], chosen_B[left], keep_BT[left], at_BT[left]
        tokens_BT, at_BT = chosen_B[:, None], at_BT[:, -1:] + 1
        keep_BT = torch.cat([keep_BT, keep_BT.new_ones(len(keep_BT), 1)], dim=1)
    return rows, logps


def _chosen(logits_BV: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logps_BV = (logits_BV.float() / temperature).log_softmax(-1)
    chosen_B1 = torch.multinomial(logps_BV.exp(), 1)
    return chosen_B1[:, 0], logps_BV.gather(1, chosen_B1)[:, 0]


def _causal(model):
    return model.get_base_model() if isinstance(model, PeftModel) else model
