"""Any run is a parent of a later supervised one; a reward model's or classifier's head is left behind, and that is said."""

from __future__ import annotations

import json

import pytest
import torch

from alignment import sft, tasks
from alignment.cli import run
from alignment.models import load_policy
from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from safetensors.torch import load_file
from tests import tiny
from tests.alignment.chains import StoppingUi, run_stage, world
from tests.tiny_encoders import save_encoder
from transformers import RobertaConfig


class Hearing(StoppingUi):
    def say(self, text: str) -> None:
        self.said = [*getattr(self, "said", []), text]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return world(tmp_path_factory.mktemp("world"), rows=12)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_reward_run_goes_on_as_a_policy_without_its_head(files, tmp_path, capsys, kind):
    how = {"adapter__kind": kind, "training__max_steps": 2}
    run_stage("reward", files, files["base"], tmp_path / "reward", **how)
    ui = Hearing()
    made = run_stage("sft", files, tmp_path / "reward", tmp_path / "sft", ui=ui, training__max_steps=1,
                     training__learning_rate=1e-9, **({"adapter__kind": "full"} if kind == "full" else {}))
    assert made["state"] == "completed" and any("head is left behind" in text for text in ui.said)
    manifest = json.loads((tmp_path / "sft" / "align.json").read_text())
    assert manifest["parents"][0]["stage"] == "reward" and manifest["transfer"]["from"] == "score"
    name = "adapter_model.safetensors" if kind == "lora" else "model.safetensors"
    before, after = load_file(tmp_path / "reward" / name), load_file(tmp_path / "sft" / name)
    shared = before.keys() & after.keys()
    assert len(shared) >= len(after) - 1 and not any("score" in key for key in after)
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in shared)
    assert load_policy(tmp_path / "sft").model is not None
    assert run(["runs", "show", str(tmp_path / "sft")]) == 0
    assert "its parent's head (score) was left behind" in capsys.readouterr().out


@pytest.mark.slow
def test_a_classifier_goes_on_as_a_policy(files, tmp_path):
    from alignment.config import load
    from alignment.stages import classify

    write_jsonl(tmp_path / "labelled.jsonl", [{"text": f"order {i} is {'fine' if i % 2 else 'late'}", "label": f"l{i % 2}"}
                                              for i in range(16)])
    config = load("classify", nouns={
        "model.path": str(files["base"]), "data.train": [str(tmp_path / "labelled.jsonl")], "training.max_steps": 2,
        "training.batch_size": 4, "hardware.device": "cpu", "adapter.rank": 4})
    classify.run(config, tmp_path / "classes")
    made = run_stage("sft", files, tmp_path / "classes", tmp_path / "sft", training__max_steps=1)
    assert made["state"] == "completed"
    assert json.loads((tmp_path / "sft" / "align.json").read_text())["transfer"]["from"] == "labels"


def test_a_whole_reward_model_without_tied_embeddings_has_no_language_head_left(tmp_path):
    made = world(tmp_path / "untied", rows=8, model=tiny.llama(tied=False))
    run_stage("reward", made, made["base"], tmp_path / "reward", adapter__kind="full", training__max_steps=1)
    with pytest.raises(Refused, match="language head was replaced and is gone"):
        run_stage("sft", made, tmp_path / "reward", tmp_path / "sft", adapter__kind="full", training__max_steps=1)


@pytest.mark.parametrize("kind", ["roberta", "bert"])  # BERT's tokenizer has no end token, which is not what is wrong
def test_an_encoder_is_no_language_model_though_transformers_loads_one(kind, tmp_path):
    rows = tmp_path / "rows.jsonl"
    write_jsonl(rows, [{"text": f"The number {i} is after {i - 1}."} for i in range(1, 20)])
    base = save_encoder(tmp_path / kind, kind)
    with pytest.raises(Refused, match="sees the words that it would have to predict"):
        sft(model=base, data=rows, output=tmp_path / "run", settings={"training.max_steps": 1, "hardware.threads": 1})
    tasks.check_direction(RobertaConfig(is_decoder=True), "here")
