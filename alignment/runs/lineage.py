"""Where runs come from, told from manifests alone, and which of them are stale. Light: no torch."""

from __future__ import annotations

from pathlib import Path

from data_recipes.errors import Refused

from alignment.runs import CHECKPOINTS, PRIVATE, Run, parent_path
from alignment.sources import MANIFEST


def lineage(run: Run) -> list[dict]:
    """From this run back to the base, from manifests alone.

    Returns dictionaries with `path`, `stage`, `state`, `content_hash` and `note`; the last one is the base. `transfer` names
    the kind of head that a run's parent had and that was left behind.
    """
    steps, seen = [], set()
    while run is not None and run.path not in seen:
        seen.add(run.path)
        steps.append(
            {
                "path": str(run.path),
                "stage": run.stage,
                "state": run.state,
                "content_hash": run.manifest.get("content_hash"),
                "note": "",
                "transfer": (run.manifest.get("transfer") or {}).get("from"),
            }
        )
        base, run = run.manifest.get("base") or {}, _first_parent(run, steps)
    steps.append(
        {
            "path": base.get("id") or base.get("path") or "unknown",
            "stage": "base",
            "state": "",
            "content_hash": base.get("hash"),
            "note": "",
            "transfer": None,
        }
    )
    return steps


def _first_parent(run: Run, steps: list[dict]) -> Run | None:
    for parent in run.manifest.get("parents", []):
        if parent["role"] != "model":
            continue
        where = parent_path(run, parent)
        if not (where / MANIFEST).is_file():
            steps[-1]["note"] = f"parent {parent['path']} is not there"
            return None
        try:
            found = Run.open(where)
        except Refused as error:
            steps[-1]["note"] = f"parent {parent['path']}: {error.what}"
            return None
        if found.manifest.get("content_hash") != parent["content_hash"]:
            steps[-1]["note"] = "stale: its parent has changed since"
        return found
    return None


def list_runs(folder: Path) -> list[dict]:
    """All runs below a folder, with state, parents and whether a parent has changed since (stale).

    What `align export` wrote is a copy of a run and no run of its own: its state is "exported".
    """
    found = []
    for file in sorted(folder.glob("**/" + MANIFEST)):
        if any(part in {CHECKPOINTS, PRIVATE} for part in file.relative_to(folder).parts):
            continue
        try:
            run = Run.open(file.parent)
        except Refused as error:
            found.append(
                {
                    "path": str(file.parent),
                    "stage": "?",
                    "state": "unreadable",
                    "created": None,
                    "parents": [],
                    "stale": False,
                    "note": error.what,
                }
            )
            continue
        steps = lineage(run)
        found.append(
            {
                "path": str(run.path),
                "stage": run.stage,
                "state": "exported" if "trained_from" in run.manifest else run.state,
                "created": run.manifest.get("created"),
                "parents": [parent["path"] for parent in run.manifest.get("parents", [])],
                "stale": any(step["note"] for step in steps),
                "note": next((s["note"] for s in steps if s["note"]), ""),
            }
        )
    return found
