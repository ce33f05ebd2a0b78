"""`align collect` as a user types it: what it says, what it refuses, and that it needs no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from alignment.cli import run
from data_recipes.collect.store import Store
from tests.data_recipes.collect.made import Voter

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"question {at}", "responses": [f"first {at}", f"second {at}"], "sources": ["a", "b"]}
            for at in range(6)]
    Path("items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    gold = {"prompt": "gold?", "responses": ["yes", "no"], "expected": "first", "why": "Since."}
    Path("gold.jsonl").write_text(json.dumps(gold) + "\n", encoding="utf-8")
    Path("guide.md").write_text("# Be fair\n", encoding="utf-8")
    return tmp_path


def align(capsys, *arguments: str) -> tuple[int, dict, str]:
    """Exit code, JSON document and what was said."""
    code = run(["collect", *arguments, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


INIT = ("init", "votes.db", "--items", "items.jsonl", "--guidelines", "guide.md", "--annotators", "ana,ben", "--overlap", "2")


def test_init_says_what_it_asks_for_before_it_makes_anything(files, capsys):
    code, document, said = align(capsys, *INIT, "--gold", "gold.jsonl", "--training", "gold.jsonl", "--dry-run")
    assert code == 0 and document["state"] == "dry-run" and not Path("votes.db").exists()
    assert "6 pairs of 6 prompts, each for 2 people: 12 votes; beside them 1 item of gold each" in said
    assert "2 people: 8 votes and about 2 minutes each, 11.5 s a vote" in said
    assert (document["asked"]["votes"], document["asked"]["votes_each"]) == (12, 8)
    assert align(capsys, *INIT)[1]["state"] == "made"
    code, document, _ = align(capsys, *INIT)
    assert code == 2 and "there already" in document["error"]["message"]


def test_a_whole_collection_by_commands(files, capsys):
    align(capsys, *INIT)
    code, document, said = align(capsys, "invite", "votes.db", "cleo", "ana")
    assert code == 0 and set(document["links"]) == {"cleo", "ana"} and document["links"]["ana"] not in said
    with Store.open("votes.db") as store:
        voters = [Voter(store, person.id) for person in store.annotators() if person.asked]
        assert [person.name for person in store.annotators()] == ["ana", "ben", "lead", "cleo"]
        for _ in range(3):
            for voter in voters:
                voter.for_text("first")
    assert align(capsys, "revoke", "votes.db", "cleo")[1] == {"revoked": "cleo", "stuck": []}
    Path("more.jsonl").write_text('{"prompt": "new", "responses": ["x", "y", "z"]}\n', encoding="utf-8")
    document = align(capsys, "add", "votes.db", "more.jsonl", "--list", "two", "--pairs", "ring")[1]
    assert (document["added"], document["known"], document["state"]) == (3, 0, "added")
    assert align(capsys, "guide", "votes.db", "more.jsonl")[1]["version"] == 2
    assert align(capsys, "backup", "votes.db", "copy.db")[1]["events"] == 9
    assert align(capsys, "export", "votes.db", "--to", "dpo", "--output", "pairs.jsonl")[1]["rows"] > 3
    code, document, _ = align(capsys, "erase", "votes.db", "cleo")  # a test has no terminal
    assert code == 2 and "--yes" in document["error"]["message"]
    assert align(capsys, "erase", "votes.db", "cleo", "--yes")[1]["votes_kept"] == 3
    assert [row["open"] for row in align(capsys, "close", "votes.db", "--list", "two")[1]["lists"]] == [False]
    assert align(capsys, "salvage", "votes.db", "--output", "saved.db")[1]["lost"] == []


def test_other_tools_items_are_written_as_ours(files, capsys):
    Path("ls.json").write_text('[{"id": 1, "data": {"prompt": "q", "answer1": "a", "answer2": "b"}}]', encoding="utf-8")
    code, document, _ = align(capsys, "import", "ls.json", "--output", "ours.jsonl")
    assert code == 0 and document["formats"] == {"label-studio": 1}
    assert json.loads(Path("ours.jsonl").read_text(encoding="utf-8")) == {"prompt": "q", "responses": ["a", "b"], "id": 1}
    assert align(capsys, "import", "ls.json", "--output", "ours.jsonl")[0] == 2
    assert align(capsys, "import", "ls.json")[1]["output"] == "ls.items.jsonl" and Path("ls.items.jsonl").exists()


@pytest.mark.parametrize("arguments, words", [
    (("init", "v.db", "--items", "none.jsonl"), "none.jsonl"),
    (("init", "v.db", "--items", "guide.md"), "does not say what it holds"),
    (("init", "v.db", "--items", "items.jsonl", "--overlap", "2"), "--overlap"),
    (("init", "v.db", "--items", "items.jsonl", "--annotators", "a,a"), "twice"),
    (("init", "v.db", "--items", "items.jsonl", "--choose", "gap"), "scores"),
    (("init", "v.db", "--items", "items.jsonl", "--gold", "items.jsonl"), "expected"),
    (("export", "none.db", "--to", "dpo", "--output", "x"), "no such collection"),
    (("export", "items.jsonl", "--to", "dpo", "--output", "x"), "no collection, or a damaged one"),
    (("invite", "none.db", "ana"), "align collect init"),
])
def test_wrong_use_is_refused_in_one_paragraph_and_leaves_no_file(files, capsys, arguments, words):
    before = sorted(path.name for path in files.iterdir())
    code, document, said = align(capsys, *arguments)
    assert code == 2 and words in document["error"]["message"], document
    assert said.count("\n") <= 3 and sorted(path.name for path in files.iterdir()) == before


def test_an_export_without_votes_or_with_mixed_guidelines_says_so(files, capsys):
    align(capsys, *INIT)
    code, document, _ = align(capsys, "export", "votes.db", "--to", "dpo", "--output", "pairs.jsonl")
    assert code == 2 and "no vote gives a row" in document["error"]["message"]
    with Store.open("votes.db") as store:
        Voter(store, 1).vote()
        store.add_guidelines("# Be kind")
        task = store.claim(1)
        from data_recipes.collect.model import Entry

        store.record(1, Entry("x", "vote", task.item, {"choice": "left"}, task.lease, 1, 2))
    code, document, said = align(capsys, "export", "votes.db", "--to", "dpo", "--output", "pairs.jsonl")
    assert code == 0 and "several versions of the guidelines" in said and len(document["guidelines"]) == 2


LIGHT = """
import sys
from alignment.cli import run
for arguments in (["collect", "--help"], ["collect", "init", "v.db", "--items", "items.jsonl"],
                  ["collect", "backup", "v.db", "b.db"], ["collect", "export", "v.db", "--to", "csv", "--output", "e.csv"]):
    assert run(arguments) == 0, arguments
import data_recipes.collect.store, data_recipes.collect.export, data_recipes.collect.salvage
heavy = {"torch", "transformers", "datasets", "trl", "peft", "pyarrow", "pandas", "sklearn", "scipy", "matplotlib"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""


def test_collecting_needs_no_torch(files):
    paths = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, env=paths)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
