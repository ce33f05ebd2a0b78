"""Early stopping, the best weights and what keeps a run from going wrong, alone and over stops."""

from __future__ import annotations

import json
import math

import pytest

from alignment.training.best import Figure, Standing, Watch, advance
from data_recipes.errors import Interrupted
from data_recipes.files import write_jsonl
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
