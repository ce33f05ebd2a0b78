"""`report_to`: what a tracker gets, where it lies, and that a stop loses none of it. TensorBoard needs no account."""

from __future__ import annotations

import pytest

from alignment.runs import Run
from data_recipes.errors import Interrupted
from tests.alignment.chains import StoppingUi, metrics, run_stage, world

accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def test_tensorboard_has_the_figures_of_metrics_jsonl_also_over_a_stop(tmp_path):
    files = world(tmp_path, rows=16)
    how = {"report_to": "tensorboard", "training__max_steps": 6, "training__keep_checkpoints": 0, "data__validation_share": 0.2}
    with pytest.raises(Interrupted):
        run_stage("sft", files, files["base"], tmp_path / "run", ui=StoppingUi(at=3), **how)
    run_stage("sft", files, files["base"], tmp_path / "run", **how)
    assert not (tmp_path / "run" / "checkpoints").exists()  # and what was tracked is not gone with them
    seen = accumulators.EventAccumulator(str(Run.open(tmp_path / "run").private / "tensorboard")).Reload()
    for tracked, ours in (("train/loss", "loss"), ("eval/loss", "eval_loss")):
        expected = {row["step"]: row[ours] for row in metrics(tmp_path / "run") if ours in row}
        assert {event.step: event.value for event in seen.Scalars(tracked)} == pytest.approx(expected, rel=1e-6)
