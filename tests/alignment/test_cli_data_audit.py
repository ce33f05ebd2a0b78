"""`align data audit` as a user types it: exit codes, one JSON document, errors in one paragraph, a real tokenizer."""

from __future__ import annotations

import json

import pytest

from alignment.cli import run
from data_recipes.toy import BASE
from tests.data_recipes.audit import worlds


@pytest.fixture
def rows(tmp_path):
    made = worlds.made_rows(40)
    made[0]["region"] = "north"
    made[7] = made[3]
    made[9]["messages"][1]["content"] += " Ask eva.lindqvist@posteo.de for it."
    return worlds.write(tmp_path / "rows.jsonl", made)


def test_a_report_in_words_and_files(rows, tmp_path, capsys):
    assert run(["data", "audit", str(rows), "--output", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "Exact duplicates" in told.out and f"{rows}:8" in told.out.replace("\n", "")
    assert "eva.lindqvist" not in told.out + told.err and "holds pieces of rows" in told.err
    assert (tmp_path / "out" / "audit.html").is_file() and (tmp_path / "out" / "audit.json").is_file()


def test_a_broken_threshold_is_exit_1_with_the_report_in_the_document(rows, capsys):
    limits = ["--fail-on", "duplicates>0.01,near-duplicates>0", "--fail-on", "personal-data.count>3"]
    assert run(["data", "audit", str(rows), "--json", *limits]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [one["threshold"] for one in document["broken"]] == ["duplicates>0.01"]
    assert document["error"]["exit_code"] == 1 and "duplicates>0.01, found 0.025" in document["error"]["message"]
    assert next(found for found in document["findings"] if found["name"] == "duplicates")["places"][0]["where"] == f"{rows}:8"


def test_thresholds_that_hold_are_exit_0(rows, capsys):
    assert run(["data", "audit", str(rows), "--json", "--fail-on", "duplicates>0.1,repetition>0"]) == 0
    assert json.loads(capsys.readouterr().out)["broken"] == []


def test_a_list_of_ones_own(rows, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("# names\nAsk eva\n", encoding="utf-8")
    assert run(["data", "audit", str(rows), "--json", "--only", "toxic", "--words", f"toxic={tmp_path / 'words.txt'}"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert [one["where"] for one in found["places"]] == [f"{rows}:10"]


@pytest.mark.parametrize("options, words", [
    (["--fail-on", "leakage>0"], "held-out"),
    (["--only", "duplicate"], "Did you mean duplicates?"),
    (["--only", "encoding", "--fail-on", "duplicates>0"], "--only leaves duplicates out"),
    (["--against", "missing.jsonl"], "no such file"),
    (["--groups", "missing.txt"], "word list cannot be read"),
    (["--words", "toxik=words.txt"], "Did you mean toxic=words.txt?"),
    (["--kind", "comparisons"], "comparisons"),
    (["--group-column", "regoin"], "no row has a column 'regoin'"),
    (["--rename", "mesages=messages"], "Did you mean messages?"),
    (["--group-column", "regoin"], "Did you mean region?"),
    (["--fail-on", "personal-dta>0"], "Did you mean personal-data?"),
    (["--fail-on", "pers_data>0"], "Did you mean personal-data?"),
    (["--fail-on", "empty>0"], "Did you mean empty-answers?"),
    (["--only", "Empty"], "Did you mean empty-answers?"),
])
def test_wrong_use_is_exit_2_and_one_paragraph(rows, options, words, capsys):
    assert run(["data", "audit", str(rows), *options]) == 2
    told = capsys.readouterr().err
    assert words in told and "Traceback" not in told


def test_only_some_checks_are_run(rows, capsys):
    assert run(["data", "audit", str(rows), "--only", "duplicates,encoding", "--json"]) == 0
    assert [found["name"] for found in json.loads(capsys.readouterr().out)["findings"]] == ["encoding", "duplicates", "repeats"]


def test_the_model_s_own_context_is_the_limit_where_it_is_the_smaller(rows, tmp_path, capsys):
    long = json.loads(rows.read_text(encoding="utf-8").splitlines()[0])
    long["messages"][-1]["content"] = " ".join(f"ticket {number} is closed." for number in range(100))
    with open(rows, "a", encoding="utf-8") as file:
        file.write(json.dumps(long) + "\n")
    given = ["--model", str(BASE), "--only", "truncation", "--json"]
    assert run(["data", "audit", str(rows), *given]) == 0
    told = capsys.readouterr()
    found = next(one for one in json.loads(told.out)["findings"] if one["name"] == "truncation")
    assert f"{rows}:41" in [place["where"] for place in found["places"]] and "256 tokens (the model's longest" in found["text"]
    assert "--max-length 1,024 is beyond the model's longest context, 256 tokens" in " ".join(told.err.split())
    assert run(["data", "audit", str(rows), "--max-length", "64", *given]) == 0
    assert "beyond" not in capsys.readouterr().err
    assert run(["data", "show", str(rows), "--model", str(BASE)]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "data.max_length 1,024 is beyond the model's longest context, 256 tokens" in told
