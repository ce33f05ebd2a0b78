"""The data card: where rows come from and under which licence, what was done to them, and how many there are of what."""

from __future__ import annotations

from typing import Any

from data_recipes.building.recipe import Recipe
from data_recipes.building.stages import Stage


def make(recipe: Recipe, hashes: dict[str, str], stages: list[Stage], account: dict[str, Any]) -> dict[str, Any]:
    """The card as JSON. Nothing in it depends on when, where or how fast the build ran."""
    sources = [
        {**source, "files": [{**file, "sha256": hashes[file["path"]]} for file in source["files"]],
         "fates": account["by_source"][source["name"]]}
        for source in stages[0].about["sources"]
    ]
    steps, before = [], account["entries"]
    for stage, settings in zip(stages, [{}, *(call.settings for call in recipe.steps)], strict=True):
        after = len(stage.rows())
        steps.append({
            "step": stage.made_of["step"], "settings": settings, "in": before, "out": after, **stage.about["counts"],
            **({"facts": stage.about["facts"]} if stage.about.get("facts") else {}), "files": stage.made_of["files"],
        })
        before = after
    steps[0]["files"] = {}  # those of the sources stand with them
    return {
        "name": recipe.name, "kind": recipe.kind, "seed": recipe.seed, "sources": sources, "steps": steps,
        "rows": {key: account[key] for key in ("entries", "fates", "lines", "repeated_lines", "gone")},
        "synthetic": _synthetic(steps), "recipe": recipe.as_dict(),
        "stages": [stage.folder.name for stage in stages],
    }


def _synthetic(steps: list[dict]) -> dict | None:
    return next((step["facts"]["synthetic"] for step in reversed(steps) if "synthetic" in step.get("facts", {})), None)


def page(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    rows = card["rows"]
    written = [(name, f"{rows['lines'][name]:,}" if name in rows["lines"] else "", f"`{held}`")
               for name, held in card["outputs_sha256"].items()]
    steps = [_step(step) for step in card["steps"]]
    parts = [
        f"# {card['name']}", f"{card['kind']}, seed {card['seed']}. Built by `align data build`; the recipe with the hash of "
        "every input is in `recipe.lock.yaml`, the story of every row in `ledger.jsonl`.",
        "## Files", table(("file", "rows", "SHA-256"), written),
        f"{rows['entries']:,} rows were read: {_fates(rows['fates'])}. {rows['repeated_lines']:,} lines are repeats of a row.",
        "## Sources", table(("source", "licence", "rows", "kept", "merged", "dropped", "file", "format", "SHA-256"),
                            [row for source in card["sources"] for row in _source(source)]),
        *(f"- {source['name']}: {note}" for source in card["sources"] for note in source["notes"]),
        "## Steps", table(("step", "in", "out", "changed", "gone by reason", "settings"), steps),
        *_facts(card["steps"]),
    ]
    return "\n\n".join(parts) + "\n"


def table(header: tuple[str, ...], lines: list[tuple]) -> str:
    """A Markdown table."""
    cells = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in (header, *lines)]
    shown = [f"| {' | '.join(line)} |" for line in cells]
    return "\n".join([shown[0], "|" + "---|" * len(header), *shown[1:]])


def _fates(fates: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {fate}" for fate, count in fates.items())


def _source(source: dict) -> list[tuple]:
    fates = [f"{source['fates'].get(fate, 0):,}" for fate in ("kept", "merged", "dropped")]
    first, *others = ((file["path"], file["format"], f"`{file['sha256']}`") for file in source["files"])
    whole = (source["name"], source["licence"], f"{source['entries']:,}", *fates)
    return [(*whole, *first), *(("",) * len(whole) + other for other in others)]


def _step(step: dict) -> tuple:
    gone = {**step.get("merged", {}), **step.get("dropped", {})}
    said = ", ".join(f"{count:,} {reason}" for reason, count in gone.items())
    settings = ", ".join(f"{key}: {_plain(value)}" for key, value in step["settings"].items() if value not in (None, [], {}, 0))
    changed = sum(step.get("changed", {}).values())
    return step["step"], f"{step['in']:,}", f"{step['out']:,}", f"{changed:,}" if changed else "", said, settings


def _facts(steps: list[dict]) -> list[str]:
    """Planned and realised counts of mixtures, and what splits and merges say."""
    parts = []
    for step in steps:
        facts = dict(step.get("facts", {}))
        if mixture := facts.pop("mixture", None):
            lines = [(name, *(f"{found[key]:,}" for key in ("available", "planned", "realised")), f"{found['share']:.1%}",
                      found["weight"]) for name, found in mixture.items()]
            parts += ["## Mixture", table(("source", "available", "planned", "realised", "share", "weight"), lines)]
        if facts:
            said = (f"{key.replace('_', ' ')} {_plain(value)}" for key, value in facts.items())
            parts.append(f"{step['step']}: {'; '.join(said)}")
    return parts


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key.replace('_', ' ')} {_plain(inner)}" for key, inner in value.items()) + ")"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if type(value) is int else str(value)
