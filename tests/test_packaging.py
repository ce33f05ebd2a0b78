"""What `pip install` asks for: ranges around the tested set, and the tested set itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
NOT_PINNED = {"trackio", "wandb"}  # of the trackers only TensorBoard, which needs no account, is in the tested set


def asked(extra: str) -> list[Requirement]:
    return [made for made in map(Requirement, EXTRAS[extra]) if made.name != PROJECT["name"]]


def pinned() -> dict[str, str]:
    """Version by name, of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines) if version}


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_library_has_a_range_around_the_version_that_is_tested(extra):
    versions = pinned()
    for one in asked(extra):
        assert {"<", ">="} == {spec.operator for spec in one.specifier}, str(one)
        assert one.name in NOT_PINNED or versions[canonicalize_name(one.name)] in one.specifier, str(one)


def test_the_tracker_without_an_account_is_tested():
    assert "tensorboard" in {one.name for one in asked("dev")}
