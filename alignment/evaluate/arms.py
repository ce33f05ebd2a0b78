"""What is compared: one arm is a run, a folder or a hub model, or several seeds of one run. Light: no torch."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from data_recipes.errors import Refused

from alignment.merge import RECORD
from alignment.runs import Run, finished_run
from alignment.sources import Source, base_of, resolve


@dataclass(frozen=True)
class Arm:
    """A row of the result.

    name: what it is called in tables. members: its seeds, one or more. dressed_as: the run whose tokenizer and
    template the model is used with; only for the base arm, which has no template of its own.
    """

    name: str
    members: tuple[Source, ...]
    dressed_as: Source | None = None


def parse(texts: tuple[str, ...], *, base: bool = False, base_at: str | None = None) -> list[Arm]:
    """The arms of a command line: `RUN`, `RUN,RUN,RUN` for the seeds of one run, either with a `NAME=` before it.

    Args:
        base: adds the first run's base model as the last arm.
        base_at: where a base lies that has moved.

    Raises:
        Refused: nothing there, a run that is not completed or whose files changed, or two arms of one name.
    """
    arms = [parse_one(text) for text in texts]
    if base:
        first = arms[0].members[0]
        arms.append(Arm("base", (base_source(first, base_at),), dressed_as=first))
    names = [arm.name for arm in arms]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Refused(f"two arms are called '{twice[0]}'", where="RUN", do="Give them names: NAME=RUN.")
    return arms


def parse_one(text: str) -> Arm:
    """One arm; a folder whose name holds a comma or an equals sign is that folder.

    Raises:
        Refused: it names no model, or a run that is not completed or was altered.
    """
    if Path(text).is_dir():
        return Arm(tidy(text), (finished(resolve(text)),))
    name, equals, rest = text.partition("=")
    named = bool(equals) and "/" not in name and bool(name)
    members = tuple(finished(resolve(part)) for part in (rest if named else text).split(",") if part)
    if not members:
        raise Refused(f"'{text}' names no model", where="RUN", expected="RUN, RUN,RUN,... or NAME=RUN")
    check_seeds(text, members)
    return Arm(name if named else group_name(members), members)


def check_seeds(text: str, members: tuple[Source, ...]) -> None:
    """Raises Refused where what one comma joins cannot be seeds of one run: one model twice, or runs of several stages."""
    places = [f"{member.name}@{member.revision}" for member in members]
    if twice := next((member.text for member, place in zip(members, places, strict=True) if places.count(place) > 1), None):
        raise Refused(f"'{twice}' stands twice in one arm", where=f"RUN {text}", expected="each seed once")
    stages = sorted({member.manifest["stage"] for member in members if member.kind == "run"})
    if len(stages) > 1:
        raise Refused(
            f"runs of several stages ({', '.join(stages)}) are no seeds of one run",
            where=f"RUN {text}",
            expected="runs that differ in their seeds",
            do="To compare them, write a space in place of the comma.",
        )


def group_name(members: tuple[Source, ...]) -> str:
    """`runs/dpo-1,runs/dpo-2` are called `runs/dpo-*`."""
    if len(members) == 1:
        return tidy(members[0].text)
    common = os.path.commonprefix([tidy(member.text) for member in members])
    return f"{common or tidy(members[0].text)}*"


def tidy(text: str) -> str:
    """A path without its last slash."""
    return text.rstrip("/\\") or text


def finished(source: Source) -> Source:
    """The source itself. Raises Refused where it is a run that is not completed, or whose files are other ones now."""
    if source.kind == "run":
        finished_run(source)
    return source


def base_source(source: Source, base_at: str | None = None) -> Source:
    """The base model under a run or an adapter.

    Raises:
        Refused: the source is a whole model that says nothing about what it was tuned from.
    """
    if source.is_adapter:
        return base_of(source, base=base_at)
    if base_at:
        return resolve(base_at)
    recorded = (source.manifest or {}).get("base") or {}
    if recorded.get("kind") == "hub":
        return Source(text=recorded["id"], kind="hub", hub_id=recorded["id"], revision=recorded.get("revision"))
    if recorded.get("path"):
        return resolve(os.path.abspath(source.path / recorded["path"]))
    raise Refused(
        f"'{source.text}' does not say what its base is",
        where="--base",
        expected="a run or an adapter as the first model",
        do="Name the base itself as one of the models.",
    )


def run_behind(source: Source) -> Source:
    """The run that a merged folder was made from, where it is still there and the same; else the source itself."""
    record = source.path / RECORD if source.kind == "folder" else None
    if record is None or not record.is_file():
        return source
    made = json.loads(record.read_text(encoding="utf-8"))
    path, content = Path(made["source_name"]).expanduser(), made["request"]["source"].get("content")
    same = (path / "align.json").is_file() and Run.open(path).manifest.get("content_hash") == content
    return resolve(path) if same else source


def ancestors(source: Source) -> list[Run]:
    """The run and all its parents of whatever role, back to the base; those that are no longer there are left out."""
    source = run_behind(source)
    if source.kind != "run":
        return []
    found: dict[Path, Run] = {}
    waiting = [source.path]
    while waiting:
        path = Path(os.path.abspath(waiting.pop()))
        if path in found or not (path / "align.json").is_file():
            continue
        found[path] = Run.open(path)
        waiting += [path / parent["path"] for parent in found[path].manifest.get("parents", [])]
    return list(found.values())
