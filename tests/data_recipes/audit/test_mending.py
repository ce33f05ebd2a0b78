"""What a finding says mends it is a recipe's own step, with settings that step has."""

from __future__ import annotations

import re

import pytest
import yaml

from data_recipes.audit import run  # noqa: F401 - registers the checks
from data_recipes.audit.registry import CHECKS
from data_recipes.building.steps import STEPS

STEP = re.compile(r"\b(\w+): (\{[^{}]*(?:\[[^\]]*\])?[^{}]*\})")


@pytest.mark.parametrize("name", CHECKS)
def test_named_steps_exist_with_their_settings(name: str):
    for step, settings in STEP.findall(CHECKS[name].mend):
        assert step in STEPS, step
        assert set(yaml.load(settings, yaml.BaseLoader)) <= set(STEPS[step].settings()), CHECKS[name].mend


def test_most_findings_are_mended_by_a_step():
    words = {word for check in CHECKS.values() for word in re.findall(r"\w+", check.mend)}
    assert {"dedup", "near_dedup", "redact", "decontaminate", "split", "filter", "cap", "balance", "mix"} <= words
