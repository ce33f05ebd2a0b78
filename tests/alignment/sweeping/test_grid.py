"""Which runs a sweep has, what may not differ, and what they are called."""

import pytest

from alignment.config import load
from alignment.sweeping.grid import make_grid, parse_over
from data_recipes.errors import Refused

NOUNS = {"model.path": "m", "data.train": ["rows.jsonl"]}


def grid(over, seeds=2, **nouns):
    return make_grid(over, seeds, lambda sets: load("sft", None, sets, {**NOUNS, **nouns}))


def test_values_are_yaml_and_lists_are_values_too():
    assert parse_over(["training.learning_rate=1e-5, 1e-4", "adapter.targets=[q_proj,v_proj],all-linear"]) == {
        "training.learning_rate": [1e-5, 1e-4], "adapter.targets": [["q_proj", "v_proj"], "all-linear"],
    }


@pytest.mark.parametrize("texts", [["training.epochs"], ["training.epochs="], ["adapter.rank=1,2", "adapter.rank=3"]])
def test_a_key_needs_values_and_stands_once(texts):
    with pytest.raises(Refused, match="--over"):
        parse_over(texts)


def test_every_combination_with_the_first_seed_comes_first():
    found = grid({"training.learning_rate": [1e-5, 1e-4], "adapter.rank": [4, 16]})
    assert [point.name for point in found.points][:5] == [
        "learning_rate-1e-05_rank-4_seed-42", "learning_rate-1e-05_rank-16_seed-42", "learning_rate-0.0001_rank-4_seed-42",
        "learning_rate-0.0001_rank-16_seed-42", "learning_rate-1e-05_rank-4_seed-43",
    ]
    assert found.points[0].sets == (
        "data.split_seed=42", "training.learning_rate=1e-05", "adapter.rank=4", "training.seed=42"
    )
    assert found.seeds == (42, 43)


def test_the_split_stays_that_of_the_command():
    assert grid({}, **{"training.seed": 7}).split_seed == 7
    assert grid({}, **{"training.seed": 7, "data.split_seed": 3}).split_seed == 3


def test_names_are_safe_and_never_the_same_for_two_values():
    names = [s.name for s in grid({"adapter.targets": [["q_proj", "v_proj"], ["q_proj", "k_proj"], "q/v", "q.v"]}).settings]
    assert len(set(names)) == 4 and not [name for name in names if set(name) & set("/ \\:*?\"<>|[]")]
    close = [s.name for s in grid({"training.learning_rate": [1e-5, 1.0000001e-5]}).settings]
    assert len(set(close)) == 2


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"training.learning_rat": [1]}, "Did you mean training.learning_rate"),
        ({"training.learning_rate": [1e-5, "fast"]}, "--over training.learning_rate"),
        ({"adapter.rank": [4, 4.0]}, "twice"),
        ({"training.seed": [1, 2]}, "--seeds"),
        ({"data.validation_share": [0.1, 0.2]}, "other held-out rows"),
        ({"data.train": [["a.jsonl"], ["b.jsonl"]]}, "other held-out rows"),
        ({"training.max_steps": [5, 6], "training.epochs": [1, 2]}, "does not fit"),
        ({"adapter.rank": list(range(1, 502))}, "at most"),
    ],
)
def test_what_cannot_be_compared_or_is_wrong_is_refused_at_once(over, said):
    with pytest.raises(Refused, match=said):
        grid(over)


def test_one_run_is_no_sweep():
    with pytest.raises(Refused, match="no sweep"):
        grid({"adapter.rank": [4]}, seeds=1)
    with pytest.raises(Refused, match="seeds"):
        grid({"adapter.rank": [4]}, seeds=0)


def test_with_a_file_of_held_out_rows_the_training_rows_may_differ(tmp_path):
    found = grid({"data.train": ["a.jsonl", "b.jsonl"]}, **{"data.validation": "held.jsonl"})
    assert len(found.settings) == 2
