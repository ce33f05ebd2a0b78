"""`align data convert` and `align data split` as a user runs them."""

import json

import pytest

from alignment.cli import run

PAIRS = [{"prompt": f"Q{n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(40)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pairs.jsonl", PAIRS)
    return tmp_path


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def document(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def test_convert_writes_says_what_it_saw_and_prints_the_name_alone(folder, capsys):
    assert run(["data", "convert", "pairs.jsonl", "--output", "out.jsonl"]) == 0
    said = capsys.readouterr()
    assert said.out == "out.jsonl\n"
    assert "pairs.jsonl: preference (all of the first 40 rows have prompt" in said.err
    assert "40 rows as pairs, written" in said.err
    assert json.loads((folder / "out.jsonl").read_text().splitlines()[0])["prompt"] == [{"role": "user", "content": "Q0"}]


def test_convert_gives_one_document_whose_counts_add_up(folder, capsys):
    write(folder / "pairs.jsonl", [*PAIRS, {**PAIRS[0], "chosen": ""}])
    given = ["--to", "kto", "--output", "out.jsonl", "--max-rejected", "0.1", "--json"]
    assert run(["data", "convert", "pairs.jsonl", *given]) == 0
    found = document(capsys)
    ledger = found["ledger"]
    assert found["state"] == "written" and found["to"] == "kto" and found["first"]["label"] is True
    assert ledger["read"] == ledger["kept"] + sum(ledger["rejected"].values()) == 81
    assert ledger["rows"] == {"read": 41, "used": 40, "refused": 1, "passed": 0}
    assert found["rejected"] == "out.jsonl.rejected.jsonl"


@pytest.mark.parametrize(("arguments", "message"), [
    (["pairs.jsonl"], "no output was given"),
    (["pairs.jsonl", "--to", "labels", "--dry-run"], "These rows are comparisons, not labelled"),
    (["nothing.jsonl", "--dry-run"], "there is no such file"),
    (["pairs.jsonl", "--rename", "chosen", "--dry-run"], "expected: OLD=NEW"),
    (["pairs.jsonl", "--rename", "chozen=chosen", "--dry-run"], "did you mean chosen?"),
    (["pairs.jsonl", "--drop", "orgin", "--output", "x.jsonl"], "no row has the column 'orgin'"),
    (["pairs.jsonl", "--to", "pears", "--dry-run"], "'pears' is not one of"),
    (["pairs.jsonl", "--format", "preferences", "--dry-run"], "did you mean preference"),
    (["pairs.jsonl", "--output", "pairs.jsonl"], "one of the files that are read"),
])
def test_wrong_use_of_convert_is_one_paragraph_and_code_2(folder, capsys, arguments, message):
    assert run(["data", "convert", *arguments]) == 2
    said = capsys.readouterr().err
    assert message.lower() in " ".join(said.split()).lower() and said.count("error:") == 1
    assert [item.name for item in folder.iterdir()] == ["pairs.jsonl"]


def test_a_dry_run_shows_the_first_row(folder, capsys):
    assert run(["data", "convert", "pairs.jsonl", "--to", "messages", "--drop", "*", "--dry-run"]) == 0
    assert '{"messages": [{"role": "user", "content": "Q0"}' in capsys.readouterr().err


def test_the_names_of_the_command_line_are_those_of_the_floor_below():
    from alignment.cli.data_convert import RANKED, TARGETS
    from data_recipes import formats
    from data_recipes.layouts import LAYOUTS

    assert TARGETS == ("auto", *LAYOUTS) and RANKED == formats.RANKED


def test_split_writes_parts_and_a_card(folder, capsys):
    assert run(["data", "split", "pairs.jsonl", "--validation", "0.2", "--output", "out", "--json"]) == 0
    found = document(capsys)
    assert sum(found["rows"].values()) == 40 and found["groups"] == found["rows"] and found["state"] == "written"
    card = json.loads((folder / "out" / "split.json").read_text())
    assert card["rows"] == found["rows"] and card["ledger"]["sources"][0]["path"] == "pairs.jsonl"
    assert run(["data", "split", "pairs.jsonl", "--validation", "0.2", "--output", "out"]) == 0
    said = capsys.readouterr()
    assert said.out == "out\n" and "unchanged" in said.err and "validation" in said.err


@pytest.mark.parametrize(("arguments", "message"), [
    (["--validation", "0.2"], "no output was given"),
    (["--validation", "0.6", "--test", "0.5", "--dry-run"], "leave nothing to train on"),
    (["--validation", "1.5", "--dry-run"], "--validation"),
    (["--validation", "0.1", "--drop", "*", "--dry-run"], "rows stay as they are"),
    (["--validation", "0.2", "--by", "promt", "--dry-run"], "Did you mean --by prompt"),
    (["--validation", "0.2", "--rename", "chozen=better", "--dry-run"], "Did you mean chosen?"),
])
def test_wrong_use_of_split(folder, capsys, arguments, message):
    assert run(["data", "split", "pairs.jsonl", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert [item.name for item in folder.iterdir()] == ["pairs.jsonl"]
