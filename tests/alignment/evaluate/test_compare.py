import numpy as np
import pytest

from alignment.evaluate import plane, show
from alignment.evaluate.compare import Answers, against, by_prompt, describe, pooled, spread, ties, wins_by_prompt
from alignment.evaluate.figures import draw_bars
from alignment.evaluate.judging import against as judged
from reward.judge import Verdict


def answers(scores, lengths=None, stopped=None):
    scores = np.array(scores, dtype=float)
    lengths = np.ones_like(scores) if lengths is None else np.array(lengths, dtype=float)
    return Answers(
        lengths, lengths / 4, np.ones_like(scores) if stopped is None else np.array(stopped), {"rule": scores}
    )


def test_wins_by_hand():
    # Two prompts; ours has two seeds of one sample each, theirs one.
    ours, theirs = np.array([[[1.0], [0.0]], [[2.0], [5.0]]]), np.array([[[1.0], [3.0]]])
    assert wins_by_prompt(ours, theirs).tolist() == [0.75, 0.5]
    assert ties(ours, theirs) == 0.25


def test_a_policy_against_itself_is_even():
    same = answers(np.arange(12.0).reshape(2, 3, 2))
    found = against(same, same, "rule", seed=0)
    assert found["win_rate"]["value"] == 0.5 and found["difference"]["value"] == 0
    assert found["length_controlled"]["value"] == pytest.approx(0.5)


def test_win_rate_is_over_prompts():
    rng = np.random.default_rng(0)
    ours, theirs = answers(rng.normal(1, 1, size=(1, 50, 4))), answers(rng.normal(size=(1, 50, 4)))
    found = against(ours, theirs, "rule", seed=0)
    assert found["win_rate"]["n"] == 50 and found["win_rate"]["low"] > 0.5 and found["difference"]["low"] > 0
    assert against(theirs, ours, "rule", seed=0)["win_rate"]["value"] == pytest.approx(1 - found["win_rate"]["value"])


def test_rows_of_one_prompt_count_as_one():
    """Three pairs of one prompt and one of another: the win rate is a half, of two prompts and not of four."""
    ours, theirs = answers([[[1.0], [1.0], [1.0], [0.0]]]), answers([[[0.0], [0.0], [0.0], [1.0]]])
    assert against(ours, theirs, "rule", seed=0)["win_rate"]["n"] == 4
    for side in (ours, theirs):
        side.prompts = np.array([0, 0, 0, 1])
    found = against(ours, theirs, "rule", seed=0)
    assert (found["win_rate"]["value"], found["win_rate"]["n"], found["difference"]["n"]) == (0.5, 2, 2)
    assert found["difference"]["value"] == 0 and found["length_controlled"]["n"] == 2
    assert describe(ours, seed=0)["rewards"]["rule"]["mean"]["value"] == 0.5
    assert pooled(np.array([1.0, 2.0, 6.0]), np.array([1, 0, 1])).tolist() == [2.0, 3.5]


def test_a_judges_rows_of_one_prompt_count_as_one():
    won, lost, none = (Verdict(winner, "", None, None) for winner in ("first", "second", None))
    ours, theirs = answers([[[1.0], [1.0], [1.0], [0.0]]]), answers([[[0.0], [0.0], [0.0], [1.0]]])
    for side in (ours, theirs):
        side.prompts = np.array([2, 2, 0, 1])
    found = judged([[won], [won], [none], [lost]], ours, theirs, seed=0)
    assert (found["win_rate"]["value"], found["win_rate"]["n"], found["prompts"], found["pairs"]) == (0.5, 2, 2, 4)


def test_all_won_is_no_certainty():
    found = against(answers(np.ones((1, 40, 1))), answers(np.zeros((1, 40, 1))), "rule", seed=0)
    assert found["win_rate"]["value"] == 1 and found["win_rate"]["low"] == pytest.approx(0.912, abs=0.001)


def test_all_tied_is_no_certainty_either():
    """No draw of forty ties differs from another, and [50.0, 50.0] would look like a rate that is known for sure."""
    same = answers(np.ones((1, 40, 1)) / 3)
    found = {**against(same, same, "rule", seed=0), **describe(same, seed=0)["rewards"]["rule"]}
    arms = [{"name": name, "answers": {"rewards": {"rule": found}}} for name in ("sft", "dpo")]
    _, _, rows = show.reward_table({"arms": arms, "baseline": "sft"}, {"name": "rule", "kind": "rule", "proxy": False})
    tied = "50.0 % (all 40 tied)"
    assert rows[1] == ("dpo", "0.333 (all 40 alike)", "+0.000 (all 40 alike)", tied, tied, "100 %", "1")
    assert found["win_rate"]["n"] == 40 and found["win_rate"]["low"] == 0.5  # the JSON has the count, and stays as it was
    bars = [{"label": "dpo", **found["win_rate"]}, {"label": "ppo", "value": 0.5, "low": 0.4, "high": 0.6}]
    axes = draw_bars([{"title": "Wins", "bars": bars, "percent": True}]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["50.0 %\n(all alike)", "50.0 %"]


def test_a_rule_that_every_answer_keeps_is_no_certainty_in_the_plane():
    entry = {"name": "dpo"}
    plane.describe([entry], {"dpo": np.zeros((1, 40))}, {"dpo": answers(np.ones((1, 40, 1)))}, "sft", 0)
    assert entry["plane"]["rewards"]["rule"]["low"] == pytest.approx(0.912, abs=0.001)


def test_winning_by_length_alone_is_seen():
    rng = np.random.default_rng(1)
    ours, theirs = rng.normal(30, 25, size=(1, 400, 1)), rng.normal(0, 25, size=(1, 400, 1))
    found = against(answers(ours, ours + 100), answers(theirs, theirs + 100), "rule", seed=0)
    assert found["win_rate"]["low"] > 0.7 and found["length_controlled"]["value"] < 0.6
    assert not found["length_controlled_extrapolates"]


def test_describe_and_spread():
    found = describe(answers([[[1.0], [0.0]], [[1.0], [1.0]]], stopped=[[[1], [1]], [[0], [1]]]), seed=0)
    assert (
        found["answers"] == 4
        and found["stop_rate"]["value"] == 0.75
        and found["rewards"]["rule"]["mean"]["value"] == 0.75
    )
    assert (
        found["rewards"]["rule"]["yes_or_no"]
        and not describe(answers([[[0.5]]]), seed=0)["rewards"]["rule"]["yes_or_no"]
    )
    assert found["rewards"]["rule"]["spread"]["members"] == [0.5, 1.0]
    assert spread([3.0]) is None and spread([1.0, 3.0])["std"] == pytest.approx(2**0.5)


def test_by_prompt_averages_members_and_samples():
    assert by_prompt(np.arange(8).reshape(2, 2, 2)).tolist() == [2.5, 4.5]
