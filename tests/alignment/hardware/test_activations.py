"""What layers keep for the backward pass: by hand, and against what autograd really saves."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BertConfig, BertForSequenceClassification, T5Config, T5ForConditionalGeneration

from alignment.dropout import places
from alignment.hardware.activations import cached_values, is_gated, kept_pairs, kept_values, tuned_inputs
from tests import tiny

WIDTH, LAYERS, TOKENS = 64, 4, 200


def saved_values(model, trunk, tokens: int = TOKENS) -> float:
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
        trunk(torch.randint(4, 200, (1, tokens)))
    return sum(seen.values()) / 4 / tokens


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


def encoder(kind: str, share: float, **more):
    """A small BERT or T5 and the trunk of it that reads, with dropout of this share."""
    more |= {"vocab_size": 200}
    if kind == "bert":
        config = BertConfig(hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=4, intermediate_size=4 * WIDTH,
                            hidden_dropout_prob=share, attention_probs_dropout_prob=share, **more)
        model = BertForSequenceClassification(config)
        return model, model.bert
    config = T5Config(d_model=WIDTH, num_layers=LAYERS, num_heads=4, d_ff=4 * WIDTH, d_kv=16, dropout_rate=share, **more)
    model = T5ForConditionalGeneration(config)
    return model, model.encoder


@pytest.mark.parametrize("tokens", [64, 192])
@pytest.mark.parametrize(("kind", "share", "code"), [
    ("bert", 0.0, "sdpa"), ("bert", 0.1, "sdpa"), ("bert", 0.0, "eager"), ("bert", 0.1, "eager"),
    ("t5", 0.0, "sdpa"), ("t5", 0.1, "sdpa"), ("t5", 0.1, "eager"),
])
def test_attention_that_keeps_its_matrices_by_autograd(kind, share, code, tokens):
    model, trunk = encoder(kind, share, attn_implementation=code)
    how = {"device": "cpu", "layers": LAYERS, "dropped": places(model.config)}
    gaps = LAYERS * 3 * WIDTH  # of the heap, which autograd does not see
    values = kept_values(model, model.config, all_weights=True, dropout=False, **how) - gaps
    found = values + tokens * kept_pairs(model, model.config, attention=code, **how)
    assert found == pytest.approx(saved_values(model, trunk, tokens), rel=0.3)  # T5's norms keep less


def test_fused_attention_keeps_no_matrix():
    for device, share in (("cpu", 0.0), ("cuda", 0.1)):
        model, _ = encoder("bert", share)
        how = {"device": device, "layers": LAYERS, "dropped": places(model.config)}
        assert model.config._attn_implementation == "sdpa"
        assert kept_pairs(model, model.config, attention="sdpa", **how) == 0
        assert kept_pairs(model, model.config, attention="eager", **how) > 0


def test_the_share_of_the_user_counts_in_place_of_the_models_own():
    config = encoder("bert", 0.1)[0].config
    assert places(config) == {"attention", "residual"} and places(config, 0.0) == set()
    assert places(llama().config) == set() and places(llama().config, 0.1) == {"attention"}
    assert places(encoder("t5", 0.1)[0].config) == {"attention", "residual", "inner"}


def test_a_cache_by_what_drawing_really_keeps():
    model = llama()
    cache = model(torch.randint(4, 200, (2, 10)), use_cache=True).past_key_values
    kept = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert cached_values(model.config) == kept / 20
