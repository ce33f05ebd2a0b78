"""The strict schema: order of layers, values, and one paragraph with the place of each mistake."""

from __future__ import annotations

import json

import click
import pytest

from alignment.cli import program
from alignment.config import FLAGS, STAGES, describe, load, schema
from alignment.config.describe import keys_of
from alignment.flags import SHORT_FLAGS
from data_recipes.errors import Refused


def refusal(stage: str = "sft", *sets: str, **nouns) -> str:
    with pytest.raises(Refused) as caught:
        load(stage, sets=sets, nouns=nouns.get("nouns"))
    return str(caught.value)


def write(folder, text: str):
    file = folder / "my.yaml"
    file.write_text(text)
    return file


def test_later_layers_win(tmp_path):
    file = write(tmp_path, "training:\n  seed: 1\n  epochs: 1\n  batch_size: 4\n")
    config = load("sft", file, sets=["training.seed=3"], nouns={"training.seed": "2", "training.epochs": "2"})
    assert (config.training.seed, config.training.epochs, config.training.batch_size) == (3, 2.0, 4)
    assert config.training.save_every == 100


def test_the_place_of_each_value_is_known(tmp_path):
    file = write(tmp_path, "\ntraining:\n  seed: 1\n")
    config = load("sft", file, sets=["adapter.rank=8"], nouns={"training.learning_rate": "1e-4"})
    assert config.origin("training.seed") == f"{file}:3"
    assert config.origin("adapter.rank") == "--set adapter.rank"
    assert config.origin("training.learning_rate") == "--lr"
    assert config.given("adapter.rank") and not config.given("adapter.alpha")


@pytest.mark.parametrize("written", ["1e-5", "'1e-5'", "0.00001", "1.0e-5", "1E-5"])
def test_small_numbers_are_numbers(written):
    assert load("sft", sets=[f"training.learning_rate={written}"]).training.learning_rate == 1e-5


@pytest.mark.parametrize(("written", "value"), [("off", "off"), ("on", "on"), ("auto", "auto"), ("'off'", "off")])
def test_words_that_old_yaml_reads_as_switches_stay_words(written, value):
    assert load("sft", sets=[f"hardware.checkpointing={written}"]).hardware.checkpointing == value


@pytest.mark.parametrize(
    ("written", "value"), [("true", True), ("yes", True), ("on", True), ("no", False), ("off", False)]
)
def test_switches_take_their_usual_words(written, value):
    assert load("sft", sets=[f"hardware.deterministic={written}"]).hardware.deterministic is value


@pytest.mark.parametrize(
    "setting",
    [
        "training.seed=true",
        "training.epochs=yes",
        "training.seed=1.5",
        "training.learning_rate=fast",
        "dpo.beta=.nan",
        "dpo.beta=nan",
        "dpo.beta=-1",
        "training.epochs=0",
        "adapter.dropout=1.0",
        "data.max_length=4",
        "data.system=5",
        "hardware.deterministic=1",
        "adapter.kind=lorra",
        "data.validation_share=0.9",
        "training.seed=null",
        "training.batch_size=[4]",
        "dpo.loss_type=[]",
        "dpo.loss_type=sigmoyd",
        "report_to=mlflow",
        "model.dtype=fp16",
    ],
)
def test_wrong_values_are_refused_with_place_and_expectation(setting):
    message = refusal("dpo", setting)
    assert message.startswith(f"--set {setting.partition('=')[0]}: ") and "Expected: " in message


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("lr=1", "training.learning_rate"),
        ("training.lr=1", "training.learning_rate"),
        ("training.epoch=1", "training.epochs"),
        ("adapter.learning_rate=1", "training.learning_rate"),
        ("adapter.lora_alpha=1", "adapter.alpha"),
        ("model.load_in_4bit=true", "model.quantisation"),
        ("training.lern_rate=1", "training.learning_rate"),
        ("data.max_len=1", "data.max_length"),
        ("trainning.seed=1", "training"),
        ("hardware.bf16=true", "hardware.precision"),
        ("data.maxlength=8", "data.max_length"),
        ("num_train_epochs=3", "training.epochs"),
        ("epochs=3", "training.epochs"),
    ],
)
def test_a_wrong_name_gets_the_one_that_was_meant(setting, meant):
    assert f"Did you mean {meant}?" in refusal("sft", setting)


def test_a_name_far_from_all_gets_the_list():
    assert "The keys of reward: center_coefficient" in refusal("reward", "reward.zzzzzz=1")


def test_a_section_of_another_stage_is_named():
    assert "belongs to `align dpo`" in refusal("sft", "dpo.beta=0.1")


def test_a_section_is_not_a_value_and_a_value_no_section():
    assert "training is a section" in refusal("sft", "training=5")
    assert "report_to is one value" in refusal("sft", "report_to.a=1")
    assert "training is a section" in refusal("sft", "training=null")


