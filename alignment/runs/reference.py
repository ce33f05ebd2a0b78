"""The reference of a run is pinned by its hash: neither a resume nor a moved folder can change it. Light: no torch."""

from __future__ import annotations

from data_recipes.errors import Failed


def same_reference(session, recorded: dict, seen: dict) -> None:
    """Raises Failed where the reference at hand is not the one that the manifest recorded at the run's beginning."""
    if recorded != seen:
        raise Failed(
            "the reference is not the one this run began with",
            where=str(session.job.run.path),
            expected=f"{recorded['hash'][:12]}, found {seen['hash'][:12]}",
        )
