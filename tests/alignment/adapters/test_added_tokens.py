"""Tokens added by name beside an adapter: their rows are trained, saved alone, and found again by every door."""

import pytest
import torch
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSequenceClassification
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignment.adapters.weights import state_hash
from alignment.cli.progress import Ui
from alignment.merge import MergeRequest, merge
from alignment.models import load_policy, load_scorer, outputs
from alignment.runs import Run
from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from reward.scalar import score
from tests import tiny
from tests.alignment.chains import StoppingUi, metrics, run_stage, world

NEW = ["<order>", "</order>"]
PROBE = [[3, 60, 260, 70, 261, 2], [5, 261, 2]]
ROWS = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
HEAD_ROWS = "base_model.model.lm_head.token_adapter.trainable_tokens_delta"


def made_world(folder, *, tied: bool):
    files = world(folder, rows=16, model=tiny.llama(tied=tied, spread=0.2))
    rows = tiny.demonstrations(16)
    for row in rows:
        for turn in row["messages"]:
            turn["content"] = turn["content"].replace("order ", "<order>").replace("?", "</order>?")
    write_jsonl(files["sft"], rows)
    return files


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def chain(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    files = made_world(folder, tied=request.param)
    ui = StoppingUi()
    run_stage("sft", files, files["base"], folder / "sft", model__add_tokens=NEW, ui=ui)
    return folder, files, request.param, ui


def test_rows_are_trained_and_saved_alone_and_the_cost_is_said(chain):
    folder, _, tied, ui = chain
    state = load_file(folder / "sft" / "adapter_model.safetensors")
    rows = {key for key in state if "lora" not in key}
    assert rows == ({ROWS} if tied else {ROWS, HEAD_ROWS})
    assert state[ROWS].shape == (2, 32) and not torch.equal(state[ROWS][0], state[ROWS][1])
    assert any("vLLM does not take such an adapter" in text for text in ui.warnings)
    assert Run.open(folder / "sft").manifest["adapter"]["token_rows"]["embed_tokens"] == [260, 261]


def test_plain_peft_and_ours_give_the_same_logits(chain):
    folder, *_ = chain
    plain = AutoPeftModelForCausalLM.from_pretrained(folder / "sft").eval()
    ours = load_policy(folder / "sft")
    assert len(ours.tokenizer) == plain.get_input_embeddings().weight.shape[0] == 262
    assert torch.allclose(outputs(plain, PROBE), outputs(ours.model, PROBE), atol=1e-5)


def test_the_same_command_gives_the_same_bytes_also_after_a_stop(chain, tmp_path):
    folder, files, _, _ = chain
    from data_recipes.errors import Interrupted

    with pytest.raises(Interrupted):
        run_stage("sft", files, files["base"], tmp_path / "sft", model__add_tokens=NEW, ui=StoppingUi(at=3))
    run_stage("sft", files, files["base"], tmp_path / "sft", model__add_tokens=NEW)
    name = "adapter_model.safetensors"
    assert (tmp_path / "sft" / name).read_bytes() == (folder / "sft" / name).read_bytes()


def test_merged_it_is_a_plain_model_with_the_new_tokens(chain, tmp_path):
    folder, *_ = chain
    merge(MergeRequest(model=str(folder / "sft"), output=tmp_path / "merged"), Ui(quiet=True))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(tmp_path / "merged")) == 262
    assert torch.allclose(outputs(model, PROBE), outputs(load_policy(folder / "sft").model, PROBE), atol=1e-4)


def test_the_next_stages_take_the_run(chain, tmp_path):
    folder, files, *_ = chain
    run_stage("sft", files, folder / "sft", tmp_path / "more", training__max_steps=2)
    assert ROWS in load_file(tmp_path / "more" / "adapter_model.safetensors")

    run_stage("dpo", files, folder / "sft", tmp_path / "dpo", training__max_steps=2)
    assert metrics(tmp_path / "dpo")[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    pinned = Run.open(tmp_path / "dpo").manifest["reference"]["hash"]
    assert pinned == state_hash(load_file(folder / "sft" / "adapter_model.safetensors"))

    run_stage("reward", files, folder / "sft", tmp_path / "reward", training__max_steps=2)
    state = load_file(tmp_path / "reward" / "adapter_model.safetensors")
    assert ROWS in state and HEAD_ROWS not in state
    plain = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "reward", num_labels=1).eval()
    plain.config.get_text_config().pad_token_id = 0
    ours = load_scorer(tmp_path / "reward")
    assert score(plain, PROBE, pad_id=0) == pytest.approx(score(ours.model, PROBE, pad_id=0), abs=1e-5)


def test_what_cannot_hold_is_refused_by_name(chain, tmp_path):
    folder, files, _, _ = chain
    for stage, model, sets, words in (
        ("dpo", folder / "sft", {}, "align sft"),
        ("sft", folder / "sft", {}, "on_parent=merge"),
        ("sft", files["base"], {"model__quantisation": "4bit"}, "quantis"),
    ):
        with pytest.raises(Refused, match=words):
            run_stage(stage, files, model, tmp_path / "no", model__add_tokens=["<more>"], training__max_steps=1, **sets)


def test_a_fresh_adapter_on_the_merged_parent_takes_more(chain, tmp_path):
    folder, files, _, _ = chain
    sets = {"model__add_tokens": ["<more>"], "adapter__on_parent": "merge", "training__max_steps": 1}
    run_stage("sft", files, folder / "sft", tmp_path / "run", **sets)
    assert Run.open(tmp_path / "run").manifest["adapter"]["token_rows"]["embed_tokens"] == [262]


def test_spare_rows_of_the_base_are_used_and_nothing_grows(tmp_path):
    files = world(tmp_path, rows=8, model=tiny.llama(300))
    run_stage("sft", files, files["base"], tmp_path / "sft", model__add_tokens=NEW, training__max_steps=2)
    assert load_policy(tmp_path / "sft").model.get_input_embeddings().weight.shape[0] == 300
    merge(MergeRequest(model=str(tmp_path / "sft"), output=tmp_path / "merged"), Ui(quiet=True))


@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_the_other_kinds_of_lora(tmp_path, kind):
    files = made_world(tmp_path, tied=True)
    sets = {"adapter__kind": kind, "model__add_tokens": NEW, "training__max_steps": 2}
    run_stage("sft", files, files["base"], tmp_path / "sft", **sets)
    assert ROWS in load_file(tmp_path / "sft" / "adapter_model.safetensors")


def test_gpt2_names_its_matrices_otherwise(tmp_path):
    files = world(tmp_path, rows=8, model=tiny.gpt2())
    run_stage("sft", files, files["base"], tmp_path / "sft", model__add_tokens=NEW, training__max_steps=2)
    assert Run.open(tmp_path / "sft").manifest["adapter"]["token_rows"] == {"wte": [260, 261]}
    run_stage("reward", files, tmp_path / "sft", tmp_path / "reward", training__max_steps=1)
