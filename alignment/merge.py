"""`align merge`: an adapter folded into its base, proven before and after writing. Light until weights are needed.

The result is a plain transformers folder. It is written beside its place, read back from disk, compared, and takes its
name by rename; `align-merge.json` in it says from what it was made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_recipes.errors import Refused
from data_recipes.files import write_json, write_text

from alignment.adapters import KINDS, kind, kind_of
from alignment.runs import MERGE_RECORD as RECORD
from alignment.runs import changed_files, differences, file_hashes, now, trained_in, versions
from alignment.runs.identity import identity
from alignment.runs.staging import staged
from alignment.sources import Source, base_of, check_hub, resolve
from alignment.tasks import WORDS, from_entry

FORMAT = 1
FOLDLESS = tuple(f"peft:{name}" for name in ("p_tuning", "multitask_prompt_tuning", "adaption_prompt", "cpt"))
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class MergeRequest:
    """One `align merge` command.

    model: a run or PEFT folder (or hub id) with an adapter. dtype: of the weights written; `auto` is the base's own.
    base: where a moved local base lies now. how: other `models.Loading` arguments.
    """

    model: str
    output: Path
    dtype: str = "auto"
    base: str | None = None
    how: dict = field(default_factory=dict)


def merge(request: MergeRequest, ui: Any, *, dry_run: bool = False) -> dict:
    """Folds the adapter into its base and writes a folder that plain transformers loads; returns the record.

    Raises:
        Refused: there is no adapter, the run is not completed, or the output is something else.
        Failed: the merged model is further from base plus adapter than its dtype's rounding explains.
    """
    source = resolve(request.model)
    asked = describe(request, source)
    if made := same_merge(request.output, asked):
        ui.say(f"{request.output} is this merge already; nothing to do")
        return {**made, "state": "already-completed", "output": str(request.output)}
    dtype = "the base's own dtype" if request.dtype == "auto" else request.dtype
    ui.say(f"merging {source.text} into {asked['base_name']}, weights in {dtype}")
    if dry_run:
        return {**asked, "state": "dry-run", "output": str(request.output)}
    from alignment.adapters.folding import fold_and_write

    with staged(request.output) as folder:
        found = fold_and_write(source, folder, request, ui)
        write_text(folder / "README.md", card(source, asked, found))
        record = {
            "format": FORMAT,
            "created": now(),
            **asked,
            **found,
            "versions": versions(),
            "files": file_hashes(folder),
        }
        write_json(folder / RECORD, record)
    ui.say(f"merged: {request.output} (read back from disk: differs by {found['compared']['read_back']:.1e})")
    return {**record, "state": "completed", "output": str(request.output)}


def describe(request: MergeRequest, source: Source) -> dict:
    """What decides the result, under `request`, and names for people beside it.

    Raises Refused where nothing can be folded.
    """
    if request.dtype not in DTYPES:
        raise Refused(f"dtype cannot be '{request.dtype}'", where="--dtype", expected=", ".join(DTYPES))
    check_hub(source)
    if not source.is_adapter:
        raise Refused(
            "there is no adapter to merge: this is a whole model already",
            where=source.text,
            expected="a run or folder with adapter_config.json",
        )
    config = source.adapter_config()
    name = kind_of(config)
    if name in FOLDLESS or name in KINDS and not kind(name).folds:
        raise Refused(
            f"an adapter of kind {name} is more than a change of weights, and cannot be folded into a base",
            where=source.text,
            expected="LoRA or another kind that changes weights",
            do="Use it as it is: every command takes the run, and PEFT loads the folder.",
        )
    base = base_of(source, base=request.base)
    manifest = source.manifest or {}
    return {
        "request": {"source": identity(source, base=request.base), "dtype": request.dtype},
        "source_name": source.text,
        "base_name": base.name,
        "stage": manifest.get("stage"),
        "quantisation": trained_in(source),
        "template_options": (manifest.get("template") or {}).get("options") or {},
    }


def same_merge(output: Path, asked: dict) -> dict | None:
    """The record of an output that is this very merge, whole; None where there is nothing yet.

    Raises:
        Refused: the output is something else, another merge, or was altered.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return None
    if not (output / RECORD).is_file():
        raise Refused("the output is there already and is no merge", where=output, do="Choose another --output.")
    record = json.loads((output / RECORD).read_text(encoding="utf-8"))
    if changes := differences(record["request"], asked["request"]):
        raise Refused(f"the output is another merge: {'; '.join(changes)}", where=output, do="Choose another --output.")
    seen = file_hashes(output)
    if seen != record["files"]:
        raise Refused(
            f"the merged files were altered ({', '.join(changed_files(record['files'], seen))})",
            where=output,
            do="Remove the folder and merge again.",
        )
    return record


def card(source: Source, asked: dict, found: dict) -> str:
    """The merged folder's README: what it is, from what, and how close."""
    stage = "a" if asked["stage"] is None else f"an `align {asked['stage']}`"
    base = f" `{asked['base_name']}`" if base_is_public(asked) else ""
    task = from_entry(found["task"])
    loader = task.maker
    compared = found["compared"]
    return (
        f"---\nlibrary_name: transformers\ntags:\n- align\n---\n\n# {Path(source.text).name}, merged\n\n"
        f"{WORDS[task.name].capitalize()}: the adapter of {stage} run folded into its base{base}, "
        f"weights in {found['dtype']}.\n\n"
        f'```python\nfrom transformers import {loader}\n\nmodel = {loader}.from_pretrained("PATH")\n```\n\n'
        "Outputs on probe rows, largest relative difference: merged against base plus adapter "
        f"{compared['merged']:.1e}, read back from disk {compared['read_back']:.1e}; the adapter itself moves them by "
        f"{compared['adapter_effect']:.1e}.\n"
    )


def base_is_public(asked: dict) -> bool:
    """Whether the base's name may stand in a card: a hub id, no path of this machine."""
    return (asked["request"]["source"].get("base") or {}).get("kind") == "hub"
