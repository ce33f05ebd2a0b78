"""Folders that hold half a model: one paragraph each, with what is wrong, and never a traceback."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file, save_file

from alignment.adapters.weights import load_adapter_file
from alignment.models import Loading, load_base, load_policy
from alignment.sources import resolve
from data_recipes.errors import Refused
from tests import tiny

CODE = """
import pathlib
from transformers import LlamaConfig, LlamaForCausalLM
pathlib.Path({canary!r}).write_text("it ran")
class StrangeConfig(LlamaConfig):
    model_type = "strange"
class StrangeForCausalLM(LlamaForCausalLM):
    config_class = StrangeConfig
"""


@pytest.fixture
def base(tmp_path):
    return tiny.save_base(tmp_path / "base")


def refused(base) -> str:
    with pytest.raises(Refused) as caught:
        load_base(resolve(base), Loading())
    return str(caught.value)


def change(base, **changed) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, **changed}))


def test_weights_that_were_cut_short(base):
    file = base / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert "the weights cannot be read" in refused(base) and "fetch them again" in refused(base)
    (base / "adapter_model.safetensors").write_bytes(b"half")
    with pytest.raises(Refused, match="adapter_model.safetensors: the weights cannot be read"):
        load_adapter_file(base)


@pytest.mark.parametrize(("key", "value", "weight"), [
    ("intermediate_size", 128, "down_proj"), ("vocab_size", 300, "embed_tokens"), ("num_hidden_layers", 3, "layers.2"),
])  # fmt: skip
def test_a_config_of_another_size(base, key, value, weight):
    change(base, **{key: value})
    assert "have another shape than config.json says" in refused(base) and weight in refused(base)


def test_a_weight_that_is_not_there(base):
    weights = load_file(base / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "layers.1.mlp.up" not in name}, base / "model.safetensors",
              metadata={"format": "pt"})
    assert "1 weights are missing" in refused(base) and "layers.1.mlp.up_proj" in refused(base)


def test_code_that_comes_with_a_model_runs_only_where_it_is_written_out(base, tmp_path):
    canary = tmp_path / "canary"
    (base / "strange.py").write_text(CODE.format(canary=str(canary)))
    code = {"AutoConfig": "strange.StrangeConfig", "AutoModelForCausalLM": "strange.StrangeForCausalLM"}
    change(base, model_type="strange", architectures=["StrangeForCausalLM"], auto_map=code)
    with pytest.raises(Refused, match="--set model.trust_remote_code=true"):
        load_policy(base)
    assert not canary.exists()
    assert type(load_policy(base, trust_remote_code=True).model).__name__ == "StrangeForCausalLM" and canary.exists()
