"""What `align collect export` writes trains: a step of each of TRL's trainers, and the stages here read it."""

from __future__ import annotations

import json

import pytest

from data_recipes.collect.export import Wish, export
from data_recipes.collect.model import Answer, Item
from tests import tiny
from tests.data_recipes.collect.made import Voter, made

COMMON = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": [], "disable_tqdm": True,
          "max_steps": 2, "per_device_train_batch_size": 2, "save_strategy": "no", "logging_steps": 1, "max_length": 256}


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Votes on twelve items of differing history, with edits, skips and both axes; exported as every kind."""
    folder = tmp_path_factory.mktemp("collection")
    rows = tiny.comparisons(12)
    pairs = tuple(Item(tuple(row["prompt"]), Answer(row["chosen"][0]["content"], "runs/a", {"seed": at} if at % 2 else {}),
                       Answer(row["rejected"][0]["content"], "runs/b")) for at, row in enumerate(rows))
    store = made(folder / "v.db", items=pairs, people=("ana", "ben"), overlap=2)
    for who in (1, 2):
        voter = Voter(store, who)
        while (task := store.claim(who)) is not None:
            good = "left" if task.left.startswith("Hello") else "right"
            bad = {"left": "right", "right": "left"}[good]
            if task.item == 3:
                voter.send("edit", task, {"side": good, "text": "Hello! Edited."})
            voter.vote(task, good, 1 + task.item % 4, acceptable={good: True, bad: False})
    for to in ("reward", "dpo", "kto", "sft"):
        export(store, Wish(to, margin=to in ("reward", "dpo")), folder / f"{to}.jsonl")
    return folder


def trained(trainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize("to", ["reward", "dpo", "kto", "sft"])
def test_trl_s_own_trainers_take_steps_on_each_kind(collection, tmp_path, to):
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

    rows = load_dataset("json", data_files=str(collection / f"{to}.jsonl"), split="train", cache_dir=str(tmp_path / "cache"))
    kinds = {"reward": (RewardConfig, RewardTrainer), "dpo": (DPOConfig, DPOTrainer), "kto": (KTOConfig, KTOTrainer),
             "sft": (SFTConfig, SFTTrainer)}
    config, trainer = kinds[to]
    base = tiny.save_base(tmp_path / "base")  # on the disk, since DPO and KTO load their reference anew
    torch.manual_seed(0)
    if to == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    else:
        model = AutoModelForCausalLM.from_pretrained(base)
    arguments = config(str(tmp_path / "out"), **COMMON)
    losses = trained(trainer(model=model, args=arguments, train_dataset=rows, processing_class=tiny.tokenizer()))
    assert len(losses) == 2 and all(0 < loss < 100 for loss in losses)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_the_stages_here_train_on_what_was_collected(collection, tmp_path, stage):
    from tests.alignment import chains

    files = chains.world(tmp_path)
    files[stage] = collection / f"{stage}.jsonl"
    changes = {"training.max_steps": 2, "training.epochs": 1, "data.max_length": 400}
    chains.run_stage(stage, files, files["base"], tmp_path / "run", **changes)
    manifest = json.loads((tmp_path / "run" / "align.json").read_text(encoding="utf-8"))
    assert manifest["state"] == "completed"
