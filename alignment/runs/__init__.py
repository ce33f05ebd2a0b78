"""The run directory: manifest, lock, parents, and what may resume. Light: no torch.

`align.json` is the manifest. Its `state` is `running`, `interrupted`, `failed` or `completed`; `completed` is the last
write of a stage and comes by rename. Paths in it are relative to the run, so that a whole tree of runs can move.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from data_recipes.errors import Refused
from data_recipes.files import sha256_file, sha256_json, take_lock, write_json

from alignment.sources import MANIFEST, Source, read_object

FORMAT = 1
PRIVATE = "private"
MERGED = "base"  # folder of a run that holds the base with the parent's adapter folded in
MERGE_RECORD = "align-merge.json"  # what `align merge` leaves in a folder that it wrote
CHECKPOINTS = "checkpoints"
REFUSED = "refused"  # state of a run that was stopped by its limits before anything of it was kept
METRICS = "metrics.jsonl"
LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
# Where a model lies is no part of what it is: these keys are left out when a config file is hashed.
PATH_KEYS = {"base_model_name_or_path", "_name_or_path", "name_or_path"}
RESULT_NAMES = (
    "*.safetensors",
    "*.safetensors.index.json",
    "adapter_config.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "chat_template.jinja",
)


@dataclass
class Run:
    """One run directory and its manifest."""

    path: Path
    manifest: dict = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """Reads a run. Raises Refused where the folder holds none, or a manifest that cannot be read."""
        path = Path(os.path.abspath(path))
        file = path / MANIFEST
        if not file.is_file():
            raise Refused("there is no run here", where=path, expected=f"a folder with {MANIFEST}")
        manifest = read_object(file)
        if missing := {"stage", "state"} - manifest.keys():
            raise Refused(f"this is no run's manifest: it has no {' and no '.join(sorted(missing))}", where=file)
        return cls(path, manifest)

    @property
    def stage(self) -> str:
        return self.manifest["stage"]

    @property
    def state(self) -> str:
        return self.manifest["state"]

    @property
    def private(self) -> Path:
        return self.path / PRIVATE

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def metrics_file(self) -> Path:
        return self.path / METRICS

    def write(self, **changes: Any) -> None:
        """Updates the manifest and writes it by rename."""
        self.manifest.update(changes, updated=now())
        write_json(self.path / MANIFEST, self.manifest)

    def check_unchanged(self) -> None:
        """Raises Refused unless the result files are those that the manifest was written for."""
        seen, recorded = content_hash(self.path), self.manifest.get("content_hash")
        if seen != recorded:
            changed = changed_files(self.manifest.get("files", {}), file_hashes(self.path))
            raise Refused(
                f"the run's files are not those its manifest was written for ({', '.join(changed)})",
                where=self.path,
                expected=f"content {str(recorded)[:12]}, found {seen[:12]}",
                do="Restore the files, or make the run anew.",
            )


def now() -> str:
    """UTC time to the second, as text."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of the libraries that decide the numbers."""
    return {name: metadata.version(name) for name in LIBRARIES}


def file_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each result file (weights, configs, tokenizer), by name; where a base lies is left out."""
    names = sorted({file.name for pattern in RESULT_NAMES for file in folder.glob(pattern) if file.is_file()})
    return {name: _file_hash(folder / name) for name in names}


def content_hash(folder: Path) -> str:
    """One hash for what a model folder is, wherever it lies."""
    return sha256_json(file_hashes(folder))


def changed_files(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Names that were added, removed or altered."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)) or [
        "none listed"
    ]


def _file_hash(path: Path) -> str:
    if path.name in ("adapter_config.json", "config.json", "tokenizer_config.json"):
        try:
            return sha256_json({key: item for key, item in read_object(path).items() if key not in PATH_KEYS})
        except Refused:  # no JSON any more: it differs from whatever was recorded, and is to be named as altered
            return sha256_file(path)
    return sha256_file(path)


# ---------------------------------------------------------------------------------------------------------------- locking


@contextlib.contextmanager
def locked(path: Path, *, sweep: bool = False):
    """Holds the run's lock; it dies with its holder, so a kill leaves nothing to clean up.

    sweep: take an empty folder away at the end, where nothing came of it. Raises Refused where another process holds it.
    """
    path.mkdir(parents=True, exist_ok=True)
    with open(path / ".lock", "w") as file:
        _take_lock(file, path)
        try:
            yield
        finally:
            if sweep and [item.name for item in path.iterdir()] == [".lock"]:  # refused before anything was written
                (path / ".lock").unlink()
                path.rmdir()


def _take_lock(file, path: Path) -> None:
    try:
        take_lock(file)
    except OSError as error:
        raise Refused(
            "another process is working on this run", where=path, do="Wait for it, or stop it first."
        ) from error


# ---------------------------------------------------------------------------------------------------------- what differs


def differences(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Lines `key: old -> new` for each leaf that differs between two JSON values."""
    if isinstance(before, dict) and isinstance(after, dict):
        lines = []
        for key in sorted(before.keys() | after.keys()):
            lines += differences(before.get(key), after.get(key), f"{prefix}{key}.")
        return lines
    return [] if before == after else [f"{prefix.rstrip('.')}: {_short(before)} -> {_short(after)}"]


