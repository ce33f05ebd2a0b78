"""What a model is, wherever it lies: the hashes that later commands compare. Light: no torch."""

from __future__ import annotations

from alignment.runs import content_hash, finished_run
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
        run = finished_run(source)
        found = {"kind": "run", "stage": run.stage, "content": run.manifest["content_hash"]}
    else:
        found = {"kind": "folder", "content": content_hash(source.path)}
    if source.kind != "hub" and source.is_adapter:
        found["base"] = identity(base_of(source, base=base))
    return found
