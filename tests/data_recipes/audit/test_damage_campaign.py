"""The damages of `damages.py` done to published files, where they lie beside the project: all found, none invented.

    make campaigns, or: python -m pytest -s -m campaign tests/data_recipes/audit
"""

from __future__ import annotations

from collections import Counter

import pytest

from data_recipes.readers import read
from tests.data_recipes.audit import worlds
from tests.data_recipes.audit.test_damage import ROWWISE
from tests.data_recipes.test_real_rows import real

FILES = {
    "alpaca_en_999.json": "demonstrations",
    "kto_messages_300.json": "demonstrations", "dpo_sharegpt_300.json": "comparisons",
    "hh_harmless_1500.jsonl.gz": "comparisons",
}
TEN_MB = 10 * 1024 * 1024


def evaluation() -> list[str]:
    """MT-bench's questions, those long enough to be told from a phrase."""
    rows = worlds.canonical(read(real("mt_bench_questions_80.jsonl"), "prompts").records)
    return [text for row in rows if len((text := row["messages"][-1]["content"]).split()) >= 12]


@pytest.mark.campaign
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("pad", [0, 1], ids=["small", "longer than 10 MB"])
def test_damage_in_published_rows_is_found_at_its_line(tmp_path, name, pad):
    rows = worlds.canonical(read(real(name), FILES[name]).records)
    last = len(rows) - len(rows) // 4 - 1
    # with the padding the tenth megabyte ends in the middle of the file, so a third of the damage lies behind it
    characters = 2 * TEN_MB // (last + 1) if pad else 0
    found = worlds.damaged(tmp_path, rows, evaluation(), [0, last // 2, last], pad=characters, only=ROWWISE)
    total, hit = Counter(found.planted), Counter(found.found)
    print(f"\n{name}{', padded to ' + str((tmp_path / 'train.jsonl').stat().st_size >> 20) + ' MB' if pad else ''}: "
          f"{sum(hit.values())} of {sum(total.values())} damages found at their line, {len(total)} kinds, "
          f"{len(found.invented)} invented in {last + 1 - sum(total.values())} rows; missed: {found.missed}; "
          f"invented: {sorted(found.invented)[:5]}")
    assert found.invented == set()
    assert found.missed == []
