"""LoRA's update in place: PEFT's own outputs and gradients, and PEFT's own way wherever there is more than a plain update."""

from __future__ import annotations

import contextlib

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch.utils._python_dispatch import TorchDispatchMode

from alignment.adapters.fused_lora import FusedLinear, register

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


def adapted(base=tiny.llama, *, dtype: torch.dtype = torch.float32, ours: bool = True, fresh: bool = False, **options):
    """A tiny model with an adapter that changes its logits unless it is `fresh`, by our layer or by PEFT's."""
    model = base().to(dtype)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=fresh, **options)
    if ours:
        register(config, model)
    torch.manual_seed(1)
    return get_peft_model(model, config, autocast_adapter_dtype=False)


def step(model) -> tuple[torch.Tensor, list[torch.Tensor], int]:
    """(Logits, gradients of the adapter, how many updates were made in place) of one batch; dropout drawn from a seed."""
    torch.manual_seed(0)
    with InPlace() as seen:
        logits = model(input_ids=IDS).logits
    logits.float().square().mean().backward()
    return logits.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None], seen.count


def compare(change=lambda model: model, tolerance: float = 1e-6, **how) -> int:
    """How many updates were made in place by our layers, whose outputs and gradients are compared with PEFT's."""
    logits, gradients, count = step(change(adapted(**how)))
    expected, theirs, none = step(change(adapted(**how, ours=False)))
    torch.testing.assert_close(logits, expected, rtol=tolerance, atol=tolerance)
    for one, other in zip(gradients, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=tolerance)
    assert none == 0 and gradients
    return count


@pytest.mark.parametrize("name", OPTIONS)
def test_outputs_and_gradients_are_those_of_peft(name):
    layers = sum(type(module) is FusedLinear for module in adapted().modules())
    assert compare(**OPTIONS[name]) == (layers if name in FUSED else 0) and layers == 14


@pytest.mark.parametrize("shape", [(0,), (2, 0)], ids=str)
def test_no_rows_are_as_many_afterwards(shape):
    layer = next(module for module in adapted().modules() if type(module) is FusedLinear)
    assert layer(torch.zeros(*shape, layer.in_features)).shape == (*shape, layer.out_features)


def test_layers_that_are_not_dense_ones_of_torch_are_left_to_peft():
    assert compare(base=gpt2) == 0  # its Conv1D has the weight the other way round


def quantised_kind(model):
    """A layer whose class is below `nn.Linear`, as those of quantised models are."""
    model.model.layers[0].mlp.up_proj.__class__ = type("Linear4bit", (torch.nn.Linear,), {})
    return model


def test_a_model_with_dense_layers_of_another_kind_is_left_to_peft():
    assert compare(base=lambda: quantised_kind(tiny.llama())) == 0


def test_a_fresh_adapter_changes_no_bit_of_the_output():
    assert torch.equal(adapted(fresh=True)(input_ids=IDS).logits, tiny.llama()(input_ids=IDS).logits)


def half_base(model):
    """A bfloat16 base below an adapter in float32, as PEFT makes it from a half base."""
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(torch.float32 if "lora_" in name else torch.bfloat16)
    return model


def second(model):
    """Two adapters at once."""
    torch.manual_seed(2)
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
    assert compare(change, tolerance=2e-2 if change is half_base else 1e-6) == 0


@pytest.mark.parametrize("state", ["disabled", "merged", "autocast"])
def test_states_in_which_there_is_no_plain_update(state):
    seen = []
    for ours in (True, False):
        model = adapted(ours=ours)
        if state == "merged":
            model.merge_adapter()
        entered = {"disabled": model.disable_adapter, "merged": contextlib.nullcontext,
                   "autocast": lambda: torch.autocast("cpu", torch.bfloat16)}[state]()
        with entered, InPlace() as counted, torch.no_grad():
            seen.append(model(input_ids=IDS).logits)
        assert counted.count == 0
    assert torch.equal(*seen)


def test_a_model_wholly_in_half_precision_is_fused_too():
    assert compare(dtype=torch.bfloat16, tolerance=2e-2) == 14


def test_the_file_is_that_of_peft_and_merging_knows_the_layer(tmp_path):
    ours, theirs = adapted(), adapted(ours=False)
    expected = ours(input_ids=IDS).logits
    for name, model in (("ours", ours), ("theirs", theirs)):
        model.save_pretrained(tmp_path / name)
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "ours" / file).read_bytes() == (tmp_path / "theirs" / file).read_bytes()
    merged = ours.merge_and_unload()
    assert not any(isinstance(module, Linear) for module in merged.modules())
    torch.testing.assert_close(merged(input_ids=IDS).logits, expected, rtol=1e-5, atol=1e-5)
