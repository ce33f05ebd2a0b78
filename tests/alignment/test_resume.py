"""Exact resume: what was stopped and continued is, to the byte, what was never stopped."""

import json
import signal

import pytest
import torch

from data_recipes.errors import Failed, Interrupted
from tests.alignment.chains import StoppingUi, metrics, run_stage, weights, world


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    made = world(tmp_path_factory.mktemp("world"))
    run_stage("sft", made, made["base"], made["base"].parent / "sft", training__epochs=1)
    return made


def settings_of(kind):
    return {} if kind == "lora" else {"adapter__kind": "full", "training__learning_rate": 1e-4}


def parent_of(files, kind):
    return files["base"].parent / "sft" if kind == "lora" else files["base"]


def stopped_at(stage, files, model, output, steps, **settings):
    for step in steps:
        with pytest.raises(Interrupted) as stop:
            run_stage(stage, files, model, output, ui=StoppingUi(at=step), **settings)
        assert stop.value.exit_code == 143
        assert json.loads((output / "align.json").read_text())["state"] == "interrupted"
    return run_stage(stage, files, model, output, **settings)


# 26 rows in steps of 4 are 7 steps an epoch, the last one smaller; two epochs are 14. Checkpoints come every 3 steps, and
# at the step after the signal: within an epoch, at its end (7), in the second one, grouped by length or not.
@pytest.mark.parametrize(
    ("stage", "kind", "stops", "grouped"),
    [
        ("sft", "lora", [2], True),
        ("sft", "lora", [1, 6, 9], True),
        ("sft", "lora", [7], False),
        ("sft", "full", [2, 6, 10], True),
        ("reward", "lora", [6], True),
        ("reward", "full", [1, 7, 11], False),
        ("dpo", "lora", [1, 5, 8], True),
        ("dpo", "full", [6], True),
    ],
)
def test_stopped_and_continued_equals_never_stopped(files, tmp_path, stage, kind, stops, grouped):
    settings = {**settings_of(kind), "training__group_by_length": grouped}
    model = parent_of(files, kind)
    straight = run_stage(stage, files, model, tmp_path / "straight", **settings)
    stopped = stopped_at(stage, files, model, tmp_path / "stopped", stops, **settings)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "straight")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "straight")
    assert stopped["counts"] == straight["counts"]
    assert stopped["content_hash"] == straight["content_hash"]


def test_a_completed_run_says_so_and_a_changed_one_is_refused(files, tmp_path):
    run_stage("sft", files, files["base"], tmp_path / "run", training__max_steps=2)
    before = (tmp_path / "run" / "align.json").read_text()
    again = run_stage("sft", files, files["base"], tmp_path / "run", training__max_steps=2)
    assert again["state"] == "completed" and (tmp_path / "run" / "align.json").read_text() == before


def test_an_interrupt_from_the_keyboard_exits_with_130(files, tmp_path):
    with pytest.raises(Interrupted) as stop:
        run_stage("sft", files, files["base"], tmp_path / "run", ui=StoppingUi(at=2, number=signal.SIGINT))
    assert stop.value.exit_code == 130


def test_a_damaged_checkpoint_is_named_and_the_one_before_gives_the_same_end(files, tmp_path):
    run_stage("sft", files, files["base"], tmp_path / "straight")
    with pytest.raises(Interrupted):
        run_stage("sft", files, files["base"], tmp_path / "run", ui=StoppingUi(at=7))
    newest = max((tmp_path / "run" / "checkpoints").glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
    with open(newest / "optimizer.pt", "r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))
    ui = StoppingUi()
    run_stage("sft", files, files["base"], tmp_path / "run", ui=ui)
    assert any("optimizer.pt was altered" in warning for warning in ui.warnings)
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")
    assert metrics(tmp_path / "run") == metrics(tmp_path / "straight")


def test_how_far_the_restored_model_is_from_the_saved_one_is_measured_and_said(files, tmp_path):
    from alignment.training.callbacks import same_loss

    class Saying(StoppingUi):
        def say(self, text):
            self.said = [*getattr(self, "said", []), text]

    with pytest.raises(Interrupted):
        run_stage("sft", files, files["base"], tmp_path / "run", ui=StoppingUi(at=3))
    ui = Saying()
    run_stage("sft", files, files["base"], tmp_path / "run", ui=ui)
    assert any("restored:" in text and "0.0e+00 from what it was" in text for text in ui.said)

    class Plain:
        class accelerator:
            mixed_precision = "no"

        model = torch.nn.Linear(1, 1)

    with pytest.raises(Failed, match="restored model"):
        same_loss(2.0, 2.1, Plain, print)