def changes(before: dict, after: dict, usual: frozenset[str]) -> list[str]:
    """`differences` of a recorded request and one of now, less what a release of ours has added in between.

    What the record does not know is no difference where it is a setting in `usual` (`StageConfig.usual`: it has its default and
    nobody wrote it), or an input that is empty. What the record knows always differs by its value, whoever wrote it.
    """
    inputs = {key: value for key, value in after.items() if key in before or value != []}
    return differences(before, {**inputs, "config": _less_news(after["config"], before.get("config", {}), usual)})


def _less_news(after: dict, before: dict, usual: frozenset[str], prefix: str = "") -> dict:
    kept = {}
    for key, value in after.items():
        name, known = f"{prefix}{key}", before.get(key)
        if isinstance(value, dict):
            value = _less_news(value, known if isinstance(known, dict) else {}, usual, f"{name}.")
        if key in before or not (name in usual or value == {}):
            kept[key] = value
    return kept


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


# ---------------------------------------------------------------------------------------------------------------- parents


def finished_run(source: Source) -> Run:
    """The run of a source. Raises Refused where it is not completed, or its files changed since its manifest was written."""
    run = Run.open(source.path)
    if run.state != "completed":
        raise Refused(
            f"this run is {run.state}, not completed",
            where=source.text,
            do="Run the command that makes it again; it continues where it stopped.",
        )
    run.check_unchanged()
    return run


def check_parent(source: Source, *, stages: tuple[str, ...]) -> dict | None:
    """The parent's entry for a child's manifest; None where the source is no run.

    Raises:
        Refused: the parent is not completed, of another stage, or its files changed since its manifest was written.
    """
    if source.kind != "run":
        return None
    run = finished_run(source)
    if run.stage not in stages:
        raise Refused(
            f"a run of stage '{run.stage}' does not fit here", where=source.path, expected=" or ".join(stages)
        )
    return {"role": "model", "path": str(run.path), "stage": run.stage, "content_hash": run.manifest["content_hash"]}


def trained_in(source: Source) -> str:
    """How the base was held when a run's adapter was trained: 4bit, 8bit or none; none where the source is no run."""
    return (((source.manifest or {}).get("config") or {}).get("model") or {}).get("quantisation", "none")


def relative_to_run(path: Path | str, run: Path) -> str:
    """A path as the manifest keeps it: relative to the run, with forward slashes."""
    try:
        return Path(os.path.relpath(path, run)).as_posix()
    except ValueError:  # another drive on Windows has no relative path
        return Path(path).as_posix()


def parent_path(run: Run, parent: dict) -> Path:
    """Where a parent recorded in a manifest lies now."""
    return Path(os.path.abspath(run.path / parent["path"]))


def describe_base(base: Source, run: Path) -> dict:
    """The manifest's entry for the base model."""
    if base.kind == "hub":
        return {"kind": "hub", "id": base.hub_id, "revision": base.revision, "hash": None}
    return {
        "kind": "folder",
        "path": relative_to_run(base.path, run),
        "revision": None,
        "hash": content_hash(base.path),
    }


def check_base(source: Source, base: Source) -> None:
    """Raises Refused where a run's local base is not the one it was trained on."""
    if not source.is_adapter:  # a run whose whole model was tuned needs its base no more
        return
    entry = (source.manifest or {}).get("base") or {}
    recorded = entry.get("hash")
    if recorded and base.kind == "hub" != entry["kind"]:
        raise Refused(
            f"whether {base.hub_id} is the folder this run was trained on cannot be told",
            where=source.text,
            expected="a folder, whose content is compared with what the run recorded",
            do=f"Fetch it (hf download {base.hub_id} --local-dir FOLDER) and name that folder.",
        )
    if recorded and base.kind != "hub" and content_hash(base.path) != recorded:
        raise Refused(
            "the base model's files are not those this run was trained on",
            where=base.path,
            expected=f"content {recorded[:12]}, as recorded by {source.text}",
            do="Name the right folder: --set model.base=PATH in a stage, --base-at PATH in the other commands.",
        )
