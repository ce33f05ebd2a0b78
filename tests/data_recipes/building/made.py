"""Small builds in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from data_recipes.building.engine import build
from data_recipes.building.recipe import load
from data_recipes.files import write_jsonl


def write_recipe(folder: Path, steps: list, *, sources: dict | None = None, kind: str = "demonstrations", **more) -> Path:
    """Writes folder/recipe.yaml; without sources, its one source is folder/made.jsonl."""
    sources = sources or {"made": {"path": str(folder / "made.jsonl"), "licence": "CC0-1.0"}}
    recipe = {"name": "made", "kind": kind, "sources": sources, "steps": steps, **more}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return folder / "recipe.yaml"


def built(folder: Path, given: list[dict], steps: list, **more) -> dict:
    """Builds rows by steps into folder/out and returns the card."""
    write_jsonl(folder / "made.jsonl", given)
    return build(load(write_recipe(folder, steps, **more)), folder / "out", say=lambda line: None)


def outputs(folder: Path) -> dict[str, list[dict]]:
    """The rows of every output."""
    card = json.loads((folder / "out" / "card.json").read_text(encoding="utf-8"))
    return {name: lines(folder / "out" / name) for name in card["rows"]["lines"]}


def fates(folder: Path) -> list[dict]:
    """The ledger's entries."""
    return lines(folder / "out" / "ledger.jsonl")


def lines(path: Path) -> list[dict]:
    """A JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every delivered file's bytes."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
