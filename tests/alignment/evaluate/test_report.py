"""The pages: whole, escaped, and allowed to load nothing."""

import json
import re
from html.parser import HTMLParser

import pytest

from alignment.cli import run as align
from alignment.evaluate import samples
from alignment.evaluate.evaluation import Question, evaluate
from alignment.evaluate.page import cell_text, render
from alignment.evaluate.report import chain_report, panels, read_result, run_report, short_name
from alignment.generation.decoding import Decoding
from alignment.runs import Run
from data_recipes.errors import Refused


class Outside(HTMLParser):
    """Collects whatever a page could load or run."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [
            (tag, key) for key, value in attributes if key in ("src", "href") and not value.startswith("data:")
        ]
        self.found += [(tag, key) for key, _ in attributes if key.startswith("on") or key == "style"]
        self.found += [(tag, "") for _ in [0] if tag in ("script", "link", "iframe", "object")]


def check_page(text):
    parser = Outside()
    parser.feed(text)
    assert (
        parser.found == [] and "default-src 'none'" in text and re.search(r"style-src 'sha256-[A-Za-z0-9+/=]+'", text)
    )


def test_a_page_of_each_stage(world):
    for stage in ("sft", "reward", "dpo"):
        file = run_report(Run.open(world.run(stage)), samples=2)
        page = file.read_text()
        check_page(page)
        assert file == world.runs / stage / "private" / "report.html"
        assert ("pairs its 95 % interval is" in page) == (stage != "sft")
        assert page.count("data:image/svg+xml") >= 3 and 'class="trained"' in page and page.count('class="sample"') == 2
    assert "prompts from held-out rows" in page and "before: sft" in page and "after: dpo" in page


def test_rows_that_are_gone_are_said(world, tmp_path):
    import shutil

    copy = tmp_path / "runs" / "sft"
    shutil.copytree(world.run("sft"), copy)
    manifest = json.loads((copy / "align.json").read_text())
    manifest["data"]["train"]["sources"][0]["path"] = "gone.jsonl"
    (copy / "align.json").write_text(json.dumps(manifest))
    page = run_report(Run.open(copy)).read_text()
    assert "The train rows cannot be shown: the file is not there." in page


def test_what_a_run_was_tuned_from_is_the_policy_before_it_in_its_own_revision(tmp_path):
    def run(name, stage, *parents):
        made = Run(tmp_path / name, {"stage": stage, "parents": [
            {"role": "model", "stage": before, "path": f"../{parent}"} for parent, before in parents]})
        made.write(state="completed", base={"kind": "hub", "id": "owner/base", "revision": "abc"})
        (tmp_path / name / "adapter_config.json").write_text("{}")
        return made

    first = run("sft", "sft")
    name, base = samples._before(first, None)
    assert (name, base.hub_id, base.revision) == ("base", "owner/base", "abc")
    assert samples._before(run("dpo", "dpo", ("sft", "sft")), None)[1].path == first.path
    run("reward", "reward", ("sft", "sft"))
    assert samples._before(run("more", "sft", ("reward", "reward")), None)[0] == "base"  # a reward model answers nothing
    assert samples._before(run("lost", "dpo", ("gone", "sft")), None) == ("", None)


def test_a_run_that_has_just_begun_has_a_page(tmp_path):
    run = Run(tmp_path / "run", {"stage": "sft"})
    run.write(
        state="running",
        config={"data": {"train": ["x.jsonl"], "validation": None}, "training": {"seed": 1}},
        data={
            "train": {
                "read": 1,
                "kept": 1,
                "rejected": {"empty-text": 1},
                "notes": [],
                "sources": [{"path": "<b>x</b>.jsonl", "sha256": "0" * 64, "format": "messages"}],
            }
        },
    )
    page = run_report(run).read_text()
    check_page(page)
    assert "&lt;b&gt;x&lt;/b&gt;" in page and "<b>x</b>" not in page and "1 empty-text" in page


def test_the_chain(world, ui, tmp_path):
    question = Question(
        (world.run("sft"), world.run("dpo")),
        (str(world.files["held_prompts"]),),
        (world.run("reward"), "reward.rules:stop"),
        decoding=Decoding(4),
        output=tmp_path / "eval",
    )
    evaluate(question, ui)
    cards = evaluate(Question((world.run("reward"),), (str(world.files["held_pairs"]),)), ui)
    results = [read_result(tmp_path / "eval/result.json"), cards]
    titles = [panel["title"] for result in results for panel in panels(result)]
    assert "(a proxy)" in titles[0] and titles[1:] == ["Answers that are stop", "Reward model: right on held-out pairs"]
    runs = [world.runs / name for name in ("sft", "reward", "dpo")]
    made = chain_report(runs, results, tmp_path / "report", checks=[("right answers", "91 %", "at least 85 %", True)])
    page = (tmp_path / "report/report.html").read_text()
    check_page(page)
    assert (tmp_path / "report/figure.png").read_bytes().startswith(b"\x89PNG") and made["figure"].endswith(
        "figure.png"
    )
    assert (
        "at least 85 %" in page
        and "Length and stopping" in page
        and page.count('class="sample"') == 6
        and "is a proxy" in page
    )


def test_the_command(world, tmp_path, capsys):
    assert align(["report", world.run("sft"), "--samples", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"].endswith("report.html")
    assert align(["report", world.run("sft"), world.run("dpo")]) == 2
    assert "--output" in capsys.readouterr().err
    assert align(["report", world.run("sft"), world.run("dpo"), "--output", str(tmp_path / "two")]) == 0
    assert not (tmp_path / "two/figure.png").exists() and (tmp_path / "two/report.html").exists()


def test_a_result_that_is_not_there_or_is_none(tmp_path):
    with pytest.raises(Refused, match="--result"):
        read_result(tmp_path / "none.json")
    for text, says in (('{"a": 1}\n{"a": 2}\n', "no JSON document"), ('{"stage": "sft"}', "no result"), ("[]", "no result")):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(Refused, match=f"other.json: this is {says}"):
            read_result(tmp_path / "other.json")


def test_text_is_escaped_everywhere():
    sides = [{"name": "<i>", "text": "</div><script>alert(1)</script>", "note": "&"}]
    page = render(
        "page_chain.jinja",
        title="<title>",
        subtitle="'\"",
        tables=[],
        figure=None,
        planes=[],
        checks=None,
        notes=["<hr>"],
        runs=[],
        warnings=["<u>"],
        samples=[{"prompt": [{"role": "user", "content": "<script>"}], "sides": sides}],
    )
    check_page(page)
    assert "<script>" not in page and "<hr>" not in page and "<u>" not in page


def test_cells_and_names():
    assert [cell_text(value) for value in (None, True, 0.123456, 12345, [1, "a"], [])] == [
        "-",
        "yes",
        "0.1235",
        "12,345",
        "1, a",
        "-",
    ]
    assert (
        short_name("reward.rules:length_band(low=1, unit='a:b')") == "length_band"
        and short_name("runs/reward") == "reward"
    )
