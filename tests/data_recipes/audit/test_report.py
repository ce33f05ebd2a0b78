"""Thresholds, the page and the document: nothing passes in silence, nothing in a row gets to the reader's browser."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from data_recipes.audit.inputs import allowed_phrases, evaluation_items, load
from data_recipes.audit.model import CLEAN, Context, Finding, NotDone, Place
from data_recipes.audit.page import html, write
from data_recipes.audit.run import audit
from data_recipes.audit.terminal import headline, rendered
from data_recipes.audit.thresholds import broken, parse
from data_recipes.errors import Refused
from tests.data_recipes.audit import worlds

HOSTILE = ('<script>alert(1)</script><img src=x onerror=alert(1)>"\'><svg onload=alert(1)><a href="javascript:x">&lt;b&gt;'
           "</style></title>{{ 7 * 7 }}\u202e")


@pytest.fixture
def report(tmp_path):
    rows = worlds.made_rows(30)
    rows[3]["messages"][1]["content"] = f"{HOSTILE} as an AI language model {HOSTILE}"
    rows[4]["messages"][1]["content"] = f"{HOSTILE} mail me: eva.lindqvist@posteo.de"
    rows[5] = rows[6]
    path = worlds.write(tmp_path / f"{'<b>'}rows.jsonl", rows)
    loaded = load([str(path)])
    return audit(loaded.rows, Context(refused=tuple(loaded.refused)))


class Tags(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_rows_are_hostile_input_and_the_page_holds_no_active_node(report):
    page = html(report, f"rows {HOSTILE}")
    found = Tags(page)
    assert not found.tags & {"script", "img", "a", "iframe", "object", "link", "form", "input", "foreignobject"}
    assert not {name for name in found.attributes if name.startswith("on")} | found.attributes & {"href", "src", "style"}
    assert "http:" not in page and "https:" not in page and "eva.lindqvist" not in page
    assert "{{ 7 * 7 }}" in page
    assert re.search(r"default-src 'none'; style-src 'sha256-[\w+/=]+'", page)
    assert "&lt;script&gt;alert(1)" in page and "⟨U+202E⟩" in page


def test_the_same_rows_give_the_same_bytes(report, tmp_path):
    one, other = write(report, tmp_path / "one", "rows"), write(report, tmp_path / "two", "rows")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    document = json.loads(one[1].read_text(encoding="utf-8"))
    assert document["levels"]["problem"] == len([found for found in document["findings"] if found["level"] == "problem"]) > 0
    assert headline(report).startswith("30 rows:") and rendered(report)


def found_of(name: str, count: int, total: int) -> Finding:
    return Finding(name, name, CLEAN, "", count, total, places=tuple(Place(f"f:{at}") for at in range(count)))


def test_thresholds_compare_shares_counts_and_percents():
    limits = parse(["duplicates>0.01, leakage>0", "personal-data.count>5", "truncation>=2%"])
    assert [limit.text for limit in limits] == ["duplicates>0.01", "leakage>0", "personal-data.count>5", "truncation>=0.02"]
    findings = [found_of("duplicates", 2, 100), found_of("leakage", 0, 9), found_of("personal-data", 6, 1000),
                found_of("truncation", 1, 100)]
    assert [one["threshold"] for one in broken(limits, findings, [])] == ["duplicates>0.01", "personal-data.count>5"]


@pytest.mark.parametrize("text, words", [("leakage", "no threshold"), ("dupicates>0", "Did you mean duplicates"),
                                         ("a>b", "no threshold")])
def test_thresholds_of_another_form_are_refused(text, words):
    with pytest.raises(Refused) as error:
        parse([text])
    assert words in error.value.paragraph()


def test_a_threshold_on_what_was_not_measured_is_refused():
    with pytest.raises(Refused) as error:
        broken(parse(["leakage>0"]), [], [NotDone("leakage", "Leakage", "a held-out side")])
    assert "a held-out side" in error.value.paragraph()


def test_an_allow_list_lets_a_reviewed_phrase_pass(tmp_path):
    phrase = "which of the two small islands lies behind the frozen harbour of the north"
    rows = worlds.write(tmp_path / "rows.jsonl", [{"messages": [{"role": "user", "content": f"Say {phrase}, please?"},
                                                                {"role": "assistant", "content": "The left one."}]}])
    evaluation = worlds.write(tmp_path / "eval.jsonl", [{"prompt": f"Tell me {phrase}"}])
    reviewed = tmp_path / "reviewed.txt"
    reviewed.write_text(f"# reviewed by Ada: a nursery rhyme\n{phrase}\n", encoding="utf-8")
    loaded, against = load([str(rows)]), evaluation_items([str(evaluation)])
    for allowed, count in (((), 1), (allowed_phrases([str(reviewed)]), 0)):
        found = audit(loaded.rows, Context(against=against, allowed=allowed), only=["overlap"]).findings[0]
        assert found.count == count
    assert phrase not in found.text and "1 reviewed" in found.text


def test_a_folder_with_both_sides_is_taken_as_such(tmp_path):
    rows = worlds.made_rows(40)
    worlds.write(tmp_path / "train.jsonl", rows[:30])
    worlds.write(tmp_path / "validation.jsonl", rows[28:])
    loaded = load([str(tmp_path)])
    found = audit(loaded.rows, Context(), only=["leakage"]).findings[0]
    assert (found.count, found.total) == (2, 12)


def test_a_mixture_s_repeats_are_no_duplicates_and_the_same_row_of_two_files_is_one(tmp_path):
    rows = [{**row, "origin": {"source": "a", "licence": "MIT", "row": at}} for at, row in enumerate(worlds.made_rows(4))]
    copied = {**rows[1], "origin": {"source": "b", "licence": "MIT", "row": 9}}
    held = {"train.jsonl": [*rows, rows[0], rows[0], copied], "b.jsonl": rows[2:3]}
    paths = [worlds.write(tmp_path / name, given) for name, given in held.items()]
    found, repeats = audit(load([str(path) for path in paths]).rows, Context(), only=["duplicates"]).findings
    assert [place.where for place in found.places] == [f"{paths[0]}:7", f"{paths[1]}:1"]
    assert repeats.count == 2 and repeats.level == "fact"


def test_an_evaluation_set_with_an_unreadable_row_is_refused(tmp_path):
    path = worlds.write(tmp_path / "eval.jsonl", [{"prompt": "Where?"}, b"{"])
    with pytest.raises(Refused, match="cannot be read"):
        evaluation_items([str(path)])
