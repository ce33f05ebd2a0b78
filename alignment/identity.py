"""What a model is, wherever it lies: the hashes that later commands compare. Light: no torch."""

from __future__ import annotations

from data_recipes.errors import Refused

from alignment.runs import Run, content_hash
from alignment.sources import Source, base_of


def identity(source: Source, *, base: str | None = None) -> dict:
    """JSON-able identity of a model: kind and content, with that of its base where it is an adapter.

    A hub model is its id and revision. A folder is the hash of its files, which takes as long as reading them.

    Raises:
        Refused: a run that is not completed, or whose files were changed since.
    """
    if source.kind == "hub":
        found = {"kind": "hub", "id": source.hub_id, "revision": source.revision}
    elif source.kind == "run":
        found = {"kind": "run", "stage": _finished(source).stage, "content": _finished(source).manifest["content_hash"]}
    else:
        found = {"kind": "folder", "content": content_hash(source.path)}
    if source.kind != "hub" and source.is_adapter:
        found["base"] = identity(base_of(source, base=base))
    return found


def _finished(source: Source) -> Run:
    run = Run.open(source.path)
    if run.state != "completed":
        raise Refused(
            f"this run is {run.state}, not completed",
            where=source.text,
            do="Run the command that makes it again; it continues where it stopped.",
        )
    run.check_unchanged()
    return run
