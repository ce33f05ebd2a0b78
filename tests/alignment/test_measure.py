"""What a run will take, from its first steps: arithmetic by hand, limits, and a run that is stopped by them."""

import json
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from datasets import Dataset

from alignment.cli import run as align
from alignment.hardware.memory import GIB
from alignment.hardware.plan import Plan
from alignment.runs import Run
from alignment.training.limits import schedule_of, too_long, too_much_memory
from alignment.training.measure import (
    MeasureCallback,
    Schedule,
    Timing,
    estimate,
    forward_share,
    line,
    padded,
    peak_memory,
    step_units,
)
from alignment.training.order import EpochOrder, epoch_order
from data_recipes.errors import Refused
from tests.alignment.chains import StoppingUi, metrics, run_stage, weights, world


def test_a_line_by_hand():
    # seconds = 1 + 2 * units
    assert line(np.array([1.0, 2.0, 4.0]), np.array([3.0, 5.0, 9.0])) == (pytest.approx(1.0), pytest.approx(2.0))


def test_a_line_falls_back_on_the_two_plain_models():
    falling = line(np.array([1.0, 2.0]), np.array([4.0, 2.0]))  # more work in less time is noise
    assert falling == (3.0, 0.0)
    steep = line(np.array([2.0, 3.0]), np.array([1.0, 3.0]))  # a base below 0 cannot be
    assert steep == (0.0, pytest.approx(4 / 5))
    assert line(np.array([5.0, 5.0]), np.array([1.0, 3.0])) == (2.0, 0.0)


def test_a_line_agrees_with_numpys_least_squares():
    random = np.random.default_rng(0)
    units = random.uniform(100, 1000, 40)
    seconds = 0.2 + 0.003 * units + random.normal(0, 0.01, 40)
    slope, base = np.polyfit(units, seconds, 1)
    assert line(units, seconds) == (pytest.approx(base), pytest.approx(slope))


def test_padding_counts_by_micro_batch():
    # steps of 4 rows in micro-batches of 2: (3+3) + (5+5), then a last row alone
    assert padded(np.array([1, 3, 5, 2, 7]), 4, 2).tolist() == [16, 7]


def test_the_work_of_a_step_follows_the_order_of_rows():
    lengths = [5, 9, 2, 7, 1, 3]
    order = EpochOrder(lengths, batch=2, seed=3, grouped=False)
    found = step_units(order, 5, 1)
    rows = np.concatenate([epoch_order(lengths, batch=2, seed=3, epoch=epoch, grouped=False) for epoch in (0, 1)])
    assert found.tolist() == np.array(lengths)[rows].reshape(6, 2).sum(1)[:5].tolist()


def test_the_work_of_a_step_with_general_rows_is_that_of_the_rows_drawn():
    # of 6 general rows each epoch takes the next 2
    order = EpochOrder([1, 1, 10, 20, 30, 40, 50, 60], batch=4, seed=3, grouped=False, general=6, drawn=2)
    assert step_units(order, 3, 1).tolist() == [2 + 10 + 20, 2 + 30 + 40, 2 + 50 + 60]


def schedule(world: int, order: EpochOrder, total: int = 3, every: int | None = None):
    """Of a run of `total` steps with two held-out rows of 6 tokens."""
    config = SimpleNamespace(training=SimpleNamespace(eval_every=every), adapter=SimpleNamespace(kind="full"))
    held = Dataset.from_dict({"length": [6, 6]})
    trainer = SimpleNamespace(args=SimpleNamespace(eval_steps=None), own_clock=False, order=order, eval_dataset=held)
    return schedule_of(SimpleNamespace(config=config), plan(world=world, micro_batch=1), trainer, 0, total)


def test_evaluations_at_epoch_ends_are_those_of_the_rows_drawn():
    order = EpochOrder([1, 1, 10, 20, 30, 40, 50, 60], batch=4, seed=3, grouped=False, general=6, drawn=2)
    assert schedule(1, order).evaluations_after(0) == 3


def test_the_last_step_is_followed_by_an_evaluation_whatever_the_rhythm():
    order = EpochOrder([5, 9, 2, 7], batch=2, seed=3, grouped=False)
    assert [schedule(1, order, total).evaluations_after(0) for total in (2, 3, 4)] == [1, 2, 2]
    assert schedule(1, order, 3, every=2).evaluations_after(0) == 2
    assert schedule(1, order, 4, every=2).evaluations_after(0) == 2


