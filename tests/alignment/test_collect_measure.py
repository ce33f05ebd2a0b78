"""`align collect stats|rank` as a user calls them."""

from __future__ import annotations

import json

import pytest

from alignment.cli import run
from data_recipes.collect import simulate
from data_recipes.collect.model import Answer, Item, ListPlan, Plan
from data_recipes.collect.store import Store


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> str:
    """Thirty items of two runs, of which one writes longer answers, and two people, of whom one likes them."""
    path = tmp_path_factory.mktemp("collected") / "votes.db"
    items = tuple(Item(({"role": "user", "content": f"question {number}"},), Answer("short", "runs/sft"),
                       Answer("much longer " * (1 + number % 3), "runs/<dpo>")) for number in range(30))
    plan = Plan((ListPlan("main", items, overlap=2, repeats=0.1),), ("ana", "ben"), acceptable=False)
    with Store.create(path, plan) as store:
        simulate.answer_all(store, {"ana": simulate.longer, "ben": simulate.at_random})
    return str(path)


def test_stats_prints_tables_and_writes_a_page(file, tmp_path, capsys):
    page = tmp_path / "stats.html"
    assert run(["collect", "stats", file, "--html", str(page)]) == 0
    said = capsys.readouterr().out
    for words in ("Krippendorff's alpha, verdict (nominal)", "left wins", "undefined: no gold items", "Who needs a talk"):
        assert words in said
    text = page.read_text("utf-8")
    assert "Krippendorff&#39;s alpha" in text and "default-src 'none'" in text and "<script" not in text


def test_stats_as_json_is_one_document_and_the_same_each_time(file, capsys):
    said = []
    for _ in range(2):
        assert run(["collect", "stats", file, "--json"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    found = json.loads(said[0])
    assert found["agreement"]["shared_items"] == 30
    assert [one["name"] for one in found["people"]] == ["ana", "ben"]


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_rank_draws_and_escapes(file, tmp_path, capsys, suffix):
    plots = [tmp_path / f"{name}{suffix}" for name in "ab"]
    page = tmp_path / "rank.html"
    for plot in plots:
        assert run(["collect", "rank", file, "--anchor", "runs/sft", "--plot", str(plot), "--html", str(page)]) == 0
    said = capsys.readouterr().out
    assert "runs/<dpo>" in said and "at equal length" in said
    assert plots[0].read_bytes()[:4] == (b"<?xm" if suffix == ".svg" else b"\x89PNG")
    assert plots[0].read_bytes() == plots[1].read_bytes()
    assert "runs/&lt;dpo&gt;" in page.read_text("utf-8")


def test_wrong_use_is_refused_in_one_paragraph(file, tmp_path, capsys):
    assert run(["collect", "rank", file, "--plot", str(tmp_path / "a.gif")]) == 2
    assert "Expected: .svg or .png" in capsys.readouterr().err
    assert run(["collect", "rank", file, "--anchor", "runs/base"]) == 2
    assert "Expected: one of: runs/<dpo>, runs/sft" in capsys.readouterr().err
    assert run(["collect", "rank", file, "--votes-of", "judges"]) == 2
    assert run(["collect", "stats", str(tmp_path / "none.db")]) == 2
    empty = tmp_path / "empty.db"
    item = Item(({"role": "user", "content": "question"},), Answer("one"), Answer("two"))
    Store.create(empty, Plan((ListPlan("main", (item,)),), ("ana",))).close()
    assert run(["collect", "rank", str(empty)]) == 2
    assert "there are no votes yet" in capsys.readouterr().err
    page = tmp_path / "empty.html"
    assert run(["collect", "stats", str(empty), "--html", str(page)]) == 0 and page.exists()  # a statement, no fault
    said = capsys.readouterr()
    assert "there are no votes yet" in said.out + said.err and "undefined" not in said.out
    assert run(["collect", "stats", str(empty), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["votes"] == {}
