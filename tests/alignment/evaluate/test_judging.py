"""A judge in `align eval`: both orders, abstentions left out, its bias said."""

import json
import re

import pytest

from alignment.cli import run
from alignment.evaluate import show
from alignment.evaluate.report import panels
from tests.data_recipes.augment.stand_ins import serving


def longer_wins(body: dict) -> str:
    first, second = re.findall(r"<\w+ answer [AB]>\n(.*?)\n</", body["messages"][0]["content"], re.DOTALL)
    return f"Longer.\n[[{'A' if len(first) > len(second) else 'B' if len(second) > len(first) else 'C'}]]"


def evaluated(world, capsys, *options, models=("sft", "dpo"), rows="prompts"):
    runs = [world.run(name) for name in models]
    code = run(["eval", *runs, "--data", str(world.files[f"held_{rows}"]), "--max-new-tokens", "12", "--temperature", "1",
                "--json", *options])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def test_a_judge_beside_a_rule(world, capsys, tmp_path):
    with serving(longer_wins) as (url, server):
        options = ("--judge", url, "--reward", "reward.rules:length_band(low=1, high=9)", "--output", str(tmp_path / "eval"))
        code, result, _ = evaluated(world, capsys, *options)
        asked = len(server.seen)
        again = evaluated(world, capsys, *options)[1]
    assert code == 0 and asked == len(server.seen) and again["arms"] == result["arms"]
    judge, found = result["judges"][0], result["arms"][1]["answers"]["judges"][url]
    assert judge["cases"] * 2 == asked and judge["kind"] == "endpoint" and judge["abstained"]["order-decides"] == 0
    assert judge["consistent"]["value"] == 1.0 and found["abstained"] == 0 and found["prompts"] == 6
    lengths = [[answer["text"] for answer in row["answers"]] for row in map(json.loads, open(tmp_path / "eval/samples.jsonl"))]
    wins = [0.5 if len(a) == len(b) else float(len(b) > len(a)) for a, b in lengths]
    assert found["win_rate"]["value"] == pytest.approx(sum(wins) / 6)
    assert result["arms"][0]["answers"]["judges"] == {} and result["rewards"][0]["kind"] == "rule"
    titles = [title for title, _, _ in show.tables(result)]
    assert any("abstentions are left out" in title for title in titles)
    assert any("the longer answer wins 100.0 %" in note for note in show.notes(result))
    assert any("by the judge" in panel["title"] for panel in panels(result))


def test_a_judge_that_likes_what_comes_first_gives_no_win_rate(world, capsys):
    with serving(lambda body: "[[A]]") as (url, _):
        code, result, said = evaluated(world, capsys, "--judge", url)
    found = result["arms"][1]["answers"]["judges"][url]
    assert code == 0 and found["win_rate"] is None and found["abstained"] + found["same"] / found["pairs"] == 1.0
    assert result["judges"][0]["first_shown"]["value"] == 1.0 and "came to no verdict" in said
    assert show.tables(result) and panels(result) == []


def test_equal_answers_are_ties_that_nobody_was_asked_for(world, capsys):
    with serving(longer_wins) as (url, server):
        code = run(["eval", f"one={world.run('sft')}", f"two={world.run('sft')}", "--data", str(world.files["held_prompts"]),
                    "--judge", url, "--max-new-tokens", "5", "--json"])
    found = json.loads(capsys.readouterr().out)["arms"][1]["answers"]["judges"][url]
    assert code == 0 and not server.seen and found["win_rate"]["value"] == 0.5 and found["same"] == 6


def test_a_run_judges_itself_and_that_is_said(world, capsys):
    code, result, said = evaluated(world, capsys, "--judge", world.run("dpo"), "--limit", "1")
    assert code == 0 and result["judges"][0]["is_arm"] == [world.run("dpo")] and "judges its own answers" in said


@pytest.mark.parametrize(("models", "rows", "said"), [
    (("sft",), "prompts", "a judge compares two models"), (("reward",), "pairs", "not by another reward or a judge"),
])
def test_wrong_use_of_a_judge(world, capsys, models, rows, said):
    code, result, _ = evaluated(world, capsys, "--judge", "http://127.0.0.1:9/v1#m", models=models, rows=rows)
    assert code == 2 and said in result["error"]["what"]


def test_a_reward_run_is_no_judge(world, capsys):
    code, result, _ = evaluated(world, capsys, "--judge", world.run("reward"))
    assert code == 2 and "gives none" in result["error"]["what"]


def test_best_of_n_by_a_reward_run(world, capsys, tmp_path):
    """`align data augment` with a run that answers and a run that scores: the chosen answer has the higher score."""
    output = tmp_path / "pairs.jsonl"
    code = run(["data", "augment", "best-of-n", "--data", str(world.files["held_prompts"]), "--generator", world.run("sft"),
                "--reward", world.run("reward"), "--output", str(output), "--set", "to=pairs", "--set", "n=6",
                "--max-new-tokens", "60", "--temperature", "2", "--json"])
    account = json.loads(capsys.readouterr().out)["account"]
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert code == 0 and account["questions"]["answered_now"] == 36 and account["rows"]["kept"] == len(rows) > 0
    assert all(row["synthetic"]["scores"][0] > row["synthetic"]["scores"][1] for row in rows)
    assert {row["synthetic"]["generator"]["kind"] for row in rows} == {"run"}
