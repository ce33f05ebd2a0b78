"""Mean and spread over seeds: by hand, against scipy, and what has to be said about a table."""

import math

import numpy as np
import pytest
from scipy import stats

from alignment.config import load
from alignment.evaluate.figures import png
from alignment.runs import Run
from alignment.sweeping import metrics, table
from alignment.sweeping.grid import make_grid
from alignment.sweeping.metrics import By
from alignment.sweeping.picture import draw_sweep
from alignment.sweeping.spread import difference, spread
from data_recipes.errors import Refused
from data_recipes.files import write_jsonl

LOSS = By("eval_loss", lower=True)


def test_a_spread_by_hand():
    # 1, 2, 3: mean 2, sd 1, t(0.975, 2) = 4.3027
    found = spread([1.0, 2.0, 3.0])
    assert (found.n, found.mean, found.sd, found.smallest, found.largest) == (3, 2.0, 1.0, 1.0, 3.0)
    assert found.high - found.mean == pytest.approx(4.30265 / math.sqrt(3), abs=1e-4)


def test_a_spread_agrees_with_scipy():
    values = np.random.default_rng(0).normal(3, 2, 9)
    found, (low, high) = spread(list(values)), stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_few_or_equal_values_have_no_interval():
    assert spread([1.0]).sd is None and spread([1.0, 2.0]).low is None and spread([1.0, 1.0, 1.0]).low is None
    with pytest.raises(ValueError, match="finite"):
        spread([1.0, math.nan])


def test_a_difference_is_paired_by_seed():
    found = difference({1: 5.0, 2: 9.0, 3: 1.0, 4: 8.0}, {1: 4.0, 2: 8.0, 3: 0.0})
    assert (found.n, found.mean, found.sd) == (3, 1.0, 0.0)
    assert difference({1: 5.0}, {2: 5.0}) is None


def grid_of(over, seeds=3):
    return make_grid(over, seeds, lambda sets: load("sft", None, sets, {"model.path": "m", "data.train": ["r.jsonl"]}))


def figures_of(grid, value):
    return {point.name: {"eval_loss": value(point.setting.values, point.seed)} for point in grid.points}


RANKS = {"adapter.rank": [2, 4, 8]}


def made(value, over=RANKS, by=LOSS, drop=()):
    grid = grid_of(over)
    figures = {name: found for name, found in figures_of(grid, value).items() if name not in drop}
    rows = table.tabulate("sft", grid, by, figures)
    best = table.best_of(rows)
    return grid, rows, best, table.ahead(rows, best, by) if best else None


def test_the_best_comes_first_and_its_lead_is_over_the_same_seeds():
    noise = {42: 0.3, 43: -0.2, 44: 0.1}
    grid, rows, best, lead = made(
        lambda v, seed: abs(v["adapter.rank"] - 4) + noise[seed] + 0.001 * seed * (v["adapter.rank"] == 4)
    )
    assert [row["values"]["adapter.rank"] for row in rows] == [4, 2, 8]
    assert lead["told_apart"] and lead["mean"] == pytest.approx(-2 + 0.043) and lead["next"] == "rank 2"
    said = " ".join(table.notes(grid, LOSS, rows, best, lead))
    assert "chosen on these held-out rows" in said and "may lie beyond" not in said


def test_higher_may_be_better():
    _, rows, best, _ = made(lambda v, seed: v["adapter.rank"] + 0.01 * seed, by=By("eval_loss", lower=False))
    assert best["values"]["adapter.rank"] == 8 and rows[-1]["values"]["adapter.rank"] == 2


def test_what_seeds_do_not_tell_apart_is_said_and_so_is_an_edge():
    noise = {42: 1.0, 43: -1.0, 44: 0.0}
    grid, rows, best, lead = made(lambda v, seed: 0.01 * v["adapter.rank"] + noise[seed] * (v["adapter.rank"] == 4))
    said = " ".join(table.notes(grid, LOSS, rows, best, lead))
    assert "do not tell the two apart" in said
    assert "adapter.rank, 2, is the smallest that was tried" in said


def test_equal_means_are_said():
    grid, rows, best, lead = made(lambda v, seed: 1.0)
    assert any("has the same mean" in text for text in table.notes(grid, LOSS, rows, best, lead))


def test_a_setting_with_a_failed_run_is_not_the_best():
    grid, rows, best, _ = made(lambda v, seed: v["adapter.rank"] + 0.01 * seed, drop={"rank-2_seed-43"})
    assert rows[0]["missing"] == 1 and best["values"]["adapter.rank"] == 4
    assert any("cannot be the best" in text for text in table.notes(grid, LOSS, rows, best, None))


