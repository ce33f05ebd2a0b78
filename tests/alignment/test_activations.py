"""What layers keep for the backward pass: by hand, and against what autograd really saves."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from alignment.activations import is_gated, kept_values, tuned_inputs
from tests import tiny

WIDTH, LAYERS, TOKENS = 64, 4, 200


def saved_values(model, trunk) -> float:
    """Values a token that a forward pass in training mode leaves for the backward pass; weights are no activations."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        trunk(torch.randint(4, 200, (1, TOKENS)))
    return sum(seen.values()) / 4 / TOKENS


def llama():
    return tiny.llama(layers=LAYERS, width=WIDTH)


def test_full_tuning_by_hand_and_by_autograd():
    model = llama()  # gated, i = 2 h
    found = kept_values(model, model.config, all_weights=True, dropout=False, device="cuda", layers=LAYERS)
    assert found == LAYERS * (11 * WIDTH + 4 * 2 * WIDTH)
    assert found == pytest.approx(saved_values(model, model.model), rel=0.25)
    assert kept_values(model, model.config, all_weights=True, dropout=False, device="cpu", layers=LAYERS) > found


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_lora_by_autograd(dropout):
    model = get_peft_model(llama(), LoraConfig(r=4, target_modules="all-linear", lora_dropout=dropout))
    inputs = tuned_inputs(model, dropout=bool(dropout), device="cpu")
    # six matrices read h and one reads i = 2 h; without dropout those of one block share their input
    assert inputs == LAYERS * (16 if dropout else 4) * WIDTH
    base = LAYERS * (6 + 3 * 2) * WIDTH
    found = kept_values(model, model.config, all_weights=False, dropout=bool(dropout), device="cuda", layers=LAYERS)
    assert found == base + tuned_inputs(model, dropout=bool(dropout), device="cuda")
    assert base + inputs == pytest.approx(saved_values(model, model.get_base_model().model), rel=0.25)


def test_a_model_without_gates():
    model = tiny.gpt2()
    assert not is_gated(model) and is_gated(llama())
    found = kept_values(model, model.config, all_weights=True, dropout=False, device="cuda", layers=2)
    assert found == 2 * (11 * 32 + 2 * 4 * 32)
