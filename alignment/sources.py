"""What a model may be: a run, a folder or a hub id. Light: nothing here imports torch.

The rules are those of the design: what exists here as a folder is that folder; what has a leading `.`, `/` or `~`, or more
than one `/`, is a path and must exist; `owner/name` is otherwise a hub id; `hub:` forces it. A path that is not there is an
error and never a hub look-up, since a typing mistake would otherwise fetch a stranger's model.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from data_recipes import hub
from data_recipes.errors import Refused

MANIFEST = "align.json"


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    kind: "run" (a folder with our manifest), "folder" (any transformers or PEFT folder) or "hub".
    path: the folder, for the first two. hub_id and revision: for the third.
    """

    text: str
    kind: str
    path: Path | None = None
    hub_id: str | None = None
    revision: str | None = None

    @property
    def name(self) -> str:
        """What the libraries' `from_pretrained` is given."""
        return self.hub_id if self.kind == "hub" else str(self.path)

    @property
    def fetching(self) -> dict:
        """Keyword arguments for the libraries' `from_pretrained` beside the name: the revision, and where to look."""
        if self.kind != "hub":
            return {"revision": self.revision}
        return {"revision": self.revision, "local_files_only": bool(hub.closed())}

    @property
    def manifest(self) -> dict | None:
        """The run's manifest, or None where this is no run."""
        return read_object(self.path / MANIFEST) if self.kind == "run" else None

    @property
    def is_adapter(self) -> bool:
        """Whether the folder (or hub repository) holds an adapter and no whole model."""
        if self.kind == "hub":
            return hub_file(self, "adapter_config.json") is not None
        return (self.path / "adapter_config.json").is_file()

    def adapter_config(self) -> dict:
        """The adapter's PEFT config as JSON."""
        file = hub_file(self, "adapter_config.json") if self.kind == "hub" else self.path / "adapter_config.json"
        return read_object(Path(file))


def read_object(file: Path) -> dict:
    """The JSON object that a model's file holds. Raises Refused where it holds none: cut short, or altered by hand."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        found = error
    if isinstance(found, dict):
        return found
    raise Refused(
        f"the file cannot be read as JSON ({found if isinstance(found, Exception) else 'it holds no object'})",
        where=file,
        do="Restore it, or make the run (fetch the model) anew.",
    )


def resolve(text: str | Path, *, revision: str | None = None) -> Source:
    """Tells a run, a folder and a hub id apart.

    Raises:
        Refused: a path that does not exist, or a folder without a model. Whether a hub model can be had shows on loading.
    """
    text = str(text)
    forced = text.startswith("hub:")
    name = text.removeprefix("hub:")
    path = Path(name).expanduser()
    if not forced and path.is_dir():
        return _folder(text, path, revision)
    if not forced and looks_like_path(name):
        raise Refused(
            f"there is no folder '{name}'",
            where="model",
            expected="a run, a model folder or a hub id owner/name",
            do="If an earlier stage should have written it, run that stage first; nothing is looked up on a hub for a path "
            "(`hub:` in front says that a hub id is meant).",
        )
    hub_id, _, inline = name.partition("@")
    return Source(text=text, kind="hub", hub_id=hub_id, revision=inline or revision)


def looks_like_path(name: str) -> bool:
    """Whether a name that is no folder here can only be meant as a path.

    `runs/sft` is a parent run that is not there yet, not the model `sft` of a hub user `runs`: a first part that is a
    folder here, or is called `runs`, makes a path. `hub:` in front overrules.
    """
    if name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or not all(name.split("/")):
        return True
    first, slash, _ = name.partition("/")
    return bool(slash) and (first == "runs" or Path(first).is_dir())


def _folder(text: str, path: Path, revision: str | None) -> Source:
    path = Path(os.path.abspath(path))  # not resolve(): a link keeps the name that the user gave it
    if (path / MANIFEST).is_file():
        return Source(text=text, kind="run", path=path)
    if (path / "config.json").is_file() or (path / "adapter_config.json").is_file():
        return Source(text=text, kind="folder", path=path, revision=revision)
    raise Refused(
        f"the folder '{text}' holds no model",
        where="model",
        expected=f"{MANIFEST} (a run), config.json (a model) or adapter_config.json (an adapter)",
        do="Name the folder that holds the files themselves.",
    )


def base_of(source: Source, *, base: str | None = None) -> Source:
    """The base model under an adapter; the source itself where it is a whole model.

    A run's local base is found from the manifest's relative path first, so that a moved tree still works, then from the
    absolute path of the adapter's own config. `base` (config key `model.base`) overrules both.

    Raises:
        Refused: a local base is not where it was.
    """
    if not source.is_adapter:
        return source
    if base:
        return resolve(base)
    config = source.adapter_config()
    recorded = (source.manifest or {}).get("base") or {}
    if recorded.get("kind") == "hub":
        return Source(text=recorded["id"], kind="hub", hub_id=recorded["id"], revision=recorded.get("revision"))
    candidates = [source.path / recorded["path"]] if recorded.get("path") else []
    name = config.get("base_model_name_or_path") or ""
    if name and Path(name).is_absolute():
        candidates.append(Path(name))
    for candidate in candidates:
        if candidate.is_dir():
            return resolve(os.path.abspath(candidate))
    if candidates or looks_like_path(name):
        raise Refused(
            f"the base model of '{source.text}' is not where it was ({' or '.join(map(str, candidates)) or name})",
            where="model.base",
            expected="the folder of the base model",
            do="Say where it is now: --set model.base=PATH in a stage, --base-at PATH in the other commands. Its content is "
            "checked against the manifest.",
        )
    return Source(text=name, kind="hub", hub_id=name, revision=config.get("revision"))


def hub_file(source: Source, name: str) -> str | None:
    """Path of one file of a hub repository in the local cache, fetched where the hub may be asked; None if it has none."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    cached = try_to_load_from_cache(source.hub_id, name, revision=source.revision)
    if isinstance(cached, str):
        return cached
    if hub.closed():
        return None
    try:
        return hf_hub_download(source.hub_id, name, revision=source.revision)
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise hub_refusal(source, error) from error


def check_hub(source: Source) -> None:
    """Raises Refused where a hub model is asked for that is not in the cache while the hub cannot be asked."""
    if source.kind == "hub" and hub.closed() and not _is_cached(source):
        raise out_of_reach(source)


def _is_cached(source: Source) -> bool:
    return any(hub_file(source, name) for name in ("config.json", "adapter_config.json"))


def out_of_reach(source: Source) -> Refused:
    """One paragraph for a model that is not in the cache while the hub is switched off or gives no answer."""
    return Refused(
        f"the hub model '{source.hub_id}' is not in the local cache, and {hub.closed()}",
        where="model",
        expected="a connection to the hub, a model that is in the cache, or a folder",
        do="Fetch it once where there is a network (hf download), or put the model into a folder and name that folder.",
    )


def hub_refusal(source: Source, error: Exception) -> Refused:
    """One paragraph for a gated, missing or unreachable hub model."""
    if hub.closed() and not _is_cached(source):
        return out_of_reach(source)
    return Refused(
        f"the hub model '{source.hub_id}' could not be read ({type(error).__name__}: {str(error).splitlines()[0][:200]})",
        where="model",
        expected="a public model, or a gated one to which you have access",
        do="For a gated model accept its terms on its page and run `hf auth login`; without a network put the model into a "
        "folder and name that folder.",
    )
