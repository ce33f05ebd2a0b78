"""Published files, where they lie beside the project; skipped where they do not."""

from pathlib import Path

import pytest

from data_recipes.errors import Refused
from data_recipes.readers import read
from data_recipes.split import by_prompt, prompt_key

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def real(name: str) -> Path:
    if not (DATA / name).is_file():
        pytest.skip(f"{name} is not here")
    return DATA / name


@pytest.mark.parametrize("name, kind, form, count", [
    ("alpaca_en_999.json", "demonstrations", "alpaca", 999),
    ("axolotl_alpaca.json", "demonstrations", "alpaca", 2),
    ("toolcall_sharegpt_300.json", "demonstrations", "sharegpt", 300),
    ("kto_messages_300.json", "demonstrations", "messages", 300),
    ("dpo_sharegpt_300.json", "comparisons", "sharegpt-pair", 300),
    ("mt_bench_questions_80.jsonl", "prompts", "turns", 80),
    ("self_instruct_seed_tasks.jsonl", "prompts", "self-instruct", 175),
])
def test_every_row_of_a_published_file_is_read(name, kind, form, count):
    found = read(real(name), kind)
    assert len(found) == count and found.ledger.rejected == {}
    assert found.ledger.sources[0]["format"] == form


def test_tool_calls_keep_their_functions_and_results():
    found = read(real("toolcall_sharegpt_300.json"), "demonstrations").records
    row = next(row for row in found if any(turn.tool_calls for turn in row.messages))
    call = next(number for number, turn in enumerate(row.messages) if turn.tool_calls)
    name = row.messages[call].tool_calls[0]["function"]["name"]
    assert row.messages[call + 1].role == "tool" and row.messages[call + 1].name == name
    assert name in [tool["function"]["name"] for tool in row.tools]


def test_hh_has_its_known_faults_and_no_other():
    found = read(real("hh_harmless_1500.jsonl.gz"), "comparisons")
    assert found.ledger.rejected == {"empty-text": 4, "bad-order": 3, "prompt-conflict": 1} and len(found) == 1492
    with pytest.raises(Refused, match="hh_harmless_1500.jsonl.gz:87"):
        found.ledger.check(0.0)
    assert found.ledger.check(0.01) is None


def test_pairs_are_split_by_prompt():
    found = read(real("dpo_sharegpt_300.json"), "comparisons").records
    train, held = by_prompt(found, 0.1, 0)
    assert 5 < len(held) < 60 and not {prompt_key(row) for row in train} & {prompt_key(row) for row in held}


def test_files_of_no_format_say_what_they_have():
    with pytest.raises(Refused, match="first line must name"):
        read(real("sst2_dev_400.tsv"), "demonstrations")
    with pytest.raises(Refused, match=r"put it into \[ \]"):
        read(real("axolotl_conversation.json"), "demonstrations")
    with pytest.raises(Refused, match="a plain text becomes JSON lines"):
        read(real("tinystories_sample.txt"), "demonstrations")
