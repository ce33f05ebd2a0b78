"""`align export`: a run or model folder with only what may be published, as a folder or on the hub. Light: no torch.

What is taken is a list of names, never "all but"; rows, samples, checkpoints and metrics stay at home. Paths of this
machine are taken out of the manifest and refused anywhere else, secrets are looked for in every byte that is written.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_recipes import hub
from data_recipes.errors import Failed, Refused
from data_recipes.files import write_json

from alignment.merge import RECORD
from alignment.publishing.scrub import local_paths, read_json, scrubbed_manifest, scrubbed_record, without_paths
from alignment.publishing.secret_scan import scan
from alignment.runs import METRICS, RESULT_NAMES, content_hash, file_hashes
from alignment.runs.identity import identity
from alignment.runs.staging import staged, workplace
from alignment.sources import MANIFEST, Source, base_of, resolve

PUBLISHED = (*RESULT_NAMES, "README.md", "LICENSE*")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
FIGURES = re.compile(r"^## Figures\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)  # a section of the run's card
REWRITTEN = ("adapter_config.json", "config.json", "tokenizer_config.json")


@dataclass(frozen=True)
class ExportRequest:
    """One `align export` command.

    to: "folder" (output) or "hub" (repo, private). base_id: the hub id that stands for a local base. with_metrics: the
    curves and final figures too.
    """

    model: str
    to: str
    output: Path | None = None
    repo: str | None = None
    private: bool = False
    base_id: str | None = None
    with_metrics: bool = False

    def __post_init__(self) -> None:
        _require(self.to in ("folder", "hub"), f"--to cannot be '{self.to}'", "folder or hub")
        _require(self.to != "folder" or self.output is not None, "--to folder needs --output", "a new folder")
        _require(self.to != "hub" or self.repo is not None, "--to hub needs --repo", "owner/name")
        _require(
            self.to == "hub" or not (self.repo or self.private),
            "--repo and --private belong to --to hub",
            "--output DIR",
        )
        _require(self.to == "folder" or self.output is None, "--output belongs to --to folder", "--repo OWNER/NAME")
        for name in (self.repo, self.base_id):
            _require(name is None or HUB_ID.fullmatch(name) is not None, f"'{name}' is no hub id", "owner/name")


def _require(holds: bool, what: str, expected: str) -> None:
    if not holds:
        raise Refused(what, expected=expected)


def export(
    request: ExportRequest, ui: Any, *, api: Any = None, environ: Mapping[str, str] | None = None, dry_run: bool = False
) -> dict:
    """Writes or uploads what may be published; returns a summary.

    Args:
        api: a `huggingface_hub.HfApi`, or something with its methods; made when it is needed.
        environ: where secret values are looked up; the process's own unless given.

    Raises:
        Refused: the run is not completed, a local base has no public name, or a secret or a path would be published.
    """
    source = resolve(request.model)
    if source.kind == "hub":
        raise Refused("a hub model is published already", where=request.model, expected="a run or a folder")
    identity(source, base=request.base_id)  # completed, and the files are those of the manifest
    base = public_base(source, request.base_id)
    if request.base_id:
        ui.say(compared_base(source, request.base_id, api))
    taken, left = choose(source.path, request.with_metrics)
    ui.say(f"published: {', '.join(taken)}")
    ui.say(f"left here: {', '.join(left) or 'nothing'}")
    if ((source.manifest or {}).get("template") or {}).get("options", {}).get("system"):
        ui.say("the run's system prompt is published too: the model was trained with it")
    summary = {"source": source.text, "to": request.to, "base": base, "published": taken, "left": left}
    if dry_run:
        return {**summary, "state": "dry-run"}
    environ = os.environ if environ is None else environ
    if request.to == "folder":
        return {**summary, **to_folder(request, source, base, taken, environ, ui)}
    return {**summary, **to_hub(request, source, base, taken, environ, ui, api)}


def to_folder(request: ExportRequest, source: Source, base: dict | None, taken: list[str], environ, ui: Any) -> dict:
    """Writes the folder; the same export again says so. Raises Refused where the folder holds something else."""
    output = Path(request.output)
    if output.is_dir() and any(output.iterdir()):
        with workplace(output) as folder:
            fill(folder, source, base, taken, request, environ)
            if all_hashes(folder) != all_hashes(output):
                raise Refused("the output is there already and differs", where=output, do="Choose another --output.")
        ui.say(f"{output} is this export already; nothing to do")
        return {"state": "already-completed", "output": str(output)}
    with staged(output) as folder:
        fill(folder, source, base, taken, request, environ)
    ui.say(f"exported to {output}")
    return {"state": "completed", "output": str(output)}


def to_hub(
    request: ExportRequest, source: Source, base: dict | None, taken: list[str], environ, ui: Any, api: Any
) -> dict:
    """Uploads the checked folder in one commit, then lists what is there. Raises Refused where the hub cannot be asked."""
    if api is None and (closed := hub.closed()):
        raise Refused(closed, where="--to hub", do="Come back with a network, or export --to folder.")
    with workplace(source.path.with_name(source.path.name + "-export")) as folder:
        fill(folder, source, base, taken, request, environ)
        sent = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        address = upload(api or _hub_api(), folder, request, sent)
    ui.say(f"exported to {address}")
    return {"state": "completed", "repo": request.repo, "address": address, "private": request.private}


def _hub_api() -> Any:
    from huggingface_hub import HfApi

    return HfApi()


def upload(api: Any, folder: Path, request: ExportRequest, sent: list[str]) -> str:
    """Creates the repository where needed, uploads in one commit, proves that all files arrived; returns the address.

    Raises:
        Refused: --private was asked for and the repository is public; `create_repo` would not change that.
        Failed: a file is not there afterwards.
    """
    api.create_repo(request.repo, private=request.private, exist_ok=True, repo_type="model")
    if request.private and not api.repo_info(request.repo).private:
        raise Refused(
            "the repository exists and is public",
            where=request.repo,
            expected="a private one, as --private asks",
            do="Make it private on its page, or choose another name. Nothing was uploaded.",
        )
    commit = api.upload_folder(repo_id=request.repo, folder_path=str(folder), commit_message="Export of an align run")
    if missing := sorted(set(sent) - set(api.list_repo_files(request.repo))):
        raise Failed(
            f"{len(missing)} files did not arrive: {', '.join(missing)}",
            where=request.repo,
            do="Run the command again.",
        )
    return str(getattr(commit, "repo_url", None) or request.repo)


# ----------------------------------------------------------------------------------------------------- what is written


def choose(folder: Path, with_metrics: bool) -> tuple[list[str], list[str]]:
    """(names that are published, names that stay), of the files and folders directly in the model's folder.

    Raises Refused where a weights file is kept as a pickle only.
    """
    wanted = {file.name for pattern in PUBLISHED for file in folder.glob(pattern) if file.is_file()}
    wanted |= {name for name in (MANIFEST, RECORD, *([METRICS] if with_metrics else [])) if (folder / name).is_file()}
    if not any(name.endswith(".safetensors") for name in wanted):
        raise Refused("there are no weights in safetensors here", where=folder, do="Only safetensors are published.")
    left = sorted(
        item.name + "/" * item.is_dir() for item in folder.iterdir() if item.name not in wanted and item.name != ".lock"
    )
    return sorted(wanted), left


def public_base(source: Source, base_id: str | None) -> dict | None:
    """The base's public name {id, revision} for an adapter; None for a whole model.

    Raises:
        Refused: the base is a local folder, whose path means nothing to anybody else.
    """
    if not source.is_adapter:
        if base_id:
            raise Refused("--base-id is for adapters; this is a whole model", where=source.text)
        return None
    recorded = (source.manifest or {}).get("base") or {}
    config = source.adapter_config()
    name = recorded.get("id") or config.get("base_model_name_or_path") or ""
    if base_id:
        return {"id": base_id, "revision": recorded.get("revision") if recorded.get("id") == base_id else None}
    local = recorded.get("kind") == "folder" or not HUB_ID.fullmatch(name) or Path(name).exists()
    if local:
        raise Refused(
            "the adapter's base is a folder on this machine, where nobody else finds it",
            where=source.text,
            expected="a base from the hub",
            do="Say with --base-id owner/name what it is on the hub, or publish the merged model "
            "(align merge, then align export).",
        )
    return {"id": name, "revision": recorded.get("revision") or config.get("revision")}


def compared_base(source: Source, base_id: str, api: Any) -> str:
    """What a comparison of the local base's weights with those of `base_id` on the hub says; a sentence for the user.

    The hub lists the SHA-256 of each large file, so that nothing is fetched.

    Raises:
        Refused: a weights file of the same name is another one there.
    """
    unchecked = f"that {base_id} is the base this was trained on was not checked"
    try:
        local = base_of(source)
    except Refused as error:
        return f"{unchecked}: {error.what}"
    if local.kind == "hub":
        return f"{unchecked}: the base itself came from the hub, as {local.hub_id}"
    if api is None and (closed := hub.closed()):
        return f"{unchecked}: {closed}"
    try:
        info = (api or _hub_api()).model_info(base_id, files_metadata=True)
    except Exception as error:  # missing, gated, out of reach: the errors of huggingface_hub and httpx have no common base
        return f"{unchecked}: {' '.join(str(error).split())[:200]}"
    there = {file.rfilename: file.lfs.sha256 for file in info.siblings if file.lfs}
    here = {name: digest for name, digest in file_hashes(local.path).items() if name.endswith(".safetensors")}
    if not (both := sorted(here.keys() & there.keys())):
        return f"{unchecked}: no weights file there has the name of one here ({', '.join(sorted(here))})"
    if other := [name for name in both if here[name] != there[name]]:
        raise Refused(
            f"{base_id} is not the base this was trained on: {', '.join(other)} is another file there",
            where="--base-id",
            expected=f"the hub id of {local.path}",
            do="Name the right one, or publish the merged model (align merge, then align export).",
        )
    return f"{base_id} has the weights this was trained on ({', '.join(both)})"


def fill(folder: Path, source: Source, base: dict | None, taken: list[str], request: ExportRequest, environ) -> None:
    """Writes the published files into an empty folder, then looks for paths and secrets in what was written."""
    for name in taken:
        if name in (MANIFEST, RECORD):
            continue
        if name in REWRITTEN:
            write_json(
                folder / name,
                without_paths(read_json(source.path / name), base if name == "adapter_config.json" else None),
            )
        elif name == "README.md":
            (folder / name).write_text(card(source, base, with_metrics=request.with_metrics), encoding="utf-8")
        else:
            shutil.copyfile(source.path / name, folder / name)
    if MANIFEST in taken:
        manifest = scrubbed_manifest(source.manifest, base, with_metrics=request.with_metrics)
        write_json(folder / MANIFEST, {**manifest, "content_hash": content_hash(folder)})
    if RECORD in taken:
        write_json(folder / RECORD, {**scrubbed_record(read_json(source.path / RECORD)), "files": file_hashes(folder)})
    check_weights(folder, source.path)
    check_clean(folder, source, environ)


def card(source: Source, base: dict | None, *, with_metrics: bool) -> str:
    """The model card with the base's public name, and (unless asked) without its section of figures."""
    text = named_base((source.path / "README.md").read_text(encoding="utf-8"), source, base)
    front = "---\n"
    if (
        base and text.startswith(front) and "\nbase_model:" not in text
    ):  # a local base has no name that the run could write
        text = f"{front}base_model: {base['id']}\n" + text.removeprefix(front)
    return text if with_metrics else FIGURES.sub("", text).rstrip() + "\n"


