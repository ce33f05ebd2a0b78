"""bf16 on a CPU that has it: the checks at step 0 and after saving hold in the precision that was trained in."""

import pytest
import torch

from alignment.hardware.plan import native_bfloat16
from alignment.models import load_scorer
from alignment.training import processes
from data_recipes.errors import Refused
from reward.scalar import score
from tests import tiny
from tests.alignment.chains import metrics, run_stage, world

needs_bf16 = pytest.mark.skipif(not native_bfloat16(torch.device("cpu")), reason="this processor has no bf16")
BF16 = {"hardware__precision": "bfloat16", "training__max_steps": 2}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    made = world(tmp_path_factory.mktemp("world"), rows=16, model=tiny.llama(spread=0.2))
    run_stage("sft", made, made["base"], made["base"].parent / "sft", training__max_steps=1)
    return made


@needs_bf16
@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_an_adapter_on_a_bf16_base(files, tmp_path, stage):
    run = run_stage(stage, files, files["base"].parent / "sft", tmp_path / "run", model__dtype="bfloat16", **BF16)
    assert run["metrics"]["read_back_distance"] < 1e-3 and run["hardware"]["precision"] == "bfloat16"


@needs_bf16
@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_full_tuning_in_bf16_keeps_float32_weights(files, tmp_path, stage):
    run = run_stage(stage, files, files["base"], tmp_path / "run", adapter__kind="full", training__learning_rate=1e-4, **BF16)
    assert run["metrics"]["read_back_distance"] < 1e-5 and run["hardware"]["weights"] == "float32"


def test_a_launch_file_that_says_another_precision_is_refused(files, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # as `accelerate launch` sets it
    with pytest.raises(Refused, match="mixed_precision: bf16, and this run is planned in float32"):
        run_stage("sft", files, files["base"], tmp_path / "run", training__max_steps=1)
    assert not (tmp_path / "run").exists()
    processes.agree_on("bfloat16")


def test_a_head_on_a_bf16_base_is_trained_in_float32(files, tmp_path):
    run_stage("reward", files, files["base"].parent / "sft", tmp_path / "run", model__dtype="bfloat16", training__max_steps=2)
    assert metrics(tmp_path / "run")[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
    from safetensors.torch import load_file

    state = load_file(tmp_path / "run" / "adapter_model.safetensors")
    assert {value.dtype for name, value in state.items() if "score" in name} == {torch.float32}
    scorer = load_scorer(tmp_path / "run", dtype="bfloat16")
    assert len(set(score(scorer.model, [[3, 60, 2], [3, 61, 70, 2]], pad_id=scorer.tokenizer.pad_token_id))) == 2
