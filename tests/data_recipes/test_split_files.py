"""Files split: no prompt in two parts, no row lost or changed, the same bytes each time, and what a stage would hold out."""

import json
import random
from pathlib import Path

import pytest

from data_recipes.errors import Refused
from data_recipes.readers import Reading, read
from data_recipes.split import assign, by_prompt, joined, prompt_key
from data_recipes.split_files import split

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PAIRS = [{"prompt": f"Q{n % 60}", "chosen": f"yes {n}", "rejected": f"no {n}", "team": n % 7, "n": n} for n in range(200)]


def written(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def parts(folder: Path, *names) -> list[list[dict]]:
    return [[json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
            for name in names or ("train", "validation")]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_no_prompt_in_two_parts_and_no_row_lost_or_changed(tmp_path):
    made = split([str(written(tmp_path / "rows.jsonl", PAIRS))], {"validation": 0.2, "test": 0.1}, tmp_path / "out")
    found = parts(tmp_path / "out", "train", "validation", "test")
    prompts = [{row["prompt"] for row in part} for part in found]
    assert sum(map(len, prompts)) == 60 and len(set.union(*prompts)) == 60 and all(prompts)
    assert sorted((row for part in found for row in part), key=lambda row: row["n"]) == PAIRS
    assert all(part == sorted(part, key=lambda row: row["n"]) for part in found)
    assert made.rows == dict(zip(("train", "validation", "test"), map(len, found), strict=True))
    assert made.groups == dict(zip(("train", "validation", "test"), map(len, prompts), strict=True))
    assert made.ledger.totals()["rows"] == {"read": 200, "used": 200, "refused": 0, "passed": 0}


def test_the_held_out_prompts_are_those_that_a_stage_would_hold_out(tmp_path):
    path = written(tmp_path / "rows.jsonl", PAIRS)
    split([str(path)], {"validation": 0.2}, tmp_path / "out", seed=5)
    train, held = by_prompt(read(path, "comparisons").records, 0.2, 5)
    for part, records in zip(parts(tmp_path / "out"), (train, held), strict=True):
        assert [row["chosen"] for row in part] == [record.chosen[0].content for record in records]


def test_the_same_bytes_each_time_and_another_seed_is_refused_beside_them(tmp_path):
    path = written(tmp_path / "rows.jsonl", PAIRS)
    assert split([str(path)], {"validation": 0.2}, tmp_path / "out").state == "written"
    before = files(tmp_path / "out")
    assert sorted(before) == ["split.json", "train.jsonl", "validation.jsonl"]
    assert split([str(path)], {"validation": 0.2}, tmp_path / "out").state == "unchanged" and files(tmp_path / "out") == before
    with pytest.raises(Refused, match="--overwrite"):
        split([str(path)], {"validation": 0.2}, tmp_path / "out", seed=1)
    assert split([str(path)], {"validation": 0.2}, tmp_path / "out", seed=1, overwrite=True).state == "written"
    assert files(tmp_path / "out") != before


def test_a_part_of_another_split_does_not_stay(tmp_path):
    path = written(tmp_path / "rows.jsonl", PAIRS)
    split([str(path)], {"validation": 0.2, "test": 0.2}, tmp_path / "out")
    with pytest.raises(Refused, match="part of another split"):
        split([str(path)], {"validation": 0.2}, tmp_path / "out")
    split([str(path)], {"validation": 0.2}, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "test.jsonl").exists()


def test_by_a_column_or_by_the_row(tmp_path):
    path = written(tmp_path / "rows.jsonl", [*PAIRS, *PAIRS[:50]])
    split([str(path)], {"validation": 0.3}, tmp_path / "teams", by="team")
    train, held = parts(tmp_path / "teams")
    assert not {row["team"] for row in train} & {row["team"] for row in held} and train and held
    split([str(path)], {"validation": 0.3}, tmp_path / "rows", by="row-hash")
    train, held = parts(tmp_path / "rows")
    assert not {row["n"] for row in train} & {row["n"] for row in held} and len(train) + len(held) == 250
    with pytest.raises(Refused, match="no row has the column 'taem'.*Did you mean --by team"):
        split([str(path)], {"validation": 0.3}, None, by="taem")


def test_a_row_without_the_column_is_refused_and_left_out(tmp_path):
    path = written(tmp_path / "rows.jsonl", [*PAIRS, {"prompt": "x"}])
    with pytest.raises(Refused, match="rows.jsonl:201 missing-field"):
        split([str(path)], {"validation": 0.3}, tmp_path / "out", by="team")
    made = split([str(path)], {"validation": 0.3}, tmp_path / "out", by="team", max_rejected=0.01)
    assert sum(made.rows.values()) == 200
    assert json.loads((tmp_path / "out" / "rejected.jsonl").read_text())["where"].endswith(":201")


def test_bad_rows_are_judged_as_the_reader_does(tmp_path):
    rows = [*PAIRS, {**PAIRS[0], "chosen": ""}, {**PAIRS[1], "rejected": PAIRS[1]["chosen"]}]
    made = split([str(written(tmp_path / "rows.jsonl", rows))], {"validation": 0.3}, tmp_path / "out", max_rejected=0.1)
    assert made.ledger.rejected == {"empty-text": 1, "identical-pair": 1} and sum(made.rows.values()) == 200


def test_several_prompts_of_one_row_are_not_parted(tmp_path):
    """Row n holds the prompts n and n + 1, so all rows hang together, but for the last ten."""
    rows = [{"instruction": "Do", "instances": [{"input": str(n), "output": "a"}, {"input": str(n + 1), "output": "b"}]}
            for n in range(20)]
    lone = [{"instruction": "Do", "instances": [{"input": f"lone {n}", "output": "a"}]} for n in range(10)]
    made = split([str(written(tmp_path / "rows.jsonl", rows + lone))], {"validation": 0.3}, tmp_path / "out")
    assert sum(made.groups.values()) == 11 and sum(made.rows.values()) == 30
    kinds = [{len(row["instances"]) for row in part} for part in parts(tmp_path / "out")]
    assert sorted(2 in found for found in kinds) == [False, True]


def test_rows_that_make_one_together_stay_together(tmp_path):
    rows = [{"prompt": f"Q{n % 25}", "response": f"A{n}", "helpfulness": n % 4} for n in range(80)]
    rows += [{"prompt": "lone", "response": "x", "helpfulness": 1}, {"prompt": "bad", "response": "", "helpfulness": 1}]
    made = split([str(written(tmp_path / "rows.jsonl", rows))], {"validation": 0.3}, tmp_path / "out", max_rejected=0.1)
    train, held = parts(tmp_path / "out")
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held} and len(train) + len(held) == 81
    assert made.ledger.rejected == {"empty-text": 1}


def test_a_tie_is_on_the_side_of_its_prompt(tmp_path):
    def row(number, *scores):
        return {"instruction": f"Q{number}", "completions": [{"response": f"A{n}", "overall_score": score}
                                                             for n, score in enumerate(scores)]}

    rows = [row(n, 1, 2) for n in range(40)] + [row(n, 2, 2) for n in range(40)]
    split([str(written(tmp_path / "rows.jsonl", rows))], {"validation": 0.4}, tmp_path / "out")
    train, held = parts(tmp_path / "out")
    assert not {row["instruction"] for row in train} & {row["instruction"] for row in held} and len(train) + len(held) == 80


def test_nearly_the_same_prompts_are_not_parted_where_that_is_asked(tmp_path):
    pytest.importorskip("datasketch")
    rng = random.Random(0)
    rows = []
    for number in range(60):
        words = [f"word{rng.randrange(5000)}" for _ in range(40)]
        for answer in range(3):
            prompt = " ".join([*words[:answer * 7], "edited", *words[answer * 7:]])
            rows.append({"prompt": prompt, "completion": f"A{answer}", "family": number})
    path = written(tmp_path / "rows.jsonl", rows)
    made = split([str(path)], {"validation": 0.3}, tmp_path / "near", near=True)
    sides = [{row["family"] for row in part} for part in parts(tmp_path / "near")]
    assert not sides[0] & sides[1] and all(sides) and sum(made.groups.values()) == 60
    split([str(path)], {"validation": 0.3}, tmp_path / "exact")
    sides = [{row["family"] for row in part} for part in parts(tmp_path / "exact")]
    assert sides[0] & sides[1]
    assert json.loads((tmp_path / "near" / "split.json").read_text())["near"] is True


def test_files_of_several_formats_are_split_together(tmp_path):
    chats = [{"messages": [{"role": "user", "content": f"Q{n}"}, {"role": "assistant", "content": "A"}]} for n in range(60)]
    one, two = written(tmp_path / "a.jsonl", PAIRS), written(tmp_path / "b.jsonl", chats)
    split([str(one), str(two)], {"validation": 0.3}, tmp_path / "out")
    asked = [{row["prompt"] if "prompt" in row else row["messages"][0]["content"] for row in part}
             for part in parts(tmp_path / "out")]
    assert not asked[0] & asked[1] and len(asked[0] | asked[1]) == 60


@pytest.mark.parametrize("name, rows", [
    ("hh_harmless_1500.jsonl.gz", 1492), ("oasst_trees_100.jsonl", 100), ("self_instruct_seed_tasks.jsonl", 175),
    ("alpaca_en_999.json", 999), ("sst2_dev_400.tsv", 400),
])
def test_published_files(name, rows, tmp_path):
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not here")
    how = Reading(columns=("text", "label")) if name.endswith("tsv") else Reading()
    made = split([str(DATA / name)], {"validation": 0.1}, tmp_path / "out", how=how, max_rejected=0.01)
    assert sum(made.rows.values()) == rows
    if name.startswith("oasst"):
        return
    keys = [{prompt_key(record) for record in read(tmp_path / "out" / f"{part}.jsonl", made_kind(name))}
            for part in ("train", "validation")]
    assert not keys[0] & keys[1] and all(keys)


def made_kind(name: str) -> str:
    return {"hh": "comparisons", "ss": "labelled"}.get(name[:2], "demonstrations")


# ---------------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("count", [4, 5, 30])
def test_every_part_gets_a_key_where_there_are_enough(count):
    keys = {str(number) for number in range(count)}
    for shares in ({"a": 0.001, "b": 0.001}, {"a": 0.5, "b": 0.499}, {"a": 0.998, "b": 0.001}):
        assert set(assign(keys, shares, 0).values()) == {"a", "b", "train"}
    assert set(assign(keys, {"a": 0.3, "b": 0.0}, 0).values()) <= {"a", "train"}


def test_shares_must_leave_something():
    with pytest.raises(ValueError):
        assign({"a", "b"}, {"a": 0.5, "b": 0.5}, 0)


def test_keys_are_joined_over_others():
    assert joined([["c", "b"], ["d"], ["e", "c"], ["f", "g"], ["b", "a"]]) == {
        "a": "a", "b": "a", "c": "a", "e": "a", "d": "d", "f": "f", "g": "f"}
