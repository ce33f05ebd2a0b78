"""The toy world's data: same seed same bytes, nothing held out in training, lengths that give nothing away."""

import json
import random
import subprocess
import sys

import pytest

from data_recipes.toy import judge, prose, world, write
from data_recipes.toy.__main__ import main

SEEDS = (0, 1, 2)
FILES = ("demonstrations", "demonstrations_heldout", "pairs", "pairs_heldout", "requests", "requests_heldout")


@pytest.fixture(scope="module", params=SEEDS)
def tables(request):
    return write.build(request.param)


def question(row):
    return (row.get("messages") or row["prompt"])[0]["content"]


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path):
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        main(["--output", str(tmp_path / folder), "--seed", str(seed)])
    for name in FILES:
        first, again, other = ((tmp_path / folder / f"{name}.jsonl").read_bytes() for folder in "abc")
        assert first == again
        assert first != other


def test_the_bytes_do_not_depend_on_the_process_hash_seed(tmp_path):
    source = "from data_recipes import files; import data_recipes.toy.write as w; print(files.sha256_json(w.build(3)))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", source], env={"PYTHONHASHSEED": salt, "PATH": ""}, capture_output=True, check=True
        ).stdout
        for salt in ("1", "2")
    }
    assert len(seen) == 1


def test_files_have_the_public_formats(tables):
    assert {name: len(rows) for name, rows in tables.items()} == write.SIZES
    assert [turn["role"] for turn in tables["demonstrations"][0]["messages"]] == ["user", "assistant"]
    assert set(tables["pairs"][0]) == {"prompt", "chosen", "rejected"}
    assert set(tables["requests_heldout"][0]) == {"prompt", "kind", "code", "subject", "amount", "unit"}
    json.dumps(tables)


def test_no_question_is_in_two_files_or_twice_in_one(tables):
    questions = [question(row) for rows in tables.values() for row in rows]
    assert len(questions) == len(set(questions))


def test_held_out_codes_are_in_no_training_row(tables):
    known = set(judge.CODE.findall(json.dumps([tables["demonstrations"], tables["pairs"]])))
    assert len(known) > 1000 and known.isdisjoint(world.codes(held_out=True))
    assert all(world.is_held_out(row["code"]) for row in tables["requests_heldout"])


def test_held_out_codes_are_in_no_pretraining_prose():
    rng = random.Random(0)
    text = " ".join(prose.note(rng) for _ in range(2000))
    known = set(judge.CODE.findall(text))
    assert len(known) > 500 and known.isdisjoint(world.codes(held_out=True))


@pytest.mark.parametrize("seed", range(5))
def test_the_longer_answer_is_no_guide(seed):
    tables = write.build(seed)
    for name in ("pairs", "pairs_heldout"):
        assert 0.4 < write.longer_wins(tables[name]) < 0.6


def test_a_tenth_of_the_training_labels_is_swapped():
    rng = random.Random(0)
    requests = world.draw_requests(rng, 600, held_out=False)
    swapped = 0
    for request in requests:
        state = random.Random(request.question)
        clean = write.pair(random.Random(request.question), request, 0.0)
        noisy = write.pair(state, request, write.LABEL_NOISE)
        assert {clean["chosen"][0]["content"], clean["rejected"][0]["content"]} == {
            noisy["chosen"][0]["content"],
            noisy["rejected"][0]["content"],
        }
        swapped += clean != noisy
    assert 0.06 < swapped / len(requests) < 0.14


def test_amounts_by_hand():
    assert world.amount_of("refund", "lantern") == 14
    assert world.amount_of("warranty", "radio") == 36
    assert world.amount_of("shipping", "Norvale") == 2
    assert world.amount_of("cost", "Norvale") == 4


def test_wrong_facts_are_wrong_and_near():
    rng = random.Random(0)
    for request in world.draw_requests(rng, 50, held_out=False):
        assert world.wrong_amount(rng, request) != request.amount
        code = world.wrong_code(rng, request)
        assert code != request.code and not world.is_held_out(code)
        assert code[:2] == request.code[:2] or code[2:] == request.code[2:]


def test_the_world_needs_no_heavy_import():
    source = "import sys, data_recipes.toy.judge as j, data_recipes.toy.write; print({'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
