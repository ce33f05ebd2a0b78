"""Taking this machine out of what is published: manifests and configs without paths. Light: standard library only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from alignment.publishing.secret_scan import VOCABULARY
from alignment.runs import PATH_KEYS
from alignment.sources import Source

# A path from a root, a home or a drive; a URL's slashes and fractions such as 1/2 are none.
ABSOLUTE = re.compile(r"^(?:/[^/\s]|~[/\\]|[A-Za-z]:[\\/]|\\\\|file:)")
# What a reader needs to load, judge and reproduce; everything else of a manifest stays.
KEPT = (
    "format",
    "stage",
    "state",
    "created",
    "updated",
    "adapter",
    "adapter_lineage",
    "reference",
    "template",
    "special_tokens",
    "seeds",
    "versions",
    "hardware",
    "counts",
)
CONFIG_SECTIONS = ("adapter", "training", "trainer", "hardware", "dpo", "reward", "ppo", "classify")
TEXTS = {".json", ".md", ".jinja", ".jsonl", ".txt", ""}


def read_json(file: Path) -> Any:
    """The JSON value of a file."""
    return json.loads(file.read_text(encoding="utf-8"))


def scrubbed_manifest(manifest: dict, base: dict | None, *, with_metrics: bool) -> dict:
    """A manifest of the same form that names no path, no file of rows and (unless asked) no metrics."""
    made = {key: without_absolute(manifest[key]) for key in KEPT if key in manifest}
    made["parents"] = []  # a parent is found by its path; what it was stands below
    made["trained_from"] = [
        {key: parent.get(key) for key in ("role", "stage", "content_hash")} for parent in manifest.get("parents", [])
    ]
    recorded = manifest.get("base") or {}
    made["base"] = {"kind": "hub", **base, "hash": recorded.get("hash")} if base else {"kind": "none"}
    made["data"] = {
        name: _counts(part) for name, part in (manifest.get("data") or {}).items() if isinstance(part, dict)
    }
    config = manifest.get("config") or {}
    made["config"] = {name: without_absolute(config[name]) for name in CONFIG_SECTIONS if name in config}
    if with_metrics:
        made["metrics"] = without_absolute(manifest.get("metrics"))
    return made


def _counts(part: dict) -> dict:
    """How many rows there were, and the hashes of their files; not the files' names, no notes on what is in them."""
    sources = [{key: source.get(key) for key in ("sha256", "format")} for source in part.get("sources") or []]
    return {**{key: part.get(key) for key in ("read", "kept", "rejected")}, "sources": sources}


def scrubbed_record(record: dict) -> dict:
    """A merge's record without the names that its command was given."""
    kept = {key: value for key, value in record.items() if key not in ("source_name", "base_name", "files")}
    return without_absolute(kept)


def without_paths(config: dict, base: dict | None) -> dict:
    """A config file without where it was loaded from; an adapter's names its base's hub id and revision."""
    made = {key: value for key, value in config.items() if key not in PATH_KEYS}
    if base is not None:
        made["base_model_name_or_path"] = base["id"]
        made["revision"] = base["revision"]
    return made


def without_absolute(value: Any) -> Any:
    """The JSON value with each absolute path replaced by its last part."""
    if isinstance(value, dict):
        return {key: without_absolute(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_absolute(item) for item in value]
    if isinstance(value, str) and ABSOLUTE.match(value):
        return re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return value


def local_paths(folder: Path, source: Source) -> list[tuple[str, str]]:
    """(file, path) for each known path of this machine that stands in a written text file."""
    known = known_paths(source)
    found = []
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix in TEXTS and not VOCABULARY.fullmatch(file.name):
            text = file.read_text(encoding="utf-8", errors="replace")
            found += [(file.name, path) for path in known if path in text]
    return found


def known_paths(source: Source) -> list[str]:
    """Paths that the run knows of: its own, the folder around it, its base's, and anything in the home folder."""
    recorded = (source.manifest or {}).get("base") or {}
    around = [f"{folder}/" for folder in (source.path.parent, Path.home()) if folder != Path(folder.anchor)]
    paths = {str(source.path), *around, recorded.get("path_absolute") or ""}
    if source.is_adapter:
        paths.add(source.adapter_config().get("base_model_name_or_path") or "")
    return sorted(path for path in paths if ABSOLUTE.match(path))
