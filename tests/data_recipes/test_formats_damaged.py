"""Rows of every documented format, damaged at random: a record, a reason or a pass, and never a crash."""

import json
import random

import pytest

from data_recipes import formats, layouts
from data_recipes.derive import SOURCES, derive
from data_recipes.formats import Fields, PassedOver
from data_recipes.records import BadRow
from tests.docs_pages import blocks

ROWS = [json.loads(line) for block in blocks("json") if len(block.words) == 3 for line in block.text.splitlines()]
JUNK = [None, True, 1, -1.5, "", "x", "\n\nHuman: a", "true", [], {}, [[]], [{}], [None], {"a": 1}, [{"role": "user"}],
        [{"role": ["x"], "content": "y"}], {"role": {}, "from": []}, "1e400", [1, 2], 10**400, {"replies": 5},
        {"replies": [{}]}]


def damaged(value, rng):
    if rng.random() < 0.12:
        return rng.choice(JUNK)
    if isinstance(value, dict):
        return {key: damaged(item, rng) for key, item in value.items() if rng.random() > 0.05}
    if isinstance(value, list):
        kept = [damaged(item, rng) for item in value if rng.random() > 0.05]
        return [*kept, *kept[: rng.random() < 0.1]]
    return value


def made(rng) -> dict:
    row, other = (damaged(rng.choice(ROWS), rng) for _ in range(2))
    row = row if isinstance(row, dict) else {}
    return {**row, **other} if rng.random() < 0.3 and isinstance(other, dict) else row


@pytest.mark.parametrize("part", range(4))
def test_no_damage_crashes(part):
    records = 0
    for seed in range(part * 100, part * 100 + 100):
        row = made(random.Random(seed))
        for kind in formats.KINDS:
            formats.fitting(row, kind)
            for form in formats.FORMATS[kind]:
                form.is_own(row)
                records += sum(tried(found, kind, form.name) for found in outcomes(form, kind, row))
    assert records > 50


def outcomes(form, kind, row):
    for unit in formats.gathered(form, [("f:1", row), ("f:2", row)]):
        if isinstance(unit.row, dict):
            for ranked in ("", *formats.RANKED):
                yield from (found for _, found in formats.convert(form, kind, Fields(unit.row, unit.where, set(), ranked)))


def tried(found, kind, form) -> int:
    if isinstance(found, (BadRow, PassedOver)):
        assert found.reason
        return 0
    for target, sources in SOURCES.items():
        if kind in sources:
            assert derive(found, target)
    try:
        layouts.check(found, layouts.canonical(kind, form))
    except BadRow as error:
        assert error.reason in ("cannot-write", "column-clash")
    return 1


def test_numbers_beyond_what_a_number_can_hold():
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "margin": 10**400}
    ((_, found),) = formats.convert(formats.by_name("preference", "comparisons"), "comparisons", Fields(row))
    assert found.reason == "not-finite"


def test_messages_that_answer_each_other_and_bottomless_trees():
    def message(name, parent):
        return {"message_id": name, "parent_id": parent, "message_tree_id": "t", "text": "a", "role": "prompter"}

    form = formats.by_name("oasst-messages", "prompts")
    circle = [message("t", None), message("a", "b"), message("b", "a")]
    chain = [message("0", None), *(message(str(number), str(number - 1)) for number in range(1, 3000))]
    for rows, word in ((circle, "circle"), (chain, "deeper")):
        (unit,) = formats.gathered(form, [(f"f:{number}", row) for number, row in enumerate(rows, 1)])
        assert unit.row.reason == "broken-tree" and word in unit.row.detail
