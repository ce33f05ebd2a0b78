"""Early stopping, the best weights and what keeps a run from going wrong, alone and over stops."""

from __future__ import annotations

import json
import math

import pytest

from alignment.training.best import Figure, Standing, Watch, advance
from data_recipes.errors import Failed, Interrupted, Refused
from data_recipes.files import write_jsonl
from tests import tiny
from tests.alignment.chains import StoppingUi, metrics, run_stage, weights, world


def followed(values, watch):
    standing = Standing()
    for number, value in enumerate(values, 1):
        standing = advance(standing, watch, 10 * number, value)
        if standing.stopped:
            break
    return standing


def test_the_first_of_equal_values_is_the_best_and_patience_counts_evaluations():
    standing = followed([3.0, 2.0, 2.0, 2.5, 1.0], Watch(patience=2))
    assert standing.best == {"step": 20, "value": 2.0} and standing.stopped and standing.last["step"] == 40
    assert followed([3.0, 2.0, 2.5, 1.0], Watch(patience=2)).best == {"step": 40, "value": 1.0}


def test_a_figure_where_more_is_better_and_one_that_is_not_finite():
    watch = Watch(Figure("eval_accuracy", "higher"))
    assert followed([0.5, 0.7, 0.6], watch).best["step"] == 20
    assert followed([math.nan, 0.4, math.inf], watch).best == {"step": 20, "value": 0.4}


def test_without_patience_nothing_stops():
    assert not followed([1.0] + [2.0] * 50, Watch()).stopped


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    made = world(tmp_path_factory.mktemp("world"))
    write_jsonl(made["base"].parent / "general.jsonl", [
        {"messages": [{"role": "user", "content": f"Add {i} to {i}."}, {"role": "assistant", "content": f"It is {2 * i}."}]}
        for i in range(40)])
    return made


# All at once: each draws or counts something that a stop could lose.
EVERYTHING = {
    "data__validation_share": 0.2, "training__eval_every": 2, "training__keep": "best", "training__early_stopping": 3,
    "training__neftune_alpha": 5.0, "training__label_smoothing": 0.1, "model__dropout": 0.1, "adapter__dropout": 0.1,
    "training__learning_rate": 0.05, "training__epochs": 6,
}


def everything(files):
    return {**EVERYTHING, "data__replay": {"source": str(files["base"].parent / "general.jsonl"), "share": 0.25}}


def stopped_at(files, output, steps, **settings):
    for step in steps:
        with pytest.raises(Interrupted):
            run_stage("sft", files, files["base"], output, ui=StoppingUi(at=step), **settings)
    return run_stage("sft", files, files["base"], output, **settings)


def test_a_run_with_everything_that_is_stopped_ends_as_one_that_never_was(files, tmp_path):
    settings = everything(files)
    straight = run_stage("sft", files, files["base"], tmp_path / "straight", **settings)
    manifest = json.loads((tmp_path / "straight" / "align.json").read_text())
    kept, last = manifest["kept"], metrics(tmp_path / "straight")[-1]["step"]
    assert kept["stopped_early"] and kept["step"] < last < 6 * 7
    stops = [1, kept["step"] - 1, last - 2]  # heeded at the end of the next step: at the best, and just before the end
    stopped = stopped_at(files, tmp_path / "stopped", stops, **settings)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "straight")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "straight")
    assert stopped["content_hash"] == straight["content_hash"]
    assert json.loads((tmp_path / "stopped" / "align.json").read_text())["kept"] == kept


@pytest.mark.parametrize("stage", [
    pytest.param("sft", marks=pytest.mark.slow), "reward", pytest.param("dpo", marks=pytest.mark.slow),
    pytest.param("sft of an encoder-decoder", marks=pytest.mark.slow)])
def test_every_stage_keeps_the_best_by_its_accuracy_and_a_stop_changes_nothing(files, tmp_path, stage):
    if stage not in files:
        stage, base = "sft", tiny.save_base(tmp_path / "base", model=tiny.t5(), tokens=tiny.t5_tokenizer())
        files = {**files, "base": base}
    how = {"data__validation_share": 0.3, "training__eval_every": 2, "training__keep": "best", "training__watch": "accuracy",
           "training__max_steps": 7, "training__learning_rate": 0.02}
    straight = run_stage(stage, files, files["base"], tmp_path / "straight", **how)
    with pytest.raises(Interrupted):
        run_stage(stage, files, files["base"], tmp_path / "stopped", ui=StoppingUi(at=4), **how)
    stopped = run_stage(stage, files, files["base"], tmp_path / "stopped", **how)
    assert stopped["content_hash"] == straight["content_hash"]
    manifest = json.loads((tmp_path / "straight" / "align.json").read_text())
    kept = manifest["kept"]
    seen = {row["step"]: row[kept["by"]] for row in metrics(tmp_path / "straight") if kept["by"] in row}
    assert kept["step"] == min(step for step, value in seen.items() if value == max(seen.values()))
    assert manifest["metrics"][kept["by"]] == seen[kept["step"]]
    assert not list((tmp_path / "straight" / "checkpoints").glob("best-*"))


def test_a_checkpoint_leads_back_to_its_own_best_weights_and_altered_ones_are_refused(files, tmp_path):
    how = {"data__validation_share": 0.2, "training__eval_every": 1, "training__keep": "best", "training__max_steps": 8,
           "training__learning_rate": 1e-3, "training__save_every": 3}
    with pytest.raises(Interrupted):
        run_stage("sft", files, files["base"], tmp_path / "run", ui=StoppingUi(at=5), **how)
    folder = tmp_path / "run" / "checkpoints"
    sealed = [json.loads((path / "align_checkpoint.json").read_text()) for path in sorted(folder.glob("checkpoint-*"))]
    needed = {f"best-{seal['counters']['watch']['best']['step']}" for seal in sealed}
    assert {path.name for path in folder.glob("best-*")} == needed
    newest = max(folder.glob("best-*"), key=lambda path: int(path.name[5:])) / "trained.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(Failed, match="trained.safetensors was altered"):
        run_stage("sft", files, files["base"], tmp_path / "run", **how)


def test_without_an_evaluation_of_that_name_nothing_is_called_the_best(tmp_path):
    from types import SimpleNamespace

    from alignment.training.best import BestCallback

    trainer = SimpleNamespace(state=SimpleNamespace(global_step=3))
    callback = BestCallback(trainer, Watch(Figure("eval_nothing"), "best"), tmp_path)
    callback.on_evaluate(None, trainer.state, None, {"eval_loss": 1.0})
    with pytest.raises(Failed, match="no evaluation gave a finite eval_nothing"):
        callback.finish(print)


def test_sharded_weights_are_not_kept_aside_and_only_who_asked_for_it_is_refused(tmp_path):
    from types import SimpleNamespace

    from alignment.training.best import BestCallback

    trainer = SimpleNamespace(is_fsdp_enabled=True, is_deepspeed_enabled=False)
    by_default, asked = (BestCallback(trainer, Watch(keep="best", asked=asked), tmp_path) for asked in (False, True))
    by_default.on_train_begin(None, None, None)
    assert by_default.watch.keep == "last"
    with pytest.raises(Refused, match="sharded"):
        asked.on_train_begin(None, None, None)