def test_work_is_counted_over_all_processes_in_steps_and_in_evaluations():
    one, two = (schedule(world, EpochOrder([5, 9, 2, 7], batch=4, seed=3, grouped=False)) for world in (1, 2))
    assert one.units_S.tolist() == two.units_S.tolist() and one.held_out == two.held_out == 12 / 3


def test_a_forward_pass_is_a_third_of_full_tuning():
    assert forward_share(all_weights=True, checkpointing=False) == pytest.approx(1 / 3)
    assert forward_share(all_weights=False, checkpointing=False) == pytest.approx(1 / 2)
    assert forward_share(all_weights=True, checkpointing=True) == pytest.approx(1 / 4)


def test_time_left_by_hand():
    # ten steps of 100 tokens at 1 s; four are done, the first a warm-up of 9 s; evaluations after steps 5 and 10, 3 s each
    schedule = Schedule(np.full(10, 100), 0, evaluates=lambda step: step % 5 == 0, held_out=300.0)
    found = estimate(schedule, [9.0, 1.0, 1.0, 1.0], [], spent=12.0)
    assert (found.counted, found.evaluations, found.seconds_per_evaluation) == (3, 2, pytest.approx(3.0))
    assert found.left == pytest.approx(6 + 6) and found.hours == pytest.approx(24 / 3600)
    measured = estimate(schedule, [9.0, 1.0, 1.0, 1.0], [0.5], spent=12.0)
    assert measured.left == pytest.approx(6 + 1)


def test_longer_rows_ahead_take_longer():
    schedule = Schedule(np.array([100, 100, 200, 300, 400, 500]), 0)
    assert estimate(schedule, [5.0, 1.0, 2.0], [], spent=8.0).left == pytest.approx(3 + 4 + 5)


def test_a_rollout_is_measured_as_a_whole():
    # the first of four steps makes the rollout; the run goes on at step 6, in the middle of one
    schedule = Schedule(np.ones(20), 6, period=4)
    found = estimate(schedule, [1.0, 1.0, 7.0, 1.0, 1.0, 1.0], [], spent=12.0)
    assert (found.counted, found.seconds_per_step, found.left) == (4, 2.5, 20.0)


