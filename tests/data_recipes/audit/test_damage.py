"""Every kind of damage is found at its line, in a first, a middle and a last row, and nothing is invented beside it."""

from __future__ import annotations

import pytest

from data_recipes.audit.inputs import load
from tests.data_recipes.audit import worlds
from tests.data_recipes.audit.damages import DAMAGES, of_kind

# the classifier and the layout look at many rows at once and name none
ROWWISE = tuple(dict.fromkeys(damage.finding for damage in DAMAGES))


def test_there_are_more_than_twenty_kinds_of_damage():
    assert len({damage.name for damage in DAMAGES}) == len(DAMAGES) >= 20


@pytest.mark.parametrize("kind", ["demonstrations", "comparisons"])
def test_each_damage_is_found_at_its_line_and_nothing_is_invented(tmp_path, kind):
    rows = worlds.made_rows(260) if kind == "demonstrations" else worlds.made_pairs(280)
    last = len(rows) - len(rows) // 4 - 1
    found = worlds.damaged(tmp_path, rows, worlds.evaluation_texts(12), [0, last // 2, last], only=ROWWISE)
    assert found.missed == []
    assert found.invented == set()
    assert found.planted == {damage.name: 3 for damage in of_kind(kind)}


def test_a_clean_file_is_clean(tmp_path):
    rows = worlds.made_rows(120)
    paths = [worlds.write(tmp_path / name, part) for name, part in (("train.jsonl", rows[:90]), ("held.jsonl", rows[90:]))]
    evaluation = worlds.write(tmp_path / "eval.jsonl", [{"prompt": text} for text in worlds.evaluation_texts(5)])
    found = worlds.findings(*paths, evaluation, only=ROWWISE)
    assert {name: one.places for name, one in found.items() if one.count} == {}
    assert len(load([str(paths[0])]).rows) == 90
