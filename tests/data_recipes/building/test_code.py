"""What counts as a step's code: what it imports of ours, without comments and docstrings."""

from __future__ import annotations

import ast

from data_recipes.building import code
from data_recipes.building.steps import STEPS


def test_a_hash_covers_what_is_imported_and_no_neighbour():
    found: dict[str, str] = {}
    foreign: set[str] = set()
    code._collect("data_recipes.building.steps.near_dedup", found, foreign)
    assert {"data_recipes.near", "data_recipes.dedup", "data_recipes.building.table"} <= found.keys()
    assert "data_recipes.building.steps.mix" not in found and "data_recipes.near.shingles" not in found
    assert {"numpy", "pydantic", "datasketch"} <= foreign
    assert code.versions({"numpy"}).keys() == {"numpy"}


def test_comments_and_docstrings_do_not_count():
    one, two, other = (
        ast.dump(code._without_docstrings(ast.parse(text)))
        for text in ('"""a"""\ndef f():\n    """b"""\n    return 1  # c', "def f():\n    return 1", "def f():\n    return 2")
    )
    assert one == two != other


def test_each_step_has_a_hash_of_its_own():
    hashes = {name: code.code_hash(step.path.partition(":")[0]) for name, step in STEPS.items()}
    assert len(set(hashes.values())) == len(hashes)
