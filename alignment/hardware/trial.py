"""`--dry-run --measure`: the first steps of a run in a folder beside its own, and then nothing of it is left. Light."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alignment.runs import Run, locked
from alignment.training import processes


class Enough(Exception):
    """Ends a run that was only to be measured. facts: what its manifest would have kept."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__("measured")
        self.facts = facts


def measure(run: Callable[[Path], dict], output: Path, ui: Any) -> dict[str, Any]:
    """Runs `run(folder)` until its first steps have told what all of it takes; returns that.

    The folder lies beside the output, on the same disk, and has one name in all processes of a launch.

    Raises:
        Refused: beyond the limits; and whatever the run raises.
    """
    folder = output.with_name(f".{output.name}.measured")

    def enough(facts: dict[str, Any]) -> None:
        raise Enough(facts)

    ui.on_measured = enough
    if processes.is_first() and folder.exists():  # left by a measurement that was killed, perhaps for its memory
        with locked(folder):
            shutil.rmtree(folder)
    missing = next((parent for parent in [*reversed(folder.parents), folder] if not parent.exists()), None)
    try:
        summary = run(folder)
        steps = summary["counts"]["steps"]
        facts = {"steps": steps, "counted": steps, "left": 0.0}
    except Enough as reached:
        facts = reached.facts
    finally:
        found = Run.open(folder).manifest if (folder / "align.json").is_file() else {}
        if missing is not None and processes.is_first():
            shutil.rmtree(missing, ignore_errors=True)
    ui.say("measured only: nothing was kept")
    return {"dry_run": True, "stage": found["stage"], "steps": facts["steps"], "measured": facts, "hardware": found["hardware"]}