def test_the_csv_has_one_line_a_run():
    grid = grid_of(RANKS)
    entries = [{"name": p.name, "values": dict(p.setting.values), "seed": p.seed, "state": "completed", "seconds": 1.5}
               for p in grid.points]
    lines = table.as_csv(grid, entries, figures_of(grid, lambda v, seed: 0.25)).splitlines()
    assert lines[0] == "run,adapter.rank,seed,state,seconds,eval_loss"
    assert lines[1] == "rank-2_seed-42,2,42,completed,1.5,0.25" and len(lines) == 10


@pytest.mark.parametrize(
    "over",
    [RANKS, {"training.learning_rate": [1e-5, 1e-4, 1e-3], "adapter.rank": [4, 16]},
     {"training.schedule": ["cosine", "linear"]},
     {"adapter.rank": [1, 2, 3, 4, 5, 6], "training.epochs": [1, 2, 3, 4, 5, 6]},
     {"adapter.rank": [1, 2], "training.epochs": [1, 2], "training.weight_decay": [0, 0.1]}],
    ids=["one", "two", "words", "map", "three"],
)
def test_every_kind_of_plot_is_drawn_and_its_bytes_stay(over):
    grid, rows, best, _ = made(lambda v, seed: 0.01 * seed + len(str(v)), over=over)
    assert png(draw_sweep(grid, LOSS, rows, best)) == png(draw_sweep(grid, LOSS, rows, best))


def test_log_spaced_values_stand_on_a_logarithmic_axis():
    scales = {}
    for values in ([1e-5, 1e-4], [1e-4, 2e-4]):
        grid, rows, best, _ = made(lambda v, seed: 0.01 * seed, over={"training.learning_rate": values})
        scales[values[0]] = draw_sweep(grid, LOSS, rows, best).axes[0].get_xscale()
    assert scales == {1e-5: "log", 1e-4: "linear"}


# ----------------------------------------------------------------------------------------------------------- which figure


def run_with(folder, stage, rows, **manifest) -> Run:
    folder.mkdir(exist_ok=True)
    write_jsonl(folder / "metrics.jsonl", rows)
    return Run(folder, {"stage": stage, "state": "completed", **manifest})


def test_figures_are_those_of_the_weights_that_were_kept(tmp_path):
    rows = [{"step": 2, "eval_loss": 1.0}, {"step": 3, "loss": 0.1}, {"step": 4, "eval_loss": 2.0, "eval_runtime": 3.0}]
    last = run_with(tmp_path, "sft", rows, metrics={"eval_loss": 2.0, "loss": 0.1})
    assert metrics.figures_of(last) == {"eval_loss": 2.0, "loss": 0.1}
    kept = run_with(tmp_path, "sft", rows, metrics={"eval_loss": 2.0}, kept={"step": 2})
    assert metrics.figures_of(kept)["eval_loss"] == 1.0


def test_each_stage_has_a_main_figure_and_its_direction(tmp_path):
    rows = [{"step": 1, "eval_loss": 1.0, "eval_accuracy": 0.5, "eval_proxy": 2.0, "eval_gold": 0.1, "eval_macro_f1": 0.3}]
    names = {stage: metrics.choose(run_with(tmp_path, stage, rows, kept={"step": 1, "by": "eval_macro_f1"}), None)
             for stage in ("sft", "reward", "ppo", "classify")}
    assert {stage: (by.name, by.lower) for stage, by in names.items()} == {
        "sft": ("eval_loss", True), "reward": ("eval_accuracy", False), "ppo": ("eval_gold", False),
        "classify": ("eval_macro_f1", False),
    }
    with pytest.raises(Refused, match="Did you mean eval_accuracy"):
        metrics.choose(run_with(tmp_path, "reward", rows), "eval_acuracy")


@pytest.mark.parametrize(("name", "lower"), [("eval_perplexity", True), ("eval_kl_k1", True), ("eval_rmse", True),
                                             ("eval_ece", True), ("eval_mean_token_accuracy", False)])
def test_which_way_is_better_is_told_by_the_name(tmp_path, name, lower):
    assert metrics.choose(run_with(tmp_path, "sft", [{"step": 1, name: 1.0}]), name).lower is lower


def test_nothing_held_out_cannot_be_compared():
    config = load("sft", None, ["data.validation_share=0"], {"model.path": "m", "data.train": ["r"]})
    with pytest.raises(Refused, match="no row is held out"):
        metrics.check_name("sft", None, config)
    with pytest.raises(Refused, match="Did you mean eval_loss"):
        metrics.check_name("sft", "eval_los", load("sft", None, [], {"model.path": "m", "data.train": ["r"]}))


def test_a_key_that_changes_the_figure_is_named():
    assert "dpo.beta changes what eval_loss means" in metrics.remarks(By("eval_loss", True), ["dpo.beta"])[0]
    assert metrics.remarks(By("eval_rewards/accuracies", False), ["dpo.beta"]) == []
