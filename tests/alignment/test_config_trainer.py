"""The `trainer:` section against the TRL that is installed."""

from __future__ import annotations

import pytest

from alignment.config import STAGES, load
from alignment.config.trainer import OWNED, OWNED_BY_STAGE, TABLE, allowed, fields, owner
from data_recipes.errors import Refused


def refusal(stage: str, setting: str) -> str:
    with pytest.raises(Refused) as caught:
        load(stage, sets=[setting])
    return str(caught.value)


def test_the_table_is_that_of_the_installed_trl():
    from alignment.config.trainer_table import text

    assert TABLE.read_text(encoding="utf-8") == text()


def test_every_owned_name_exists_in_trl_or_did():
    gone = {"warmup_ratio"}  # transformers 5 dropped it, but people still write it
    known = {name for stage in STAGES for name in fields(stage)}
    assert set(OWNED) - gone <= known
    assert all(name in fields(stage) for stage, name in OWNED_BY_STAGE)


@pytest.mark.parametrize("stage", STAGES)
def test_the_keys_that_replace_owned_names_exist(stage):
    from alignment.config import describe

    keys = {line.key for each in STAGES for line in describe(each)}
    for name in fields(stage):
        instead = owner(stage, name)
        if instead and instead.count(" ") == 0 and "." in instead:
            assert instead in keys


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("per_device_train_batch_size", 4, "training.batch_size"),
        ("bf16", "true", "hardware.precision"),
        ("save_steps", 5, "training.save_every"),
        ("push_to_hub", "true", "align export"),
        ("seed", 1, "training.seed"),
        ("logging_steps", 1, "metrics.jsonl"),
        ("remove_unused_columns", "false", "data: section"),
        ("auto_find_batch_size", "true", "hardware.micro_batch"),
        ("warmup_ratio", 0.1, "training.warmup"),
        ("deepspeed", "x.json", "accelerate"),
        ("resume_from_checkpoint", "x", "checkpoints"),
    ],
)
@pytest.mark.parametrize("stage", STAGES)
def test_what_the_suite_owns_is_refused_with_the_name_to_use(stage, name, value, instead):
    message = refusal(stage, f"trainer.{name}={value}")
    assert "is set by the suite" in message and instead in message


def test_the_loss_type_is_owned_for_dpo_and_passes_for_sft():
    assert "dpo.loss_type" in refusal("dpo", "trainer.loss_type=ipo")
    assert load("sft", sets=["trainer.loss_type=dft"]).trainer == {"loss_type": "dft"}


def test_an_unknown_name_gets_the_nearest():
    assert "Did you mean trainer.optim?" in refusal("sft", "trainer.optimm=x")
    assert "Did you mean trainer.packing?" in refusal("sft", "trainer.pack=true")


@pytest.mark.parametrize(
    "setting",
    [
        "trainer.optim=best",
        "trainer.packing=1",
        "trainer.packing='true'",
        "trainer.adam_beta1=high",
        "trainer.adam_beta1=true",
        "trainer.torch_empty_cache_steps=1.5",
        "trainer.packing_strategy=loose",
        "trainer.liger_kernel_config=5",
        "trainer.packing=null",
    ],
)
def test_values_of_a_wrong_type_are_refused(setting):
    assert "Expected: " in refusal("sft", setting)


@pytest.mark.parametrize(
    "setting",
    [
        "trainer.optim=adamw_torch",
        "trainer.packing=true",
        "trainer.adam_beta1=0.95",
        "trainer.adam_beta1=1",
        "trainer.adam_epsilon=1e-8",
        "trainer.torch_empty_cache_steps=null",
        "trainer.pad_to_multiple_of=8",
        "trainer.pad_to_multiple_of=auto",
    ],
)
def test_values_of_the_right_type_pass(setting):
    name = setting.partition("=")[0].partition(".")[2]
    assert name in load("sft", sets=[setting]).trainer


@pytest.mark.parametrize("stage", STAGES)
def test_enough_passes_through(stage):
    assert {"optim", "adam_beta2", "dataloader_num_workers", "torch_compile"} <= set(allowed(stage))
