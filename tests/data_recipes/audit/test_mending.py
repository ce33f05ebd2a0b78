"""What a finding says mends it is a recipe's own step, with settings that step has."""

from __future__ import annotations

import re

import pytest
import yaml

from data_recipes.audit.inputs import load
from data_recipes.audit.model import Context
from data_recipes.audit.registry import CHECKS
from data_recipes.audit.run import audit
from data_recipes.building.steps import STEPS
from tests.data_recipes.audit import worlds

STEP = re.compile(r"\b(\w+): (\{(?:[^{}]|\{[^{}]*\})*\})")


@pytest.mark.parametrize("name", CHECKS)
def test_named_steps_exist_with_their_settings(name: str):
    for step, settings in STEP.findall(CHECKS[name].mend):
        assert step in STEPS, step
        assert set(yaml.load(settings, yaml.BaseLoader)) <= set(STEPS[step].settings()), CHECKS[name].mend


def test_most_findings_are_mended_by_a_step():
    words = {word for check in CHECKS.values() for word in re.findall(r"\w+", check.mend)}
    assert {"dedup", "near_dedup", "redact", "decontaminate", "split", "filter", "cap", "balance", "mix"} <= words


def test_refused_rows_all_count_as_unreadable_and_are_mended_at_the_source(tmp_path):
    rows = worlds.made_rows(9)
    rows[2]["messages"][-1]["content"] = ""
    rows[5] = {"text": 7}
    loaded = load([str(worlds.write(tmp_path / "rows.jsonl", rows))])
    report = audit(loaded.rows, Context(refused=tuple(loaded.refused)), only=("unreadable", "empty-answers"))
    found = {one.name: one for one in report.findings}
    assert found["unreadable"].count == report.refused == 2 and found["empty-answers"].count == 1
    assert "max_rejected: 0.223 in the recipe's source" in found["unreadable"].mend
    assert "max_rejected: 0.223" in found["empty-answers"].mend and "min_answer_words: 1" in found["empty-answers"].mend
