"""LoRA's update in place: PEFT's own outputs and gradients, and PEFT's own way wherever there is more than a plain update."""

from __future__ import annotations

import contextlib

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch.utils._python_dispatch import TorchDispatchMode

from alignment.fused_lora import FusedLinear, fuse

from tests import tiny
from tests.tiny_shapes import gpt2

IDS = torch.arange(24).reshape(3, 8) + 3
OPTIONS = {
    "plain": {}, "stabilised": {"use_rslora": True}, "odd scaling": {"lora_alpha": 7}, "dropout": {"lora_dropout": 0.3},
    "weights decomposed": {"use_dora": True}, "with a bias": {"lora_bias": True},
}
FUSED = {"plain", "stabilised", "odd scaling", "dropout"}


class InPlace(TorchDispatchMode):
    """Counts the updates that are made in place."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.addmm_.default
        return func(*args, **(kwargs or {}))


def adapted(base=tiny.llama, *, dtype: torch.dtype = torch.float32, **options):
    """A tiny model with an adapter that changes its logits."""
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False, **options)
    return get_peft_model(base().to(dtype), config, autocast_adapter_dtype=False)


def step(model) -> tuple[torch.Tensor, list[torch.Tensor], int]:
    """(Logits, gradients of the adapter, how many updates were made in place) of one batch; dropout drawn from a seed."""
    model.zero_grad()
    torch.manual_seed(0)
    with InPlace() as seen:
        logits = model(input_ids=IDS).logits
    logits.float().square().mean().backward()
    return logits.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None], seen.count


def both(model, tolerance: float = 1e-6) -> int:
    """How many layers fused their update; PEFT's outputs and gradients come from the model before and are compared."""
    expected, gradients, none = step(model)
    assert none == 0
    fuse(model)
    logits, ours, count = step(model)
    torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)
    for ours_, theirs in zip(ours, gradients, strict=True):
        torch.testing.assert_close(ours_, theirs, rtol=1e-4, atol=tolerance)
    return count


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("base", [tiny.llama, gpt2], ids=["llama", "gpt2"])
def test_outputs_and_gradients_are_those_of_peft(base, name):
    model = adapted(base, **OPTIONS[name])
    layers = sum(type(module) is Linear for module in model.modules())
    assert both(model) == (layers if name in FUSED else 0) and layers > 4


def test_a_fresh_adapter_changes_no_bit_of_the_output():
    base = tiny.llama()
    expected = base(input_ids=IDS).logits
    model = get_peft_model(base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    fuse(model)
    assert torch.equal(model(input_ids=IDS).logits, expected)


def half_base(model):
    """A bfloat16 base below an adapter in float32, as PEFT makes it from a quantised or half base."""
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(torch.float32 if "lora_" in name else torch.bfloat16)
    return model


def second(model):
    """Two adapters at once."""
    model.add_adapter("other", LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    model.base_model.set_adapter(["default", "other"])
    return model


def sharded(model):
    """As DeepSpeed marks weights that its hooks gather."""
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.ds_id = 1
    return model


@pytest.mark.parametrize("change", [half_base, second, sharded], ids=lambda change: change.__name__)
def test_what_is_more_than_a_plain_update_goes_the_way_of_peft(change):
    assert both(change(adapted()), tolerance=2e-2 if change is half_base else 1e-6) == 0


@pytest.mark.parametrize("state", ["disabled", "merged", "autocast"])
def test_states_in_which_there_is_no_plain_update(state):
    model, plain = adapted(), adapted()
    fuse(model)
    seen = []
    for one in (plain, model):
        entered = {"disabled": one.disable_adapter, "merged": contextlib.nullcontext,
                   "autocast": lambda: torch.autocast("cpu", torch.bfloat16)}[state]()
        if state == "merged":
            one.merge_adapter()
        with entered, InPlace() as counted, torch.no_grad():
            seen.append(one(input_ids=IDS).logits)
        assert counted.count == 0
    assert torch.equal(*seen)


def test_a_model_wholly_in_half_precision_is_fused_too():
    assert both(adapted(dtype=torch.bfloat16), tolerance=2e-2) > 4


def test_merging_and_saving_know_the_layer(tmp_path):
    model = adapted()
    fuse(model)
    assert any(type(module) is FusedLinear for module in model.modules())
    expected = model(input_ids=IDS).logits
    model.save_pretrained(tmp_path)
    merged = model.merge_and_unload()
    assert not any(isinstance(module, Linear) for module in merged.modules())
    torch.testing.assert_close(merged(input_ids=IDS).logits, expected, rtol=1e-5, atol=1e-5)