def named_base(text: str, source: Source, base: dict | None) -> str:
    """A text with the base's public name where its path stood."""
    if base is None:
        return text
    recorded = (source.manifest or {}).get("base") or {}
    paths = {
        recorded.get("path"),
        recorded.get("path_absolute"),
        source.adapter_config().get("base_model_name_or_path"),
    }
    for path in sorted((path for path in paths if path), key=len, reverse=True):
        text = text.replace(path, base["id"])
    return text


def check_weights(folder: Path, original: Path) -> None:
    """Raises Failed where a written weights file is not byte for byte the original."""
    before, after = file_hashes(original), file_hashes(folder)
    for name in after:
        if name.endswith(".safetensors") and before[name] != after[name]:
            raise Failed(f"{name} was not written as it is", where=folder)


def check_clean(folder: Path, source: Source, environ: Mapping[str, str]) -> None:
    """Raises Refused where a path of this machine or a secret stands in a written file; nothing is published then."""
    found = scan(folder, environ)
    if found:
        raise Refused(
            "; ".join(f"{find.file} holds {find.what}" for find in found),
            where=source.text,
            expected="no secrets in what is published",
            do="Remove it from the run's file and from wherever it was read.",
        )
    paths = local_paths(folder, source)
    if paths:
        raise Refused(
            "; ".join(f"{name} names the path {path}" for name, path in paths),
            where=source.text,
            expected="no paths of this machine in what is published",
            do="Edit the file in the run.",
        )


def all_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative name."""
    from data_recipes.files import sha256_file

    return {str(file.relative_to(folder)): sha256_file(file) for file in sorted(folder.rglob("*")) if file.is_file()}
