"""A reward run's own held-out pairs: one half gives its scores their scale, the other is watched while PPO runs.

The pairs are read again from where the run's manifest says that its data lie, and split as its training split them.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from data_recipes.errors import AlignError
from data_recipes.files import sha256_file
from data_recipes.records import BadRow, Comparison
from data_recipes.split import by_prompt

from alignment.data import read_rows
from alignment.sources import Source

ANOTHER_DRAW = 1 << 33
MOST = 256  # pairs of each half: enough for an interval of 6 points


def held_out_pairs(source: Source | None) -> tuple[list[Comparison], str]:
    """The pairs that the reward run never trained on, and why there are none where that is so."""
    if source is None or source.kind != "run":
        return [], "it is no reward run"
    manifest = source.manifest
    for part in manifest["data"].values():
        for file in part["sources"]:
            path = source.path / file["path"]
            if not path.is_file():
                return [], f"{path} is not there any more"
            if sha256_file(path) != file["sha256"]:
                return [], f"{path} was changed since"
    try:
        rows = read_rows(_section(manifest, source.path), "comparisons", seed=manifest["seeds"]["training"], private=None)
    except AlignError as error:
        return [], error.paragraph()
    return rows.validation, "" if rows.validation else "it held no pair out"


def halves(pairs: list[Comparison], seed: int) -> tuple[list[Comparison], list[Comparison]]:
    """(for the scale, to be watched): by prompt, so that no prompt is in both; each at most `MOST` pairs."""
    if not pairs:
        return [], []
    # another draw than the one that held these pairs out: by the same one all of them would be on one side
    scale, watched = by_prompt(pairs, 0.5, seed + ANOTHER_DRAW)
    return scale[:MOST], watched[:MOST]


def rendered(pairs: list[Comparison], trained: set[tuple[int, ...]], renderer, ui) -> list[tuple[list[int], ...]]:
    """(prompt, chosen, rejected) as the policy's tokens; pairs that are longer than its rows may be are left out, aloud.

    trained: the prompts that the run answers while it is trained; pairs about one of them are told.
    """
    rows, lost = [], 0
    for pair in pairs:
        try:
            row = renderer.comparison(pair)
        except BadRow:
            lost += 1
            continue
        rows.append((row.prompt_ids, row.chosen_ids, row.rejected_ids))
    if lost:
        ui.warn(f"{lost} of {len(pairs)} held-out pairs do not fit into data.max_length and are not watched")
    if known := sum(tuple(row[0]) in trained for row in rows):
        ui.warn(f"{known} of {len(rows)} watched pairs are about prompts that this run is trained on; their answers are not")
    return rows


def _section(manifest: dict, run: Path) -> SimpleNamespace:
    """The run's `data` section with its files where they lie now."""
    section = SimpleNamespace(**manifest["config"]["data"])
    data = manifest["data"]
    section.train = [str(run / file["path"]) for file in data["train"]["sources"]]
    section.validation = str(run / data["validation"]["sources"][0]["path"]) if "validation" in data else None
    return section
