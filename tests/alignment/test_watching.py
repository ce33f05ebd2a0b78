"""What the watching of held-out rows leans on in TRL and transformers: fails first when one of them moves."""

from __future__ import annotations

import inspect

import pytest
import torch
from transformers import Trainer
from trl import SFTTrainer

from alignment.training.trainers import PairDpoTrainer, PairRewardTrainer, SftTrainer, weigh
from tests.alignment.chains import metrics, run_stage, world


def test_what_is_called_by_name_is_there():
    given = inspect.signature(Trainer.evaluation_loop).parameters
    assert list(given)[1:] == ["dataloader", "description", "prediction_loss_only", "ignore_keys", "metric_key_prefix"]
    assert "self.log(output.metrics)" in inspect.getsource(Trainer.evaluate)  # and on_evaluate sees the same dictionary
    assert "on_evaluate(self.args, self.state, self.control, output.metrics)" in inspect.getsource(Trainer.evaluate)
    source = inspect.getsource(Trainer._maybe_log_save_evaluate)
    assert source.index("self._evaluate(") < source.index("self._save_checkpoint(")  # a seal holds what was evaluated
    logged = inspect.getsource(SFTTrainer.log)
    assert "self._metrics[mode]" in logged and "logs.update(metrics)" in logged


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return world(tmp_path_factory.mktemp("world"))


def held_out_losses(monkeypatch, made, run, files, **settings):
    """The units of each evaluation of a run, and what the Trainer itself would have said."""
    seen = []
    real = made.evaluation_loop

    def loop(self, *args, **kwargs):
        plain = super(made.__mro__[1], self).evaluation_loop(*args, **kwargs)
        self.units = []
        found = real(self, *args, **kwargs)
        seen.append((list(self.units), plain.metrics["eval_loss"], found.metrics["eval_loss"]))
        return found

    monkeypatch.setattr(made, "evaluation_loop", loop)
    stage = {SftTrainer: "sft", PairRewardTrainer: "reward", PairDpoTrainer: "dpo"}[made]
    run_stage(stage, files, files["base"], run, data__validation_share=0.4, training__max_steps=2, training__eval_every=1,
              **settings)
    return seen


def test_the_rewards_held_out_loss_is_the_trainers_pair_by_pair(files, tmp_path, monkeypatch):
    for units, theirs, ours in held_out_losses(monkeypatch, PairRewardTrainer, tmp_path / "run", files,
                                               reward__center_coefficient=0.1, training__learning_rate=0.05):
        assert ours == pytest.approx(theirs, rel=1e-5) and all(count == 1 for _, count in units) and len(units) > 3


def test_dpos_is_the_trainers_batch_by_batch(files, tmp_path, monkeypatch):
    for units, theirs, ours in held_out_losses(monkeypatch, PairDpoTrainer, tmp_path / "run", files):
        assert ours == pytest.approx(theirs, rel=1e-5) and {count for _, count in units} <= {1, 2}


def test_the_held_out_loss_of_tuning_is_a_mean_over_tokens_whatever_the_micro_batch(files, tmp_path):
    found = []
    for size in (1, 4):
        run_stage("sft", files, files["base"], tmp_path / f"{size}", data__validation_share=0.4, training__max_steps=1,
                  training__learning_rate=1e-9, training__eval_every=1, hardware__micro_batch=size)
        found += [row["eval_loss"] for row in metrics(tmp_path / f"{size}") if "eval_loss" in row]
    assert found == pytest.approx([found[0]] * 2, rel=1e-6)


@pytest.mark.parametrize(("stage", "figures"), [
    ("reward", ["eval_accuracy", "eval_margin", "eval_mean_reward", "eval_min_reward", "eval_max_reward"]),
    ("dpo", ["eval_rewards/accuracies", "eval_rewards/margins", "eval_rewards/chosen", "eval_logps/rejected", "eval_entropy",
             "eval_mean_token_accuracy", "eval_logits/chosen", "eval_logits/rejected"]),
])
def test_a_last_batch_of_one_row_counts_as_one_row(files, tmp_path, stage, figures):
    """Held out are 9 rows: two batches of four and one of one, whose mean of means would be another figure."""
    found = {}
    for size in (1, 4):
        made = run_stage(stage, files, files["base"], tmp_path / f"{size}", data__validation_share=0.4, training__max_steps=1,
                         training__learning_rate=0.02, hardware__micro_batch=size, adapter__dropout=0.0)
        assert made["counts"]["held_out_rows"] == 9
        found[size] = next(row for row in metrics(tmp_path / f"{size}") if "eval_loss" in row)
    assert {name: found[4][name] for name in figures} == pytest.approx({name: found[1][name] for name in figures}, rel=1e-4)


def test_figures_of_batches_are_weighed_by_their_sizes():
    figures = {"accuracy": [1.0, 0.0], "min_reward": [-1.0, -3.0], "max_reward": [2.0, 5.0], "num_tokens": [7]}
    weigh(figures, [3, 1], {})
    assert figures == {"accuracy": [0.75], "min_reward": [-3.0], "max_reward": [5.0], "num_tokens": [7]}
    figures = {"accuracy": [1.0, 0.0], "entropy": [1.0, 0.0]}
    weigh(figures, [3, 1], {"entropy": [10, 30]})
    assert figures == {"accuracy": [0.75], "entropy": [0.25]}


def test_rows_beside_leave_the_figures_of_the_held_out_rows_alone(files, tmp_path):
    from data_recipes.files import write_jsonl

    write_jsonl(tmp_path / "general.jsonl", [{"text": f"Row number {i}."} for i in range(20)])
    how = {"data__validation_share": 0.3, "training__max_steps": 1, "training__eval_every": 1, "training__learning_rate": 1e-9}
    run_stage("sft", files, files["base"], tmp_path / "plain", **how)
    run_stage("sft", files, files["base"], tmp_path / "beside", **how,
              data__replay={"source": str(tmp_path / "general.jsonl"), "share": 0.5})
    plain, beside = (next(r for r in metrics(tmp_path / name) if "eval_loss" in r) for name in ("plain", "beside"))
    for key in ("eval_loss", "eval_mean_token_accuracy", "eval_entropy"):
        assert plain[key] == pytest.approx(beside[key], rel=1e-5), key
    assert beside["eval_replay_loss"] > 0 and torch.isfinite(torch.tensor(beside["eval_replay_loss"]))