class Clock:
    """Says what it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def drive(callback: MeasureCallback, clock: Clock, seconds: list[float], evaluations: dict[int, float] | None = None) -> None:
    """Steps of so many seconds, and evaluations after some."""
    callback.on_train_begin(None, None, None)
    for step, took in enumerate(seconds, start=1):
        clock.now += took
        callback.on_step_end(None, SimpleNamespace(global_step=step), None)
        if step in (evaluations or {}):
            clock.now += evaluations[step]
            callback.on_evaluate(None, None, None)
    callback.on_train_end(None, None, None)


def watched(schedule: Schedule, clock: Clock) -> tuple[MeasureCallback, dict]:
    told: dict = {"memory": [], "timing": [], "end": []}
    made = MeasureCallback(schedule, lambda: 7, told["memory"].append, told["timing"].append, told["end"].append, clock=clock)
    return made, told


def test_an_estimate_is_told_once_and_beside_what_it_took():
    clock = Clock()
    callback, told = watched(Schedule(np.full(8, 10), 0, evaluates=lambda step: step == 2), clock)
    drive(callback, clock, [20.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0], {2: 4.0})
    (timing,) = told["timing"]
    assert told["memory"] == [7]
    assert (timing.counted, timing.seconds_per_step, timing.left, timing.spent) == (3, 2.0, 8.0, 30.0)
    assert told["end"] == [8.0]


def test_slow_steps_are_told_after_one():
    clock = Clock()
    callback, told = watched(Schedule(np.full(1000, 10), 0), clock)
    drive(callback, clock, [60.0, 40.0, 40.0])
    assert told["timing"][0].counted == 1 and told["timing"][0].left == 998 * 40


def test_a_run_of_one_step_has_nothing_to_tell():
    clock = Clock()
    callback, told = watched(Schedule(np.full(1, 10), 0), clock)
    drive(callback, clock, [3.0])
    assert told == {"memory": [7], "timing": [], "end": []}


def test_the_peak_is_of_this_process():
    before = peak_memory("cpu")
    below = before - psutil.Process().memory_info().rss  # what tests before this one held and gave back
    held = np.ones((below + (256 << 20)) // 8)
    assert peak_memory("cpu") - before > 0.9 * held.nbytes - below - (64 << 20)


# --------------------------------------------------------------------------------------------------------- what is refused


def test_too_long_says_how_many_steps_would_fit():
    error = too_long(Timing(3, 30.0, 2, 60.0, 100.0, 12000.0), 0, 400, 1.0)
    # 400 steps with two evaluations of a minute: 30.3 s each
    assert "--max-steps 118" in error.do and "hardware.max_hours" in error.where


def plan(**changes) -> Plan:
    parts = {"weights": GIB, "training": 0, "activations": 2 * GIB, "logits": 0}
    facts = {"device": "cpu", "precision": "float32", "weights": "float32", "attention": "auto", "checkpointing": False,
             "threads": 1, "world": 1, "micro_batch": 8, "accumulation": 2, "deterministic": False, "estimate": parts,
             "held": GIB}
    return Plan(**{**facts, **changes})


def test_too_much_memory_says_which_micro_batch_would_fit():
    # 2 GiB are fixed and 8 rows took 8 more: a GiB a row, so 4 rows fit under 6.5
    error = too_much_memory(plan(), 10 * GIB, 6.5, full=False)
    assert "hardware.micro_batch=4" in error.do and "10.00 GiB" in error.what
    assert "hardware.checkpointing=on" in too_much_memory(plan(micro_batch=1), 10 * GIB, 2.5, full=True).do


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return world(tmp_path_factory.mktemp("measured"), rows=40)


def test_a_run_beyond_its_hours_is_refused_and_its_folder_may_begin_anew(files, tmp_path):
    output = tmp_path / "run"
    with pytest.raises(Refused, match="max_hours"):
        run_stage("sft", files, files["base"], output, hardware__max_hours=1e-7, training__epochs=4, training__save_every=50)
    assert Run.open(output).state == "refused" and not list((output / "checkpoints").glob("checkpoint-*"))
    run_stage("sft", files, files["base"], output, training__max_steps=4)  # another command, as the refusal asked for
    free = tmp_path / "free"
    run_stage("sft", files, files["base"], free, training__max_steps=4, hardware__max_hours=10, hardware__max_gib=100)
    assert weights(output) == weights(free) and metrics(output) == metrics(free)
    measured = Run.open(free).manifest["hardware"]["measured"]
    assert measured["steps"] == 4 and measured["left"] > 0 and measured["took"] > 0 and measured["peak_bytes"] > 1e8


def test_a_run_that_kept_something_stays_what_it_is(files, tmp_path):
    output = tmp_path / "run"
    ui = StoppingUi(at=4)
    with pytest.raises(Exception, match="interrupted"):
        run_stage("sft", files, files["base"], output, ui=ui, training__epochs=4)
    with pytest.raises(Refused, match="max_hours"):
        run_stage("sft", files, files["base"], output, hardware__max_hours=1e-7, training__epochs=4, training__save_every=50)
    assert Run.open(output).state == "interrupted"
    assert run_stage("sft", files, files["base"], output, training__epochs=4)["state"] == "completed"


def test_the_plan_keeps_within_the_limit_or_is_refused_before_loading(files, tmp_path):
    with pytest.raises(Refused, match="by the plan"):
        run_stage("sft", files, files["base"], tmp_path / "run", hardware__max_gib=0.01)
    assert not (tmp_path / "run" / "align.json").exists()


def test_a_measured_dry_run_leaves_nothing(files, tmp_path, capsys):
    words = ["sft", "--model", str(files["base"]), "--data", str(files["sft"]), "--output", str(tmp_path / "new" / "run"),
             "--dry-run", "--measure", "--json", "--max-steps", "40", "--set", "hardware.threads=1"]
    assert align(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 40 and found["measured"]["counted"] >= 3 and found["measured"]["hours"] > 0
    assert list(tmp_path.iterdir()) == []
    assert align([*words, "--max-hours", "0.0000001"]) == 2
    assert list(tmp_path.iterdir()) == []
    left = tmp_path / "new" / ".run.measured" / "checkpoints"  # by a measurement that was killed
    left.mkdir(parents=True)
    (left.parent / "align.json").write_text("{}")
    assert align(words) == 0 and list((tmp_path / "new").iterdir()) == []
    left.parent.parent.rmdir()
    assert align([word for word in words if word != "--dry-run"]) == 2
