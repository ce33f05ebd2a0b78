"""Dropout of the model, NEFTune and what is refused; that evaluation, references and saved configs know nothing of it."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoConfig, LlamaConfig

from alignment import dropout
from alignment.config import load
from alignment.models import Loading, load_base
from alignment.sources import resolve
from alignment.tasks import SCORE, SEQ2SEQ
from alignment.training.best import Figure, Watch, settle
from data_recipes.errors import Failed, Refused
from tests import tiny
from tests.alignment.chains import run_stage, world


def test_an_encoder_decoder_has_it_in_its_decoder(tmp_path):
    base = resolve(tiny.save_base(tmp_path / "base", model=tiny.t5(dropout=0.0), tokens=tiny.t5_tokenizer()))
    dropout.has_effect(load_base(base, Loading(dtype="float32", device="cpu", dropout=0.2), task=SEQ2SEQ), 0.2)


@pytest.mark.parametrize(("make", "names"), [
    (tiny.llama, {"attention_dropout"}),
    (tiny.gpt2, {"resid_pdrop", "embd_pdrop", "attn_pdrop"}),
])
def test_the_fields_an_architecture_has_and_that_they_are_set_in_training_only(make, names, tmp_path):
    base = resolve(tiny.save_base(tmp_path / "base", model=make()))
    before = AutoConfig.from_pretrained(base.name).to_dict()
    assert dropout.fields(AutoConfig.from_pretrained(base.name)).keys() == names
    model = load_base(base, Loading(dtype="float32", device="cpu", dropout=0.5))
    ids = torch.arange(4, 20).unsqueeze(0)
    model.train()
    assert not torch.equal(model(ids).logits, model(ids).logits)
    model.eval()
    plain = load_base(base, Loading(dtype="float32", device="cpu"))
    assert torch.equal(model(ids).logits, plain.eval()(ids).logits)
    assert {name: model.config.to_dict()[name] for name in names} == {name: before[name] for name in names}
    dropout.has_effect(model, 0.5)


def test_a_share_of_none_turns_it_off_and_a_head_has_it_too(tmp_path):
    base = resolve(tiny.save_base(tmp_path / "base", model=tiny.gpt2()))
    dropout.has_effect(load_base(base, Loading(dtype="float32", device="cpu", dropout=0.2), task=SCORE), 0.2)  # a zero head
    model = load_base(base, Loading(dtype="float32", device="cpu", dropout=0.0), task=SCORE).train()
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))


def test_an_architecture_without_dropout_and_one_where_it_has_no_effect_are_named():
    class Bare(LlamaConfig):
        def to_dict(self):
            return {"hidden_size": 4, "classifier_dropout": 0.1, "hidden_dropout": None}

    with pytest.raises(Refused, match="has no dropout of its own"):
        dropout.fields_to_set(Bare())
    model = tiny.llama()
    state = torch.random.get_rng_state()
    with pytest.raises(Failed, match="has no effect"):
        dropout.has_effect(model, 0.3)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(("stage", "sets", "words"), [
    ("dpo", ["model.dropout=0.1"], "reference is the same model"),
    ("ppo", ["model.dropout=0.1"], "reference is the same model"),
    ("reward", ["model.dropout=0.1"], "disable_dropout"),
    ("sft", ["training.label_smoothing=0.1", "trainer.loss_type=dft"], "loss_type is dft"),
    ("sft", ["trainer.label_smoothing_factor=0.1"], "training.label_smoothing"),
    ("sft", ["trainer.neftune_noise_alpha=5"], "training.neftune_alpha"),
    ("sft", ["trainer.load_best_model_at_end=true"], "training.keep"),
    ("reward", ["training.label_smoothing=0.1"], "unknown key"),
    ("dpo", ["training.neftune_alpha=5"], "unknown key"),
    ("ppo", ["training.keep=best"], "ppo.keep"),
    ("ppo", ["training.early_stopping=2"], "unknown key"),
    ("sft", ["training.early_stopping=0"], "from 1"),
    ("sft", ["model.dropout=1.0"], "below 1"),
])
def test_what_a_stage_does_not_know_or_cannot_do_is_refused(stage, sets, words):
    with pytest.raises(Refused) as refused:
        load(stage, sets=sets)
    assert words in refused.value.paragraph()


def test_reward_takes_it_where_trls_own_switch_is_off():
    assert load("reward", sets=["model.dropout=0.1", "trainer.disable_dropout=false"]).model.dropout == 0.1


def test_without_held_out_rows_what_was_asked_for_is_refused_and_a_default_gives_way():
    assert settle(load("reward"), 10) == Watch(Figure("eval_loss"), "best", None, asked=False)
    assert settle(load("reward"), 0).keep == "last"
    for text in ("training.keep=best", "training.early_stopping=2"):
        with pytest.raises(Refused, match="no row is held out"):
            settle(load("sft", sets=[text]), 0)


def test_noise_is_on_embeddings_in_training_alone_and_gone_from_what_is_saved(tmp_path):
    """Same weights at step 0, so that the first evaluation-mode loss agrees and the first training loss does not."""
    files = world(tmp_path / "world")
    how = {"training__max_steps": 2, "data__validation_share": 0.2, "training__eval_every": 1, "adapter__dropout": 0.0,
           "training__learning_rate": 1e-9}
    first = {}
    for name, alpha in (("plain", None), ("noisy", 30.0)):
        run_stage("sft", files, files["base"], tmp_path / name, training__neftune_alpha=alpha, **how)
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        first[name] = next(r["loss"] for r in rows if "loss" in r), next(r["eval_loss"] for r in rows if "eval_loss" in r)
    assert first["plain"][1] == pytest.approx(first["noisy"][1], abs=1e-6)
    assert abs(first["plain"][0] - first["noisy"][0]) > 1e-3


def test_a_whole_models_saved_config_has_its_own_dropout(tmp_path):
    files = world(tmp_path / "world", model=tiny.gpt2())
    run_stage("sft", files, files["base"], tmp_path / "run", adapter__kind="full", model__dropout=0.4, training__max_steps=1)
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["resid_pdrop"] == saved["attn_pdrop"] == saved["embd_pdrop"] == 0.1


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_noise_beneath_virtual_tokens_is_refused_before_anything_is_rendered(tmp_path, kind):
    files = world(tmp_path / "world", rows=4)
    with pytest.raises(Refused, match="beneath virtual tokens"):
        run_stage("sft", files, files["base"], tmp_path / "run", adapter__kind=kind, adapter__rank=16,
                  training__neftune_alpha=5.0)
