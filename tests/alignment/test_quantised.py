"""Bases in 4 and 8 bits, with bitsandbytes' own layers on the CPU: they train, save, reload and fold, and gradients arrive."""

from __future__ import annotations

import json

import pytest
import torch

from alignment import dpo, load_run, ppo_policy, reward_model, sft
from alignment.cli.progress import Ui
from alignment.merge import MergeRequest, merge
from alignment.models import Loading, load_base, outputs
from alignment.session import keep_gradients
from alignment.sources import resolve
from data_recipes.errors import Refused
from tests import tiny

pytest.importorskip("bitsandbytes")
SHORT = {"training.batch_size": 4, "training.max_steps": 2, "data.validation_share": 0.2}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A base and rows of each kind."""
    folder = tmp_path_factory.mktemp("bits")
    tiny.save_base(folder / "base", model=tiny.llama(width=64, spread=0.2))
    for name, rows in (("sft", tiny.demonstrations(10)), ("pairs", tiny.comparisons(10))):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(home, stage, model, data, output, **settings):
    return stage(model=model, data=home / data, output=home / output, settings={**SHORT, **settings})


@pytest.fixture(scope="module")
def parent(home):
    run(home, sft, home / "base", "sft.jsonl", "qlora", **{"adapter.kind": "qlora"})
    return home / "qlora"


def manifest(folder):
    return json.loads((folder / "align.json").read_text())


def test_qlora_means_four_bits_unless_eight_are_asked_for(home, parent):
    assert manifest(parent)["config"]["model"]["quantisation"] == "4bit" and manifest(parent)["tuned"]["kind"] == "qlora"
    run(home, sft, home / "base", "sft.jsonl", "eight", **{"adapter.kind": "qlora", "model.quantisation": "8bit"})
    loaded = load_run(home / "eight", quantisation="8bit")
    assert loaded.model.get_base_model().is_loaded_in_8bit


def test_the_chain_goes_on_in_four_bits(home, parent):
    """Reward, DPO and PPO take the run as a parent, and the reference is still an exact copy."""
    bits = {"model.quantisation": "4bit"}
    run(home, reward_model, parent, "pairs.jsonl", "reward", **bits)
    run(home, dpo, parent, "pairs.jsonl", "dpo", **bits)
    short = {"ppo.rollout_size": 8, "ppo.max_new_tokens": 4, "ppo.eval_rows": 2}
    ppo_policy(model=parent, data=home / "sft.jsonl", output=home / "ppo", reward="reward.rules:length_band(low=2, high=5)",
               settings={**SHORT, **bits, **short})  # fmt: skip
    for stage in ("reward", "dpo", "ppo"):
        assert manifest(home / stage)["state"] == "completed", stage


def test_gradients_reach_the_first_layer_after_an_evaluation(home):
    """bitsandbytes repacks 4-bit layers once they were asked without training; a repacked layer lets no gradient through."""
    from bitsandbytes.functional import dequantize_4bit

    model = load_base(resolve(home / "base"), Loading(quantisation="4bit"))
    keep_gradients(model)
    outputs(model, [[5, 6, 7, 8]])
    same = load_base(resolve(home / "base"), Loading())
    for name, module in model.named_modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            weight = dequantize_4bit(module.weight.data, module.weight.quant_state)
            same.get_submodule(name).weight.data = weight.to(torch.float32)
    found = []
    for each in (model, same):
        vectors = torch.randn(1, 4, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        each(inputs_embeds=vectors).logits.float().square().mean().backward()
        found.append(vectors.grad.flatten())
    assert torch.nn.functional.cosine_similarity(*found, dim=0) > 0.999  # the rest is the arithmetic in bf16


def test_folding_into_the_whole_base_tells_the_distance_to_the_model_in_four_bits(home, parent):
    record = merge(MergeRequest(str(parent), home / "merged"), Ui(quiet=True))
    assert 0 < record["compared"]["to_quantised"] < 1 and record["quantisation"] == "4bit"


def test_whole_weights_are_not_tuned_in_few_bits(home):
    with pytest.raises(Refused, match="cannot be tuned"):
        run(home, sft, home / "base", "sft.jsonl", "no", **{"adapter.kind": "full", "model.quantisation": "4bit"})


def test_a_child_that_would_take_its_base_whole_is_told_so(home, parent):
    class Heard(Ui):
        def warn(self, text):
            self.warnings = [*getattr(self, "warnings", []), text]

    heard = {}
    for name, bits in (("silent", {}), ("said", {"model.quantisation": "none"}), ("kept", {"adapter.kind": "qlora"})):
        heard[name], settings = Heard(quiet=True), {**SHORT, **bits}
        dpo(model=parent, data=home / "pairs.jsonl", output=home / name, settings=settings, ui=heard[name], dry_run=True)
    warned = {name: [text for text in getattr(ui, "warnings", []) if "in 4 bits" in text] for name, ui in heard.items()}
    assert "--set model.quantisation=4bit" in warned["silent"][0] and not warned["said"] and not warned["kept"]
