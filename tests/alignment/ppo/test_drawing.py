"""Answers drawn with the adapter folded in and finished rows let go: the same distribution, and the very base of before."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM

from alignment.ppo import drawing
from alignment.ppo.checks import drawn_as_scored
from alignment.ppo.roles import POLICY
from data_recipes.errors import Failed, Refused
from tests import tiny
from tests.alignment.chains import run_stage

PROMPTS = [[5, 6, 7], [8] * 11, [9, 10], [11, 12, 13, 14]]


def sliding():
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(
        vocab_size=260, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=6, max_position_embeddings=512, initializer_range=0.2)).float()


MODELS = {"llama": lambda: tiny.llama(spread=0.2), "gpt2": tiny.gpt2, "sliding": sliding}


def tuned(model):
    """With an adapter that does something, and another one beside it."""
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    made = get_peft_model(model, config)
    made.add_adapter("critic", config)
    torch.manual_seed(1)
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    made.set_adapter(POLICY)
    return made.eval()


def draw(model, **changes):
    settings = {"new_tokens": 12, "temperature": 0.8, "stops": [2], "pad_id": 0, **changes}
    return drawing.draw(model, PROMPTS, **settings)


@pytest.mark.parametrize("name", MODELS)
def test_each_token_has_the_probability_that_a_pass_over_the_whole_row_gives_it(name):
    model = tuned(MODELS[name]())
    stops = list(range(60, 90))  # many, so that rows finish at different steps
    torch.manual_seed(3)
    rows, logps = draw(model, stops=stops)
    assert len({len(row) for row in rows}) > 1
    for prompt, row, seen in zip(PROMPTS, rows, logps, strict=True):
        with torch.no_grad():
            whole = (model(input_ids=torch.tensor([prompt + row])).logits[0] / 0.8).log_softmax(-1)
        expected = [whole[len(prompt) - 1 + t, token].item() for t, token in enumerate(row)]
        assert seen == pytest.approx(expected, abs=2e-4)
        assert not set(row[:-1]) & set(stops) and (row[-1] in stops or len(row) == 12)


@pytest.mark.parametrize("name", MODELS)
def test_until_a_row_is_done_the_draws_are_those_of_generate(name):
    model = tuned(MODELS[name]())
    torch.manual_seed(3)
    rows, _ = draw(model, stops=[999])
    ids, keep = drawing.pad_left(PROMPTS, 0)
    settings = GenerationConfig(max_new_tokens=12, do_sample=True, top_k=0, temperature=0.8, eos_token_id=999, pad_token_id=0)
    torch.manual_seed(3)
    with torch.no_grad():
        made = model.generate(input_ids=ids, attention_mask=keep, generation_config=settings)[:, ids.shape[1] :].tolist()
    assert rows == made


@pytest.mark.parametrize("name", MODELS)
def test_folded_outputs_are_the_adapters_and_the_base_comes_back_to_the_bit(name):
    model = tuned(MODELS[name]())
    ids = torch.tensor([PROMPTS[1]])
    before = {key: (value.data_ptr(), value.clone()) for key, value in model.state_dict().items()}
    with torch.no_grad():
        expected, base = model(input_ids=ids).logits, model.get_base_model().lm_head.weight.clone()
        for _ in range(5):
            with drawing.folded(model, POLICY):
                seen = model(input_ids=ids).logits
                assert any(layer.merged for layer in drawing.tuned_layers(model))
        after = model(input_ids=ids).logits
    torch.testing.assert_close(seen, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(after, expected) and torch.equal(base, model.get_base_model().lm_head.weight)
    for key, value in model.state_dict().items():
        assert value.data_ptr() == before[key][0] and torch.equal(value, before[key][1]), key


def test_the_base_comes_back_where_drawing_fails():
    model = tuned(tiny.llama())
    weights = [layer.get_base_layer().weight.data_ptr() for layer in drawing.tuned_layers(model)]
    with pytest.raises(KeyError), drawing.folded(model, POLICY):
        raise KeyError
    assert [layer.get_base_layer().weight.data_ptr() for layer in drawing.tuned_layers(model)] == weights
    assert not any(layer.merged for layer in drawing.tuned_layers(model))


def test_peft_still_keeps_what_is_folded_in_a_list_and_folds_safely_into_new_tensors():
    layer = drawing.tuned_layers(tuned(tiny.llama()))[0]
    before, kept = layer.get_base_layer().weight.data, layer.get_base_layer().weight.data.clone()
    layer.merge(safe_merge=True, adapter_names=[POLICY])
    assert layer.merged_adapters == [POLICY] and layer.get_base_layer().weight.data_ptr() != before.data_ptr()
    assert torch.equal(before, kept)


# ------------------------------------------------------------------------------------------------------------ in training


def test_a_rollout_leaves_every_role_as_it_was(made):
    trainer = made()
    assert trainer.folds and trainer.drawn_here and trainer.model.training
    before = {name: value.clone() for name, value in trainer.roles.policy.state_dict().items()}
    trainer.collect(0)
    assert trainer.model.training
    assert all(torch.equal(value, before[name]) for name, value in trainer.roles.policy.state_dict().items())


def test_what_is_drawn_otherwise_than_it_is_scored_is_drawn_by_trl_or_stops(made):
    trainer = made()
    trainer.settings = trainer.settings.model_copy(update={"temperature": 0.5})  # scoring divides by 1
    assert "drawn by TRL's own engine" in drawn_as_scored(trainer) and not trainer.drawn_here and not trainer.folds
    trainer.drawn_here, trainer.settings = True, trainer.settings.model_copy(update={"fast_rollout": "on"})
    with pytest.raises(Failed, match="drawing and scoring differ"):
        drawn_as_scored(trainer)


def test_off_is_trls_engine(made):
    trainer = made(ppo__fast_rollout="off")
    assert not trainer.drawn_here and not trainer.folds
    assert len(trainer.sample([0, 1], seed=[1])) == 2


def test_an_adapter_that_is_not_plain_lora_is_left_beside_and_said(chain, made):
    trainer = made(model=chain["base"], adapter__kind="dora", reward="reward.rules:length_band(low=1, high=9)")
    assert trainer.drawn_here and not trainer.folds and "its kind is not plain LoRA" in trainer.drawing_note


def test_on_is_refused_where_another_engine_draws(chain, tmp_path):
    with pytest.raises(Refused, match="cannot be drawn faster"):
        run_stage("ppo", chain, chain["sft_run"], tmp_path / "run", reward=str(chain["reward_run"]), ppo__fast_rollout="on",
                  **{"trainer.cache_implementation": "static"})
