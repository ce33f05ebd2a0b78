"""The checks of a style guide and of synthetic rows, on rows of which it is known what is wrong."""

import json

import pytest

from alignment.cli import run
from data_recipes.files import write_jsonl

GOOD = "Hello, your order {0} ships on the {0}th day from {1}."
PLACES = ("York", "Bath", "Leeds", "Derby", "Ripon", "Truro", "Wells")


def chat(number: int, answer: str, **extra) -> dict:
    question = f"Where is {PLACES[number % 7]} parcel {number * 37 % 101}, please?"
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **extra}


@pytest.fixture
def audited(tmp_path, capsys):
    def audited(rows: list[dict], *options: str) -> tuple[int, dict]:
        write_jsonl(tmp_path / "rows.jsonl", rows)
        (tmp_path / "guide.yaml").write_text("greeting: {any_of: [Hello]}\navoid: {words: [obviously]}\n")
        code = run(["data", "audit", str(tmp_path / "rows.jsonl"), "--json", *options])
        return code, json.loads(capsys.readouterr().out)

    return audited


def finding(report: dict, name: str) -> dict:
    return next(one for one in report["findings"] if one["name"] == name)


def test_the_style_guide_names_the_rows_that_break_it(audited, tmp_path):
    rows = [chat(number, GOOD.format(number, "York")) for number in range(12)]
    rows[3] = chat(3, "It ships today, obviously.")
    rows[11] = chat(11, "Hello, obviously it ships.")
    options = ("--style", str(tmp_path / "guide.yaml"), "--only", "style-guide")
    code, report = audited(rows, *options)
    found = finding(report, "style-guide")
    assert code == 0 and found["level"] == "look" and (found["count"], found["total"]) == (2, 12)
    said = [(place["where"].rpartition(":")[2], place["note"].partition(":")[0]) for place in found["places"]]
    assert said == [("4", "greeting"), ("4", "avoid"), ("12", "avoid")]
    assert found["bars"][0]["bars"] == [["greeting", 1.0], ["avoid", 2.0]]
    assert audited(rows, *options, "--fail-on", "style-guide>0.1")[0] == 1
    assert audited(rows, "--only", "style-guide")[1]["not_done"][0]["reason"] == "a style guide: --style FILE"


def test_pairs_whose_rejected_answer_keeps_the_guide_better(audited, tmp_path):
    pairs = [{"prompt": f"Where is {number}?", "chosen": "Soon.", "rejected": f"Hello, {number} ships."} for number in range(5)]
    found = finding(audited(pairs, "--style", str(tmp_path / "guide.yaml"), "--only", "style-guide")[1], "style-guide")
    assert found["count"] == 5 and "In 5 pairs the rejected answer keeps the guide better" in found["text"]


def test_monotonous_synthetic_rows_are_told_apart_and_varied_ones_are_not(audited):
    human = [chat(number, GOOD.format(number, PLACES[number % 7])) for number in range(30)]
    made = {"synthetic": {"recipe": "x"}}
    dull = [chat(number + 40, f"I am happy to help you with your order {number}.", **made) for number in range(30)]
    varied = [chat(number + 40, GOOD.format(number + 40, PLACES[(number + 3) % 7]), **made) for number in range(30)]
    found = finding(audited(human + dull, "--only", "diversity")[1], "diversity")
    assert found["level"] == "look" and (found["count"], found["total"]) == (30, 60) and "synthetic answers" in found["text"]
    marked = [figure["label"] for figure in found["figures"] if figure["marked"]]
    assert "answers, self-BLEU, synthetic" in marked and not any("the others" in label for label in marked)
    assert finding(audited(human + varied, "--only", "diversity")[1], "diversity")["level"] == "fact"
    assert "a column `synthetic`" in audited(human, "--only", "diversity")[1]["not_done"][0]["reason"]
