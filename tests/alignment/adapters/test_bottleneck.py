"""Bottleneck adapters as PEFT sees them: identity at the start, the formula by hand, saving, switching, and what is refused."""

import json
import subprocess
import sys

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.utils import PeftType, get_peft_model_state_dict, set_peft_model_state_dict
from torch.nn.functional import gelu, relu
from transformers import AutoConfig, AutoModel

from alignment.adapters.bottleneck import PLACES, BottleneckConfig, BottleneckLayer
from tests import tiny
from tests.tiny_shapes import FAMILIES

IDS = torch.tensor([[3, 60, 70, 80, 90, 2], [3, 61, 71, 81, 91, 2]])


def logits(model):
    inputs = {"input_ids": IDS, **({"decoder_input_ids": IDS[:, :3]} if model.config.is_encoder_decoder else {})}
    with torch.no_grad():
        return model.eval()(**inputs).logits


def moved(model, adapter="default", seed=1):
    """The adapter's weights away from their start."""
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if f".{adapter}." in name:
            parameter.data.normal_(std=0.3)
    return model


def wrapped(family="llama", **arguments):
    return get_peft_model(FAMILIES[family](), BottleneckConfig(**{"bottleneck_size": 4, **arguments}))


@pytest.mark.parametrize("placement", ["pfeiffer", "houlsby"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_one_changes_nothing_and_has_as_many_weights_as_the_formula_says(family, placement):
    plain = logits(FAMILIES[family]())
    model = wrapped(family, placement=placement)
    assert torch.equal(logits(model), plain)
    # two blocks; T5's has two more in its decoder, with a second attention layer each
    behind = {"pfeiffer": 2, "houlsby": 4} if family != "t5" else {"pfeiffer": 4, "houlsby": 2 * 2 + 2 * 3}
    weights = 2 * 32 * 4 + 4 + 32
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == behind[placement] * weights
    assert not torch.allclose(logits(moved(model)), plain)
    with model.disable_adapter():
        assert torch.equal(logits(model), plain)


def test_one_projection_by_hand():
    """h = [1, 2] W^T; down [1, -1], bias 0.5; relu; up [2, 3], bias [0.1, 0.2]."""
    base = torch.nn.Linear(2, 2, bias=False)
    base.weight.data = torch.tensor([[1.0, 1.0], [0.0, 1.0]])  # h = [3, 2]
    layer = BottleneckLayer(base)
    layer.add("default", BottleneckConfig(bottleneck_size=1))
    layer.bottleneck_down["default"].weight.data = torch.tensor([[1.0, -1.0]])
    layer.bottleneck_down["default"].bias.data = torch.tensor([0.5])  # relu(3 - 2 + 0.5) = 1.5
    layer.bottleneck_up["default"].weight.data = torch.tensor([[2.0], [3.0]])
    layer.bottleneck_up["default"].bias.data = torch.tensor([0.1, 0.2])
    assert layer(torch.tensor([1.0, 2.0])).tolist() == pytest.approx([3 + 3.0 + 0.1, 2 + 4.5 + 0.2])
    layer.bottleneck_down["default"].bias.data = torch.tensor([-2.0])  # below zero: only the bias of `up` is left
    assert layer(torch.tensor([1.0, 2.0])).tolist() == pytest.approx([3.1, 2.2])


@pytest.mark.parametrize("placement", ["pfeiffer", "houlsby"])
def test_a_llama_block_against_one_written_out_in_float64(placement):
    """x' = x + a(attention(norm(x))), x'' = x' + m(mlp(norm(x'))), with a and m the adapters of Houlsby et al., figure 2."""
    model = moved(wrapped(placement=placement, activation="gelu")).double().eval()
    layers = model.base_model.model.model
    block, x = layers.layers[0], torch.randn(1, 5, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rotary = layers.rotary_emb(x, torch.arange(5)[None])

    def adapted(hidden, layer):
        if not isinstance(layer, BottleneckLayer):
            return hidden
        down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
        return hidden + gelu(hidden @ down.weight.T + down.bias) @ up.weight.T + up.bias

    with torch.no_grad():
        seen = block(x, position_embeddings=rotary, attention_mask=None)
        attention, mlp = block.self_attn, block.mlp
        with model.disable_adapter():
            seen_by = block.input_layernorm(x)
            attended = attention(hidden_states=seen_by, position_embeddings=rotary, attention_mask=None)[0]
        middle = x + adapted(attended, attention.o_proj)
        normed = block.post_attention_layernorm(middle)
        gated = mlp.act_fn(mlp.gate_proj(normed)) * mlp.up_proj(normed)
        expected = middle + adapted(gated @ mlp.down_proj.weight.T, mlp.down_proj)
    assert torch.allclose(seen, expected, atol=1e-12, rtol=0)


def test_gpt2s_transposed_projection_by_hand():
    model = moved(wrapped("gpt2")).eval()
    layer = model.base_model.model.transformer.h[0].mlp.c_proj
    x = torch.randn(3, 128, generator=torch.Generator().manual_seed(0))
    plain = x @ layer.base_layer.weight + layer.base_layer.bias
    down, up = layer.bottleneck_down["default"], layer.bottleneck_up["default"]
    expected = plain + relu(plain @ down.weight.T + down.bias) @ up.weight.T + up.bias
    with torch.no_grad():
        assert torch.allclose(layer(x), expected, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_saved_and_loaded_by_plain_peft_gives_equal_outputs(family, tmp_path):
    model = moved(wrapped(family, placement="houlsby", activation="silu"))
    expected = logits(model)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "BOTTLENECK"
    assert isinstance(PeftConfig.from_pretrained(str(tmp_path)), BottleneckConfig)
    again = PeftModel.from_pretrained(FAMILIES[family](), tmp_path)
    assert torch.equal(logits(again), expected)
    assert not any(p.requires_grad for p in again.parameters())
    quick = PeftModel.from_pretrained(FAMILIES[family](), tmp_path, low_cpu_mem_usage=True, is_trainable=True)
    assert torch.equal(logits(quick), expected)
    assert sum(p.requires_grad for p in quick.parameters()) == len(get_peft_model_state_dict(model))


def test_its_state_goes_out_and_in_again():
    model, other = moved(wrapped()), wrapped()
    state = get_peft_model_state_dict(model)
    assert len(state) == 2 * 4 and all(".default" not in key for key in state)
    report = set_peft_model_state_dict(other, state)
    assert not report.unexpected_keys
    assert torch.equal(logits(other), logits(model))


def test_adapters_of_several_roles_take_turns_on_one_base():
    model = moved(wrapped(placement="houlsby"))
    seen = {"default": logits(model)}
    for seed, role in enumerate(("ref", "critic", "reward"), start=2):
        model.add_adapter(role, BottleneckConfig(bottleneck_size=2 + seed, activation="tanh", placement="pfeiffer"))
        assert [name for name, p in model.named_parameters() if p.requires_grad and f".{role}." in name] == []
        moved(model, role, seed)
        model.set_adapter(role)
        seen[role] = logits(model)
        assert all(f".{role}." in name for name, p in model.named_parameters() if p.requires_grad)
    assert len({tuple(value.flatten().tolist()) for value in seen.values()}) == 4
    for role, expected in seen.items():
        model.set_adapter(role)
        assert torch.equal(logits(model), expected)
    model.set_requires_grad("critic", True)
    model.set_requires_grad("reward", False)
    trained = {name.split(".")[-2] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"critic"}
    model.delete_adapter("ref")
    model.set_adapter("default")
    assert torch.equal(logits(model), seen["default"])
    assert not [name for name, _ in model.named_parameters() if ".ref." in name]


def test_two_that_are_active_at_once_add_up():
    base = torch.nn.Linear(3, 3)
    layer = BottleneckLayer(base)
    x, plain = torch.ones(1, 3), base(torch.ones(1, 3))
    for seed, name in enumerate(("one", "two")):
        layer.add(name, BottleneckConfig(bottleneck_size=2))
        torch.manual_seed(seed)
        layer.bottleneck_up[name].weight.data.normal_()
    changes = []
    for name in ("one", "two"):
        layer.set_adapter(name)
        changes.append(layer(x) - plain)
    layer.set_adapter(["one", "two"])
    assert torch.allclose(layer(x), plain + changes[0] + changes[1], atol=1e-6)


def test_a_head_is_trained_and_saved_beside_it(tmp_path):
    from transformers import LlamaForSequenceClassification

    def scorer():
        torch.manual_seed(0)
        return LlamaForSequenceClassification(tiny.llama().config).float()

    model = moved(get_peft_model(scorer(), BottleneckConfig(task_type="SEQ_CLS", bottleneck_size=4)))
    expected = logits(model)
    model.save_pretrained(tmp_path)
    torch.manual_seed(5)
    assert torch.equal(logits(PeftModel.from_pretrained(scorer(), tmp_path)), expected)


def test_merging_is_refused_and_unloading_gives_the_base_back():
    plain = logits(FAMILIES["llama"]())
    model = moved(wrapped())
    for merging in (model.merge_and_unload, model.merge_adapter, model.base_model.merge_adapter):
        with pytest.raises(ValueError, match="nonlinear"):
            merging()
    assert torch.equal(logits(model.unload()), plain)


def test_in_bfloat16_the_adapter_is_float32_and_the_output_the_bases_dtype():
    model = get_peft_model(FAMILIES["llama"]().bfloat16(), BottleneckConfig(bottleneck_size=4))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert {p.dtype for p in trained} == {torch.float32}
    assert moved(model)(IDS).logits.dtype == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained)


def test_gradient_checkpointing_gives_the_same_gradients():
    def gradients(checkpointing):
        model = moved(wrapped(placement="houlsby")).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            model.enable_input_require_grads()
        model(IDS, labels=IDS).loss.backward()
        return [p.grad for p in model.parameters() if p.requires_grad]

    for one, other in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(one, other)


def test_targets_take_the_place_of_the_placement():
    model = wrapped(target_modules=["q_proj"])
    held = [name for name, module in model.named_modules() if isinstance(module, BottleneckLayer)]
    assert [name.rpartition(".")[2] for name in held] == ["q_proj", "q_proj"]
    one = wrapped(target_modules=r".*layers\.1\.mlp\.down_proj")
    assert sum(isinstance(module, BottleneckLayer) for module in one.modules()) == 1


def test_what_cannot_be_is_said_in_words():
    for arguments, match in (({"placement": "middle"}, "pfeiffer, houlsby"), ({"activation": "swish"}, "relu, gelu"),
                             ({"bottleneck_size": 0}, "at least 1"), ({"dropout": 1.0}, "at least 1")):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            BottleneckConfig(**arguments)
    with pytest.raises(ValueError, match="LlamaRMSNorm is none"):
        wrapped(target_modules=["input_layernorm"])
    strange = tiny.bart()
    with pytest.raises(ValueError, match="'bart' .*known: llama"):
        get_peft_model(strange, BottleneckConfig())


@pytest.mark.parametrize("model_type", PLACES)
def test_each_known_model_type_gets_one_adapter_a_block_and_two_with_houlsby(model_type):
    config = AutoConfig.for_model(model_type)
    small = {"num_hidden_layers": 2, "num_layers": 2, "num_decoder_layers": 2, "n_layer": 2, "n_layers": 2}
    for name, value in small.items():
        if hasattr(config, name):
            setattr(config, name, value)
    if hasattr(config, "layer_types"):
        config.layer_types = ["full_attention"] * 2
    with torch.device("meta"):
        counts = []
        for placement in ("pfeiffer", "houlsby"):
            model = get_peft_model(AutoModel.from_config(config), BottleneckConfig(placement=placement))
            counts.append(sum(isinstance(module, BottleneckLayer) for module in model.modules()))
    assert counts == ([4, 10] if config.is_encoder_decoder else [2, 4])


def test_pefts_own_enum_is_closed_still():
    """Should PEFT take up a kind of this name, ours must give way: what is registered here would hide it."""
    assert "BOTTLENECK" not in list(PeftType)


@pytest.mark.parametrize("first", [
    "import peft, alignment",
    "import alignment, importlib.util; importlib.util.find_spec('peft'); import peft",
])  # fmt: skip
def test_importing_the_suite_is_all_that_a_user_types(first, tmp_path):
    """Before or after PEFT, and where somebody only asked whether PEFT is there."""
    moved(wrapped()).save_pretrained(tmp_path)
    code = f"{first}; print(peft.PeftConfig.from_pretrained({str(tmp_path)!r}).bottleneck_size)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "4\n"


def test_importing_the_suite_loads_nothing():
    code = "import sys, alignment; sys.exit(any(name in sys.modules for name in ('peft', 'torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
