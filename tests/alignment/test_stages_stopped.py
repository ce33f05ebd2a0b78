"""Stages that are refused, fail or run out of memory: what they say, and what they leave."""

import json

import pytest
import torch

from alignment.adapters.weights import load_adapter_file
from alignment.runs import Run
from data_recipes.errors import Failed, Refused
from data_recipes.files import write_jsonl
from tests import tiny
from tests.alignment.chains import StoppingUi, metrics, run_stage, world


def poisoned_base(folder):
    """A model whose embedding of the byte `~` is NaN: any row with it gives a NaN loss."""
    tokens = tiny.tokenizer()
    model = tiny.llama(tied=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokens.convert_tokens_to_ids("~")] = float("nan")
    return tiny.save_base(folder, model=model, tokens=tokens)


def test_a_non_finite_loss_stops_before_the_update_and_names_step_and_rows(tmp_path):
    files = world(tmp_path, rows=12)
    poisoned_base(tmp_path / "bad")
    rows = tiny.demonstrations(12)
    rows[7]["messages"][1]["content"] += " ~"
    write_jsonl(files["sft"], rows)
    with pytest.raises(Failed) as stop:
        run_stage(
            "sft", files, tmp_path / "bad", tmp_path / "run", training__save_every=1, training__group_by_length=False
        )
    assert stop.value.exit_code == 1 and "demos.jsonl:8" in str(stop.value) and "step" in str(stop.value)
    manifest = json.loads((tmp_path / "run" / "align.json").read_text())
    assert manifest["state"] == "failed" and "the update was not made" in manifest["stopped_by"]
    last = metrics(tmp_path / "run")[-1]
    assert last["loss"] == "nan" and last["stopped"] == "non-finite"
    assert not list((tmp_path / "run").glob("*.safetensors"))
    for file in (tmp_path / "run" / "checkpoints").glob("*/adapter_model.safetensors"):
        assert all(torch.isfinite(value).all() for value in load_adapter_file(file.parent).values())


def test_a_bad_row_stops_before_a_model_is_loaded_and_can_be_let_pass(tmp_path):
    files = world(tmp_path, rows=20)
    with open(files["sft"], "a") as file:
        file.write('{"messages": [{"role": "user", "content": "only a question"}]}\n')
    with pytest.raises(Refused) as refused:
        run_stage("sft", files, tmp_path / "base", tmp_path / "run")
    assert "demos.jsonl:21" in str(refused.value)
    assert (tmp_path / "run" / "private" / "rejected.jsonl").is_file()
    run_stage("sft", files, tmp_path / "base", tmp_path / "run", training__max_steps=1, data__max_rejected=0.1)
    totals = Run.open(tmp_path / "run").manifest["data"]["train"]
    assert totals["read"] == 21 and totals["kept"] == 20 and sum(totals["rejected"].values()) == 1
    assert "demos.jsonl:21" in (tmp_path / "run" / "private" / "rejected.jsonl").read_text()


def test_rows_with_nothing_to_train_on_after_truncation_are_counted(tmp_path):
    files = world(tmp_path, rows=10)
    rows = tiny.demonstrations(10)
    rows[3]["messages"][0]["content"] = "long " * 60
    write_jsonl(files["sft"], rows)
    with pytest.raises(Refused, match="nothing-to-train-on"):
        run_stage("sft", files, tmp_path / "base", tmp_path / "run")
    run_stage("sft", files, tmp_path / "base", tmp_path / "run", training__max_steps=1, data__max_rejected=0.1)
    totals = Run.open(tmp_path / "run").manifest["data"]["train"]
    assert totals["rejected"] == {"nothing-to-train-on": 1} and totals["kept"] == 9


def test_no_secret_of_the_environment_reaches_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_canary1234567890")
    monkeypatch.setenv("WANDB_API_KEY", "canary0987654321")
    files = world(tmp_path, rows=8)
    run_stage("sft", files, tmp_path / "base", tmp_path / "run", training__max_steps=2)
    for file in (tmp_path / "run").rglob("*"):
        assert not file.is_file() or b"canary" not in file.read_bytes(), file


def test_out_of_memory_goes_on_with_half_the_micro_batch(tmp_path):
    """A ui that raises torch's own error stands for the allocator; the effective batch and the losses stay."""
    files = world(tmp_path, rows=16)
    straight = run_stage(
        "sft", files, files["base"], tmp_path / "straight", adapter__dropout=0.0, hardware__micro_batch=4
    )

    class Full(StoppingUi):
        raised = 0

        def steps(self, total, start=0):
            ui, inner = self, super().steps(total, start)

            class Filling(type(inner)):
                def update(self, step, metrics):
                    if step == 4 and ui.raised < 1:
                        ui.raised += 1
                        raise torch.OutOfMemoryError("no memory")

            inner.__class__ = Filling
            return inner

    ui = Full()
    result = run_stage(
        "sft", files, files["base"], tmp_path / "tight", adapter__dropout=0.0, hardware__micro_batch=4, ui=ui
    )
    assert ui.raised == 1 and any("out of memory at 4 rows" in warning for warning in ui.warnings)
    assert result["hardware"]["micro_batch"] == 2 and result["hardware"]["accumulation"] == 2
    for ours, theirs in zip(metrics(tmp_path / "tight"), metrics(tmp_path / "straight"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-3)
    assert straight["counts"]["steps"] == result["counts"]["steps"]


def test_out_of_memory_in_one_of_several_processes_leaves_half_for_all(tmp_path):
    from types import SimpleNamespace

    from alignment.hardware.plan import Plan
    from alignment.hardware.stage_plan import keep_plan
    from alignment.training.loop import _too_large

    def plan():
        return Plan("cuda", "bfloat16", "bfloat16", "auto", False, 1, 2, 4, 1, False)

    error = _too_large(plan(), tmp_path / "checkpoints")
    assert "out of memory at 4 rows" in error.paragraph()
    assert "same command again goes on from the last checkpoint with 2" in error.paragraph()
    run = SimpleNamespace(manifest={"hardware": plan().as_dict()}, checkpoints=tmp_path / "checkpoints")
    kept = keep_plan(SimpleNamespace(job=SimpleNamespace(run=run)), plan())
    assert (kept.micro_batch, kept.accumulation) == (2, 2) and "micro_batch 2" in kept.reasons[-1]
    kept.micro_batch = 1
    assert "Shorten data.max_length" in _too_large(kept, tmp_path / "checkpoints").paragraph()


@pytest.mark.parametrize(("key", "value", "named"), [
    ("report_to", "wandb", "'.[trackers]'"), ("model__quantisation", "4bit", "'.[quantisation]'"),
    ("hardware__device", "cuda", "no cuda device"),
])
def test_what_is_not_installed_or_not_there_is_refused_by_name(tmp_path, key, value, named):
    import importlib.util

    if {"wandb": importlib.util.find_spec("wandb"), "4bit": importlib.util.find_spec("bitsandbytes"),
            "cuda": torch.cuda.is_available()}[value]:
        pytest.skip("it is here")
    files = world(tmp_path, rows=8)
    with pytest.raises(Refused) as refused:
        run_stage("sft", files, files["base"], tmp_path / "run", **{key: value})
    assert named in str(refused.value) and not (tmp_path / "run").exists()
