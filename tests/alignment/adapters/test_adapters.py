"""What is known of each kind of adapter: its keys, its options, where it cannot work; and what of a model is trained."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from alignment import adapters
from alignment.adapters import KINDS, AdapterChoice, check, conflicts, describe, in_words, kind_of, peft_config, refusal
from alignment.config import load
from data_recipes.errors import Refused
from tests import tiny

ADAPTERS = [name for name, kind in KINDS.items() if kind.peft]


def config(stage="sft", **sets):
    return load(stage, sets=[f"adapter.{key}={json.dumps(value)}" for key, value in sets.items()])


def refused(stage="sft", parent=None, **sets) -> str:
    with pytest.raises(Refused) as caught:
        check(stage, config(stage, **sets), parent)
    return str(caught.value)


def test_the_table_is_light():
    code = "import sys, alignment.adapters; sys.exit(any(name in sys.modules for name in ('torch', 'peft', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_table_of_options_is_that_of_the_installed_peft():
    from alignment.adapters import weights as adapter_weights  # noqa: F401  (registers the suite's own kind)
    from alignment.config.trainer_table import adapter_text

    assert adapters.TABLE.read_text() == adapter_text(), "run python -m alignment.config.trainer_table"


def test_every_owned_argument_is_one_of_pefts():
    known = {name for kind in json.loads(adapters.TABLE.read_text())["kinds"].values() for name in kind}
    assert set(adapters.OWNED) <= known


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_config_is_made_of_the_kinds_own_keys_and_is_known_again(name):
    from alignment.adapters import weights as adapter_weights  # noqa: F401

    made = peft_config(AdapterChoice(kind=name, targets=("q_proj",) if "rank" in KINDS[name].keys else None), "llama").to_dict()
    made["peft_type"] = str(made["peft_type"]).rpartition(".")[2]
    assert made["peft_type"] == KINDS[name].peft
    assert kind_of(made) == ("lora" if name == "qlora" else name)
    entry = describe(made)
    for key in set(KINDS[name].keys) - {"targets", "dropout"}:
        assert entry[key] == getattr(AdapterChoice(), key)


def test_a_key_of_another_kind_is_refused_with_the_kinds_own():
    message = refused(kind="prefix", virtual_tokens=8, options={"prefix_projection_": True})
    assert "prefix_projection_" in message and "Did you mean prefix_projection" in message
    with pytest.raises(Refused, match="virtual_tokens does not fit.*rank, targets"):
        config(kind="lora", virtual_tokens=8)
    with pytest.raises(Refused, match="adapter.rank does not fit.*its own: targets"):
        config(kind="ia3", rank=4)


def test_a_key_is_judged_by_the_parents_kind_where_it_is_continued():
    assert "no key of adapter.kind: ia3" in refused(parent={"peft_type": "IA3"}, rank=4)


def test_options_that_have_a_key_of_their_own_are_sent_there():
    assert "Use instead: adapter.rank" in refused(options={"r": 4})
    assert "the stage" in refused(kind="peft:loha", options={"task_type": "CAUSAL_LM"})
    check("sft", config(kind="peft:loha", options={"r": 4, "module_dropout": 0.1}), None)


def test_a_projection_of_a_prefix_is_refused_since_peft_does_not_keep_it():
    assert "neither a resume nor a child" in refused(kind="prefix", options={"prefix_projection": True})


def test_options_that_would_fail_at_the_end_or_change_the_base_are_refused():
    """With biases PEFT takes no second adapter, as which the result is read back; PiSSA and its like rewrite the base."""
    assert "adapter.options.bias cannot be all" in refused(options={"bias": "all"})
    assert "the base's own weights" in refused(options={"init_lora_weights": "pissa_niter_4"})
    check("sft", config(options={"bias": "none", "init_lora_weights": "gaussian"}), None)


@pytest.mark.parametrize(("stage", "kind", "model_type", "why"), [
    ("classify", "prompt", "llama", "last token"),
    ("classify", "prefix", "distilbert", "no place"),
])  # fmt: skip
def test_what_an_architecture_cannot_take_is_refused_where_it_is_known(stage, kind, model_type, why):
    assert why in refusal(stage, kind, model_type=model_type)[0]
    assert refusal(stage, kind, model_type="bert") is None and refusal(stage, kind) is None


def test_a_kind_that_peft_has_not_is_refused_with_those_it_has():
    assert "peft:vera" in refused(kind="peft:verra")
    assert "has no options" in refused(kind="full", options={"r": 4})


@pytest.mark.parametrize(("stage", "kind", "fresh", "why"), [
    ("sft", "head", True, "adapter.trainable"),
    ("dpo", "head", True, "adapter.trainable"),
    ("ppo", "prefix", True, "take turns"),
    ("ppo", "prompt", False, "take turns"),
    ("dpo", "prefix", True, "align sft first"),
    ("reward", "prompt", True, "vectors"),
])  # fmt: skip
def test_what_cannot_work_is_refused_before_loading_saying_what_would(stage, kind, fresh, why):
    what, do = refusal(stage, kind, fresh=fresh)
    assert why in what + do and do


def test_a_prefix_that_was_trained_before_is_taken_by_dpo():
    assert refusal("dpo", "prefix", fresh=False) is None
    check("dpo", config("dpo"), {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 20})


def test_a_parent_of_another_kind_conflicts_and_qlora_is_lora_on_fewer_bits():
    never = {}.__getitem__  # no targets are named, whose layers would be looked up
    parent = {"peft_type": "LORA", "r": 8, "lora_alpha": 16}
    assert conflicts(parent, AdapterChoice(kind="ia3"), {"kind"}, never) == ["adapter.kind: lora -> ia3"]
    assert conflicts(parent, AdapterChoice(kind="qlora"), {"kind"}, never) == []
    assert conflicts(parent, AdapterChoice(rank=4), {"rank"}, never) == ["adapter.rank: 8 -> 4"]
    options = AdapterChoice(options={"layers_to_transform": [1, 0], "use_rslora": False})
    assert conflicts({**parent, "layers_to_transform": [0, 1], "use_rslora": False}, options, {"options"}, never) == []
    assert conflicts(parent, options, {"options"}, never)[0] == "adapter.options.layers_to_transform: None -> [1, 0]"
    prefix = {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 20}
    assert conflicts(prefix, AdapterChoice(virtual_tokens=8), {"virtual_tokens"}, never)


def test_targets_conflict_where_they_mean_other_layers_than_the_parents(tmp_path):
    from peft import LoraConfig

    from alignment.adapters.weights import layers_of
    from alignment.tasks import CAUSAL

    def differing(has, wants):
        LoraConfig(target_modules=has, layers_to_transform=[1] if isinstance(has, list) else None).save_pretrained(tmp_path)
        parent = json.loads((tmp_path / "adapter_config.json").read_text())
        asked = AdapterChoice(targets=wants)
        assert conflicts(parent, asked, set(), lambda targets: {str(targets)}) == []  # a default
        return conflicts(parent, asked, {"targets"}, lambda targets: layers_of(tiny.llama(), tmp_path, targets, task=CAUSAL))

    two = ["q_proj", "v_proj"]
    for same in (("q_proj", "v_proj"), ("v_proj", "q_proj"), r".*1.*\.(q|v)_proj"):
        assert differing(two, same) == []
    assert differing(two, "all-linear") == ["adapter.targets: q_proj, v_proj (2 layers) -> all-linear (14 layers)"]
    assert differing(two, ("q_proj", "k_proj")) == ["adapter.targets: q_proj, v_proj (2 layers) -> k_proj, q_proj (2 layers)"]
    each = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert differing(".*k_proj", "all-linear") and differing("all-linear", each) == []
    with pytest.raises(Refused, match="nosuch"):
        differing(two, ("nosuch",))


def test_layers_that_the_model_has_not_are_refused_at_their_own_key():
    from alignment.adapters.weights import new_adapter
    from alignment.tasks import CAUSAL

    with pytest.raises(Refused, match="^adapter.targets: .*nosuch.*all-linear"):
        new_adapter(tiny.llama(), AdapterChoice(targets=("nosuch",)), task=CAUSAL, seed=0)


def test_patterns_choose_the_weights_that_are_trained():
    from alignment.adapters.weights import tuned, unfreeze
    from alignment.tasks import CAUSAL

    model = unfreeze(tiny.llama(), AdapterChoice(kind="full", trainable=("model.layers.1.*", "model.norm.weight")), CAUSAL)
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names and all(name.startswith(("model.layers.1.", "model.norm")) for name in names)
    assert tuned(model)["parameters"] == sum(p.numel() for p in model.parameters() if p.requires_grad) < tuned(model)["of"]
    with pytest.raises(Refused, match="no weight is named like 'lm_head"):
        unfreeze(tiny.llama(), AdapterChoice(kind="full", trainable=("lm_head.*",)), CAUSAL)


def test_a_run_says_what_it_trained_in_a_few_words():
    tuned = {"parameters": 12, "of": 3456, "kind": "ia3"}
    assert in_words({"adapter": {"kind": "ia3", "targets": ["a", "b"]}, "tuned": tuned}) == (
        "ia3, targets 2 layers, 12 of 3,456 weights trained"
    )
    assert in_words({"adapter": None, "tuned": {**tuned, "kind": "full"}}).startswith("none: all weights")
    assert in_words({"adapter": None}) == "none: all weights"  # of a run before kinds were counted


def test_a_continued_kind_has_its_own_usual_learning_rate(tmp_path):
    """IA3's few numbers want forty times LoRA's rate; its child's rate must not fall back to LoRA's."""
    lora, ia3 = load("dpo").training.learning_rate, load("dpo", sets=["adapter.kind=ia3"]).training.learning_rate
    assert ia3 == pytest.approx(40 * lora)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}))
    assert load("dpo", nouns={"model.path": str(tmp_path)}).training.learning_rate == ia3
    merged = load("dpo", nouns={"model.path": str(tmp_path)}, sets=["adapter.on_parent=merge"])
    assert merged.training.learning_rate == lora