@pytest.mark.parametrize("text", ["Refer to ticket #12", "#1 in support", "Be kind.\n\nBe brief.", "--- be brief ---"])
def test_a_text_that_is_set_is_taken_whole(text):
    """YAML takes ` #` for the beginning of a comment, and folds lines."""
    assert load("sft", sets=[f"data.system={text}"]).data.system == text
    assert "trainer" not in refusal("sft", f"training.epochs=3 {text}")


@pytest.mark.parametrize("text", ["a", "=3", ".a=1", "a..b=1", ""])
def test_a_set_without_key_or_value_is_refused(text):
    assert "section.key=value" in refusal("sft", text)


def test_a_short_flag_is_named_in_its_error():
    assert refusal("sft", nouns={"training.learning_rate": "fast"}).startswith("--lr: ")


def test_every_flag_belongs_to_a_key():
    assert set(FLAGS) <= {line.key for stage in STAGES for line in describe(stage)}


@pytest.mark.parametrize("stage", STAGES)
def test_every_flag_that_an_error_may_name_is_an_option_of_the_stage(stage):
    """Written once: an option that is renamed is named so in errors too."""
    command = program.get_command(click.Context(program), stage)
    options = {text for option in command.params for text in option.opts}
    assert {flag for key, flag in FLAGS.items() if key in keys_of(stage)} <= options
    assert {flag for flag, *_ in SHORT_FLAGS} <= set(FLAGS.values()) & options


def test_lists_and_mappings_can_be_set():
    config = load(
        "sft",
        sets=[
            "data.train=[a.jsonl, b.jsonl]",
            "adapter.targets=[q_proj]",
            "trainer.optim_args=x=1",
            "trainer.lr_scheduler_kwargs={a: 1}",
            "trainer.lr_scheduler_kwargs.b=2",
            "report_to=trackio",
        ],
    )
    assert config.data.train == ["a.jsonl", "b.jsonl"] and config.adapter.targets == ["q_proj"]
    assert config.trainer == {"optim_args": "x=1", "lr_scheduler_kwargs": {"a": 1, "b": 2}}
    assert config.report_to == ["trackio"]


@pytest.mark.parametrize(
    ("stage", "kind", "rate"),
    [
        ("sft", "lora", 2e-4),
        ("sft", "dora", 2e-4),
        ("sft", "full", 2e-5),
        ("reward", "lora", 1e-4),
        ("reward", "full", 1e-5),
        ("dpo", "lora", 5e-6),
        ("dpo", "full", 5e-7),
    ],
)
def test_the_automatic_learning_rate_follows_stage_and_kind_and_names_its_source(stage, kind, rate):
    config = load(stage, sets=[f"adapter.kind={kind}"])
    assert config.training.learning_rate == rate
    line = next(line for line in describe(stage, config) if line.key == "training.learning_rate")
    assert line.value == rate and "TRL" in line.source


@pytest.mark.parametrize(
    "sets",
    [
        ["adapter.kind=full", "adapter.rank=8"],
        ["adapter.kind=full", "model.quantisation=4bit"],
        ["data.validation=x.jsonl", "data.validation_share=0.1"],
        ["training.max_steps=4", "training.epochs=2"],
    ],
)
def test_settings_that_contradict_each_other_are_refused(sets):
    assert "does not fit" in refusal("sft", *sets)


def test_as_many_weights_as_losses():
    assert "2 losses, but 1 weights" in refusal("dpo", "dpo.loss_type=[sigmoid, sft]", "dpo.loss_weights=1")
    assert load("dpo", sets=["dpo.loss_type=[sigmoid, sft]", "dpo.loss_weights=[1, 0.5]"]).dpo.loss_weights == [
        1.0,
        0.5,
    ]


@pytest.mark.parametrize("stage", STAGES)
def test_the_resolved_config_is_json_and_loads_again(stage, tmp_path):
    config = load(stage, sets=["adapter.rank=4", "trainer.optim=sgd"])
    again = load(stage, write(tmp_path, json.dumps(config.resolved())))
    assert again.resolved() == config.resolved()


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_tuning_config_that_was_saved_loads_again(stage, tmp_path):
    config = load(stage, sets=["adapter.kind=full", "training.max_steps=3"])
    assert load(stage, write(tmp_path, json.dumps(config.resolved()))).resolved() == config.resolved()


@pytest.mark.parametrize("stage", STAGES)
def test_every_key_says_what_it_means(stage):
    lines = describe(stage)
    assert all(line.meaning and line.expected for line in lines)
    assert len({line.key for line in lines}) == len(lines)


@pytest.mark.parametrize("stage", STAGES)
def test_the_schema_forbids_unknown_keys_everywhere(stage):
    made = schema(stage)
    assert made["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in made["$defs"].values())
    json.dumps(made)


def test_a_config_cannot_be_changed_after_it_was_read():
    with pytest.raises(ValueError, match="frozen"):
        load("sft").training.seed = 3


def test_the_defaults_of_a_stage_are_those_of_the_table():
    from alignment.config.defaults import BY_STAGE

    for (stage, key), default in BY_STAGE.items():
        assert next(line.value for line in describe(stage) if line.key == key) == default.value
