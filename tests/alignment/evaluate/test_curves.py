import json

from alignment.evaluate.charts import series
from alignment.evaluate.curves import charts, read_metrics
from alignment.evaluate.figures import MOST_POINTS, draw, draw_bars, png, svg_uri, thin


def rows(**columns):
    count = max(map(len, columns.values()))
    return [
        {"step": i + 1, **{key.replace("__", "/"): values[i] for key, values in columns.items()}} for i in range(count)
    ]


def words(stage, made, held_out=0):
    return " ".join(line for chart in charts(made, stage, held_out) for line in chart.reading)


def test_a_torn_last_line_is_left_out(tmp_path):
    (tmp_path / "m.jsonl").write_text(json.dumps({"step": 1, "loss": 2.0}) + '\n{"step": 2, "lo')
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 1, "loss": 2.0}] and read_metrics(tmp_path / "none") == []


def test_what_is_no_number_has_no_place():
    made = [
        {"step": 1, "loss": 1},
        {"step": 2, "loss": "nan"},
        {"step": 3, "loss": None},
        {"step": 4, "loss": float("inf")},
    ]
    assert series(made, "loss") == [(1, 1.0)]


def test_learning_by_heart_is_said():
    rise = {"eval_loss_change": 0.4, "eval_loss_change_error": 0.1}
    made = rows(loss=[3.0, 2.0, 1.0, 0.5]) + [{"step": 2, "eval_loss": 1.5}, {"step": 4, "eval_loss": 1.9, **rise}]
    assert "From there on the rows were learned by heart" in words("sft", made) and "least at step 2" in words("sft", made)
    (loss,) = [chart for chart in charts(made, "sft") if chart.title == "Loss"]
    assert loss.mark == (2, 1.5, "turns at step 2")
    noisy = [*made[:-1], {**made[-1], "eval_loss_change_error": 0.3}]
    assert "within the noise" in words("sft", noisy) and charts(noisy, "sft")[0].mark is None
    assert "no sign" in words("sft", [{"step": 1, "eval_loss": 2.0}, {"step": 2, "eval_loss": 1.5}])


def test_chance_and_falling_chosen_rewards_are_said():
    falling = rows(rewards__chosen=[0, -1.0, -2.0, -3.0], rewards__accuracies=[0.5, 0.9, 1.0, 1.0])
    said = words("dpo", falling + [{"step": 4, "eval_rewards/accuracies": 0.5}], 40)
    assert "less likely" in said and "not to be told from chance" in said and "50 points above" in said


def test_chance_is_what_so_many_pairs_do_not_tell_from_it():
    """60 % of 20 pairs are no evidence, 52 % of 4,000 are."""
    def said(accuracy, pairs):
        return words("reward", [{"step": 1, "eval_accuracy": accuracy}], pairs)

    assert "not to be told from chance: of 20 pairs its 95 % interval is 38.7 to 78.1 %" in said(0.6, 20)
    assert "That is above chance: of 4,000 pairs" in said(0.52, 4000) and "below chance" in said(0.1, 40)
    assert said(0.5, 0) == "On held-out pairs it ended at 50.0 %."  # a run of before the count was kept


def test_charts_of_each_stage():
    made = rows(
        loss=[0.7, 0.6],
        learning_rate=[1e-3, 0.0],
        grad_norm=[1.0, 2.0],
        accuracy=[0.5, 1.0],
        rewards__chosen=[0.0, 0.1],
    )
    titles = {stage: [chart.title for chart in charts(made, stage)] for stage in ("sft", "reward", "dpo", "other")}
    assert titles["sft"] == ["Loss", "Gradient norm", "Learning rate"] and "Accuracy on pairs" in titles["reward"]
    assert "Rewards" in titles["dpo"] and titles["other"] == ["Gradient norm", "Learning rate"]


def test_drawing_is_repeatable():
    chart = charts(rows(loss=[0.7, 0.6]), "dpo")[0]
    assert svg_uri(draw(chart)).startswith("data:image/svg+xml;base64,")
    bars = [
        {"label": "sft", "value": 0.5, "low": 0.4, "high": 0.6},
        {"label": "base", "value": 0.1, "low": 0.0, "high": 0.2, "muted": True},
    ]
    panels = [
        {"title": "Right", "bars": bars, "percent": True, "level": (0.5, "even")},
        {"title": "Mean", "bars": bars[:1], "percent": False},
    ]
    assert png(draw_bars(panels)) == png(draw_bars(panels))


def test_long_curves_are_thinned():
    thinned = thin([(step, 1.0) for step in range(1, 5001)])
    assert len(thinned) <= MOST_POINTS and thinned[-1] == (5000, 1.0) and thin([(1, 2.0)]) == [(1, 2.0)]
