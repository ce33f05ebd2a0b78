"""A build as a whole: the same bytes, what is reused and why, kills, the ledger, the lock, what is refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_recipes import files
from data_recipes.building import engine
from data_recipes.building.engine import build
from data_recipes.building.recipe import load
from data_recipes.building.trace import story, trace
from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from data_recipes.readers import read
from tests.data_recipes.building.made import built, contents, fates, lines, outputs, write_recipe

ROOT = Path(__file__).parents[3]
STEPS = ["normalise", {"filter": {"min_answer_words": 2, "quality": ["refusal"]}}, "redact", "dedup",
         {"near_dedup": {"threshold": 0.6}}, {"cap": {"rows": 2}}, {"split": {"validation": 0.2, "near_prompts": 0.8}},
         {"mix": {"rows": 60, "repeats": 3}}, "shuffle"]


def drawn(count: int, seed: int = 0) -> list[dict]:
    """Rows with every fate: broken ones, equal and near ones, personal data, refusals."""
    rng = random.Random(seed)
    words = [first + last for first in "ka lo mi ne pu ra so ti".split() for last in "ban der fil gor hin jal".split()]
    rows = []
    for number in range(count):
        prompt, answer = (" ".join(rng.choices(words, k=size)) for size in (12, 20))
        odd = {0: "no", 1: f"Write to a{number}@web.de, {answer}", 2: answer + "\u200b", 3: "As an AI language model, I cannot"}
        rows.append({"prompt": f"{prompt}?", "completion": odd.get(number % 9, answer)})
        if number % 7 == 0 and number:
            rows.append(rng.choice(rows))
        if number % 11 == 0 and number:
            rows.append({**rows[-1], "completion": rows[-1]["completion"] + " indeed"})
    return rows


def test_two_builds_have_the_same_bytes_and_the_ledger_accounts_for_every_row(tmp_path):
    given = [*drawn(80), {"prompt": "only"}]
    recipe = {"sources": {"made": {"path": str(tmp_path / "made.jsonl"), "licence": "MIT", "max_rejected": 0.1}}}
    card = built(tmp_path, given, STEPS, **recipe)
    first = contents(tmp_path / "out")
    again = build(load(tmp_path / "recipe.yaml"), tmp_path / "again", say=lambda line: None)
    assert contents(tmp_path / "again") == first and again["made"][0]["state"] == "made"
    ledger = fates(tmp_path)
    assert [entry["row"] for entry in ledger] == list(range(len(given))) == list(range(card["rows"]["entries"]))
    assert {entry["fate"] for entry in ledger} == {"kept", "merged", "dropped"}
    assert {entry["reason"] for entry in ledger if entry["fate"] != "kept"} >= {
        "missing-field", "too-short", "refusal", "duplicate", "near-duplicate"}
    check_ledger(tmp_path, ledger)


def check_ledger(folder: Path, ledger: list[dict]) -> None:
    """Every line of every output is claimed by one entry, with its hash; every merged row names one that stood for it."""
    claimed = {line: entry["sha256"] for entry in ledger if entry["fate"] == "kept" for line in entry["lines"]}
    for name in outputs(folder):
        for number, text in enumerate((folder / "out" / name).read_text(encoding="utf-8").splitlines(), 1):
            assert claimed.pop(f"{name}:{number}") == files.sha256_text(text)
    assert not claimed
    assert all(ledger[entry["into"]]["row"] == entry["into"] for entry in ledger if entry["fate"] == "merged")


def test_outputs_are_read_by_the_readers_of_their_kind(tmp_path):
    pairs = [{"prompt": f"Question {n}?", "chosen": f"Good {n}.", "rejected": f"Bad {n}.", "margin": n, "note": "x"}
             for n in range(9)]
    built(tmp_path, pairs, ["shuffle"], kind="comparisons")
    back = read(tmp_path / "out" / "train.jsonl", "comparisons")
    assert sorted(record.margin for record in back) == list(range(9)) and back.records[0].extra["note"] == "x"
    for kind, rows in (("prompts", [{"prompt": "Where?"}]), ("demonstrations", [{"text": "Once upon a time."}]),
                       ("unpaired", [{"prompt": "Where?", "completion": "Here.", "label": True}]),
                       ("labelled", [{"text": "Good.", "label": "pos"}])):
        built(tmp_path, rows, ["normalise", "dedup", "near_dedup"], kind=kind)
        assert len(read(tmp_path / "out" / "train.jsonl", kind)) == 1


def test_several_processes_change_no_byte(tmp_path, monkeypatch):
    built(tmp_path, drawn(60), STEPS)
    monkeypatch.setattr("data_recipes.building.workers.FEW", 1)
    monkeypatch.setattr("data_recipes.building.workers.CHUNK", 7)
    build(load(tmp_path / "recipe.yaml"), tmp_path / "two", workers=2, say=lambda line: None)
    assert contents(tmp_path / "two") == contents(tmp_path / "out")


# ----------------------------------------------------------------------------------------------------- reuse and kills


def states(card: dict) -> dict[str, tuple[str, str]]:
    return {line["step"]: (line["state"], line["why"]) for line in card["made"]}


def test_what_is_unchanged_is_reused_with_the_reason(tmp_path):
    steps = ["normalise", {"filter": {"min_words": 2}}, "dedup", "shuffle"]
    given = drawn(30)
    built(tmp_path, given, steps)
    assert {state for state, _ in states(built(tmp_path, given, steps)).values()} == {"reused"}
    steps[1] = {"filter": {"min_words": 3}}
    found = states(built(tmp_path, given, steps))
    assert found["normalise"] == ("reused", "same settings, code and input")
    assert found["filter"] == ("made", "other settings")
    assert found["dedup"][0] == found["shuffle"][0] == "reused"  # the other setting dropped the same rows
    assert found["deliver"][0] == "made"  # the recipe and the card say another number
    found = states(built(tmp_path, given[:-1], steps))
    assert found["read"] == ("made", "a file it reads changed") and found["normalise"] == ("made", "its input changed")


def test_a_damaged_stage_is_made_again(tmp_path):
    built(tmp_path, drawn(20), STEPS)
    first = contents(tmp_path / "out")
    (table,) = (tmp_path / "out" / ".stages").glob("dedup-*/table.npy")
    table.write_bytes(table.read_bytes()[:-1])
    assert states(built(tmp_path, drawn(20), STEPS))["dedup"] == ("made", "its files were damaged")
    assert contents(tmp_path / "out") == first


def test_prune_keeps_what_a_reused_stage_needs(tmp_path):
    given = [{"prompt": f"Question {n}?", "completion": "Yes, it is."} for n in range(9)]
    built(tmp_path, given, [{"normalise": {"unicode": "NFC"}}, "dedup"])
    recipe = load(write_recipe(tmp_path, [{"normalise": {"unicode": "NFKC"}}, "dedup"]))  # the same lines from another stage
    card = build(recipe, tmp_path / "out", prune=True, say=lambda line: None)
    assert states(card)["dedup"][0] == "reused" and card["unused_stages"] == 0
    assert states(build(recipe, tmp_path / "out", say=lambda line: None))["dedup"][0] == "reused"


def test_a_build_goes_on_after_it_was_stopped_at_any_stage(tmp_path):
    built(tmp_path, drawn(40), STEPS)
    recipe, wanted = load(tmp_path / "recipe.yaml"), contents(tmp_path / "out")
    for stop in range(len(STEPS) + 1):
        with pytest.raises(KeyboardInterrupt):
            build(recipe, tmp_path / "stopped", say=stopping(stop))
        assert not (tmp_path / "stopped" / "card.json").exists()
    (tmp_path / "stopped" / ".stages" / ".making-scratch").mkdir()
    card = build(recipe, tmp_path / "stopped", say=lambda line: None)
    assert contents(tmp_path / "stopped") == wanted
    assert [line["state"] for line in card["made"]][:-1] == ["reused"] * (len(STEPS) + 1)
    assert not list((tmp_path / "stopped" / ".stages").glob(".making-*"))


def stopping(after: int):
    """A `say` that stops the build once a stage more than `after` was told of."""
    told = []

    def say(line: str) -> None:
        told.append(line)
        if len(told) > after:
            raise KeyboardInterrupt

    return say


def test_a_half_delivered_folder_is_delivered_again(tmp_path):
    built(tmp_path, drawn(20), STEPS)
    wanted = contents(tmp_path / "out")
    for gone in (("card.json",), ("card.json", "card.md", "train.jsonl"), ("validation.jsonl",)):
        for name in gone:
            (tmp_path / "out" / name).unlink()
        assert states(built(tmp_path, drawn(20), STEPS))["deliver"][0] == "made"
        assert contents(tmp_path / "out") == wanted


@pytest.mark.slow
def test_kill_nine_anywhere_and_the_same_command_gives_the_same_bytes(tmp_path):
    write_jsonl(tmp_path / "made.jsonl", drawn(5000))
    write_recipe(tmp_path, STEPS)
    command = [sys.executable, "-m", "alignment", "data", "build", str(tmp_path / "recipe.yaml"), "--workers", "2", "--output"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    rng, killed = random.Random(0), tmp_path / "killed"
    for stages in range(len(STEPS) + 2):  # so many are there when it is killed, and it is within the next or after the last
        child = subprocess.Popen([*command, str(killed)], env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while child.poll() is None and sum(1 for _ in killed.glob(".stages/*-*/stage.json")) < stages:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        child.send_signal(signal.SIGKILL)
        child.wait()
    subprocess.run([*command, str(killed)], check=True, env=environment, capture_output=True)
    assert contents(killed) == contents(tmp_path / "whole")


# ----------------------------------------------------------------------------------------------------- lock and refusals


def test_the_locked_recipe_builds_the_same_files_and_refuses_others(tmp_path):
    built(tmp_path, drawn(30), STEPS)
    lock = load(tmp_path / "out" / "recipe.lock.yaml")
    build(lock, tmp_path / "locked", say=lambda line: None)
    for name in ("train.jsonl", "validation.jsonl", "ledger.jsonl", "recipe.lock.yaml"):
        assert (tmp_path / "locked" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    write_jsonl(tmp_path / "made.jsonl", drawn(31))
    with pytest.raises(Refused, match="not the one the recipe was locked with"):
        build(lock, tmp_path / "third", say=lambda line: None)


def test_a_dry_run_writes_nothing_and_says_what_would_be_reused(tmp_path):
    write_jsonl(tmp_path / "made.jsonl", drawn(9))
    recipe = load(write_recipe(tmp_path, ["dedup"]))
    found = build(recipe, tmp_path / "out", dry_run=True, say=lambda line: None)
    assert [line["state"] for line in found["made"]] == ["to make", "to make"] and not (tmp_path / "out").exists()
    build(recipe, tmp_path / "out", say=lambda line: None)
    found = build(recipe, tmp_path / "out", dry_run=True, say=lambda line: None)
    assert [line["state"] for line in found["made"]] == ["reused", "reused"]


def test_nobody_s_files_are_overwritten(tmp_path):
    given = drawn(9)
    write_jsonl(tmp_path / "out" / "train.jsonl", [])
    with pytest.raises(Refused, match="that no build wrote"):
        built(tmp_path, given, ["dedup"])
    (tmp_path / "out" / "train.jsonl").unlink()
    built(tmp_path, given, ["dedup"])
    with open(tmp_path / "out" / "train.jsonl", "a") as file:
        file.write("{}\n")
    with pytest.raises(Refused, match="changed since it was built"):
        built(tmp_path, given, ["dedup"])


def test_a_second_build_of_a_folder_is_kept_out(tmp_path):
    write_jsonl(tmp_path / "made.jsonl", drawn(9))
    with engine._lock(tmp_path / "out" / ".stages"), pytest.raises(Refused, match="another build"):
        build(load(write_recipe(tmp_path, [])), tmp_path / "out", say=lambda line: None)


@pytest.mark.parametrize("change, said", [
    ({"sources": {"a": {"path": "no.jsonl", "licence": "MIT"}}}, "there is no such file: no.jsonl, for the source 'a'"),
    ({"sources": {"a": {"path": "no.jsonl", "licence": "MIT"}}}, "recipe.yaml:5"),
    ({"sources": {"a": {"path": "made.jsonl", "licence": "MIT"}}, "steps": [{"shuffle": 3}]}, "its name alone"),
    ({"sources": {"a": {"path": "owner/name", "licence": "MIT"}}}, "names a hub data set"),
    ({"sources": {"a": {"path": "x.jsonl"}}}, "'licence' is missing"),
    ({"sources": {"a": {"path": "x.jsonl", "licence": " "}}}, "licence: none stated"),
    ({"sources": {"a": {"path": "x.jsonl", "licence": "MIT", "wieght": 2}}}, "Did you mean weight?"),
    ({"sources": {"a": {"path": "x.jsonl", "licence": "MIT", "weight": 0}}}, "greater than 0"),
    ({"sources": {}}, "one source at least"),
    ({"kind": "pairs"}, "'comparisons'"),
    ({"outputs": {"validation": "v.jsonl"}}, "there is no key 'outputs.validation'"),
    ({"outputs": {"train": "../t.jsonl"}}, "without a folder"),
    ({"outputs": {"train": "ledger.jsonl"}}, "without a folder"),
    ({"seed": -1}, "greater than or equal to 0"),
    ({"steps": [{"decontaminate": {"against": ["no.jsonl"]}}]}, "there is no such file"),
    ({"steps": [{"filter": {"min_words": 1000}}]}, "no row is left after the step 'filter'"),
    ({"steps": [{"cap": {"rows": 1, "per": "colour"}}]}, "no row has a column 'colour'"),
])
def test_what_is_wrong_with_a_recipe_is_said(change, said, tmp_path):
    write_jsonl(tmp_path / "made.jsonl", drawn(5))
    steps = change.pop("steps", [])
    path = write_recipe(tmp_path, steps, **{key: value for key, value in change.items() if key == "sources" and value})
    text = path.read_text(encoding="utf-8")
    for key, value in change.items():
        if key != "sources" or not value:
            text = "\n".join(line for line in text.splitlines() if not line.startswith(f"{key}:") and (
                key != "sources" or not line.startswith(" "))) + f"\n{key}: {json.dumps(value)}\n"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(Refused) as error:
        build(load(path), tmp_path / "out", say=lambda line: None)
    assert said in str(error.value)


def test_too_many_bad_rows_are_refused_with_their_places(tmp_path):
    with pytest.raises(Refused) as error:
        built(tmp_path, [*drawn(9), {"prompt": "only"}, {"prompt": "", "completion": "x"}], [])
    assert "made.jsonl:12" in str(error.value) and "max_rejected: 0.167" in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given, format", [("question", "auto"), ("prompt", "auto"), ("prompt", "prompt-completion")])
def test_a_column_to_rename_that_no_row_of_the_source_has_is_refused(given, format, tmp_path):
    rows = [{given: "Where is it?", "completion": "It is on the shelf."}]
    sources = {"a": {"path": "made.jsonl", "licence": "MIT", "format": format, "rename": {"qestion": "prompt"}}}
    with pytest.raises(Refused) as error:
        built(tmp_path, rows, [], sources=sources)
    said = str(error.value)
    assert "no row has the column 'qestion'" in said and "recipe.yaml, sources.a.rename" in said
    assert ("Did you mean question?" in said) is (given == "question")


def test_paths_lead_from_the_recipe_and_only_then_from_the_working_directory(tmp_path, monkeypatch):
    for name, word in (("team", "ours"), ("here", "theirs")):
        write_jsonl(tmp_path / name / "train.jsonl", [{"prompt": "Whose?", "completion": f"It is {word}."}])
    write_jsonl(tmp_path / "here" / "held.jsonl", [{"prompt": "What else?"}])
    source = {"a": {"path": "train.jsonl", "licence": "MIT"}}
    path = write_recipe(tmp_path / "team", [{"decontaminate": {"against": ["held.jsonl"]}}], sources=source)
    monkeypatch.chdir(tmp_path / "here")
    said = []
    build(load(path), tmp_path / "out", say=said.append)
    assert "It is ours." in (tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8")
    assert said[0] == "not beside the recipe, so taken from the working directory: held.jsonl"
    build(load(tmp_path / "out" / "recipe.lock.yaml"), tmp_path / "again", say=said.append)
    for name in ("train.jsonl", "ledger.jsonl", "recipe.lock.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    write_recipe(tmp_path / "here", [], sources={"a": {"path": "train.jsonl", "licence": "MIT"}})
    build(load(Path("recipe.yaml")), Path("made"), say=said.append)
    build(load(Path("made/recipe.lock.yaml")), Path("made again"), say=said.append)  # not from made/train.jsonl
    assert Path("made again/train.jsonl").read_bytes() == Path("made/train.jsonl").read_bytes()
    write_jsonl(tmp_path / "team" / "train.jsonl", [{"prompt": "Whose?", "completion": "Nobody's."}])
    with pytest.raises(Refused, match="not the one the recipe was locked with"):
        build(load(tmp_path / "out" / "recipe.lock.yaml"), tmp_path / "third", say=said.append)


# ------------------------------------------------------------------------------------------------------------------ trace


def test_a_row_s_story(tmp_path):
    mail = {"prompt": "How do I reach you?", "completion": "Write to eva.lind@web.de today. \u00a0"}
    given = [mail, {**mail, "prompt": "how do I  reach you?"}, {"prompt": "Who are you?", "completion": "no"}, *drawn(9)[3:]]
    built(tmp_path, given, ["normalise", {"filter": {"min_answer_words": 2}}, "redact", "dedup"])
    found = trace(tmp_path / "out", "made.jsonl:1")
    assert [stage["step"] for stage in found["stages"]] == ["normalise", "redact"] and found["entry"]["fate"] == "kept"
    assert found["stages"][1]["row"]["messages"][-1]["content"] == "Write to [mail] today."
    assert found["source"]["row"] == mail and found["became"]["origin"] == {"source": "made", "licence": "CC0-1.0", "row": 0}
    assert trace(tmp_path / "out", "train.jsonl:1") == found == trace(tmp_path / "out", "0")
    merged = "\n".join(story(trace(tmp_path / "out", "1")))
    assert "dedup: merged (duplicate: equal)" in merged and "in its place stands row 0" in merged
    assert "filter: dropped (too-short" in "\n".join(story(trace(tmp_path / "out", "2")))
    (tmp_path / "made.jsonl").unlink()
    assert "not there or was changed" in story(trace(tmp_path / "out", "2"))[1]
    for wrong in ("999", "x", "made.jsonl:999", "train.jsonl:999"):
        with pytest.raises(Refused):
            trace(tmp_path / "out", wrong)


def test_rows_that_give_several_or_are_made_of_several(tmp_path):
    ranked = [{"prompt": f"Question {n}?", "answers": [{"answer": f"{word} {n}", "rank": rank} for rank, word in
                                                      enumerate(("good", "fair", "bad"), 1)]} for n in range(3)]
    built(tmp_path, ranked, [], kind="comparisons")
    entries = fates(tmp_path)
    assert len(entries) == 9 and entries[0]["where"].endswith("made.jsonl:1#1")
    assert trace(tmp_path / "out", "made.jsonl:2")["source"]["row"] == ranked[1]


def test_the_command_line(tmp_path, capsys, monkeypatch):
    from alignment.cli import run
    from data_recipes.toy import write

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(write, "SIZES", {name: count // 20 for name, count in write.SIZES.items()})
    write.write(tmp_path / "data" / "toy", 0)
    recipe = str(ROOT / "configs" / "recipes" / "support.yaml")
    assert run(["data", "build", recipe, "--output", "data/support", "--workers", "1", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["rows"]["lines"]["train.jsonl"] > 200 and card["rows"]["lines"]["validation.jsonl"] > 0
    assert card["steps"][-2]["facts"]["mixture"]["reviewed"]["realised"] > 0
    gate = "leakage>0,near-leakage>0,duplicates>0.01"
    assert run(["data", "audit", "data/support", "--only", "leakage,duplicates", "--fail-on", gate]) == 0
    assert "Rows that a mixture repeats" in " ".join(capsys.readouterr().out.split())
    assert run(["data", "trace", "data/support", "validation.jsonl:1"]) == 0
    assert "kept as validation.jsonl:1" in capsys.readouterr().out
    assert run(["data", "build", recipe, "--output", "data/support", "--dry-run"]) == 0
    assert "shuffle: reused" in capsys.readouterr().err
    assert run(["data", "trace", "data/toy", "1"]) == 2


def test_lines_of_a_gzip_source_are_named(tmp_path):
    import gzip

    with gzip.open(tmp_path / "made.jsonl.gz", "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in drawn(5)))
    source = {"made": {"path": str(tmp_path / "made.jsonl.gz"), "licence": "MIT"}}
    build(load(write_recipe(tmp_path, [], sources=source)), tmp_path / "out", say=lambda line: None)
    assert lines(tmp_path / "out" / "ledger.jsonl")[4]["where"].endswith("made.jsonl.gz:5")
