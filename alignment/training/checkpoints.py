"""Checkpoints that are complete or not used: a seal with the hash of every file, written last.

The Trainer writes its files straight into `checkpoint-N`, takes the largest number on resume without a look inside, and
resumes silently wrong where the optimizer or RNG file is missing or has a flipped byte. Here a checkpoint counts only when
its seal names every file and every hash agrees. Light: no torch.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from data_recipes.files import sha256_file, sync_file, sync_folder, write_json, write_text

SEAL = "align_checkpoint.json"
PREFIX = "checkpoint-"
BEST = "best-"  # the weights of the best evaluation, beside the checkpoints
UNUSABLE = ".unusable"
LESS = "smaller.json"  # what a process that ran out of memory asks all processes to go on with


def seal(folder: Path, counters: dict) -> None:
    """Makes a checkpoint complete: hashes and syncs its files, then writes the seal by rename.

    `training_args.bin` is removed first: it is a pickle, it is never needed, and it can hold a token in clear.
    """
    (folder / "training_args.bin").unlink(missing_ok=True)
    files = {}
    for path in _files(folder):
        sync_file(path)
        files[path.relative_to(folder).as_posix()] = sha256_file(path)
    sync_folder(folder)
    write_json(folder / SEAL, {"step": step_of(folder), "files": files, "counters": counters})


def problem(folder: Path) -> str:
    """Why a checkpoint cannot be used; empty where it can."""
    try:
        sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        expected = dict(sealed["files"])
    except FileNotFoundError:
        return "it was not finished"
    except (ValueError, KeyError, TypeError):
        return f"its {SEAL} cannot be read"
    seen = {path.relative_to(folder).as_posix() for path in _files(folder)}
    if missing := sorted(expected.keys() - seen):
        return f"{missing[0]} is missing"
    if strange := sorted(seen - expected.keys()):
        return f"{strange[0]} does not belong to it"
    altered = [name for name, digest in sorted(expected.items()) if sha256_file(folder / name) != digest]
    return f"{altered[0]} was altered" if altered else ""


def newest_whole(folder: Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest checkpoint that is whole, and each newer one with the reason why it cannot be used. Reads only."""
    unusable = []
    for path in sorted(_checkpoints(folder), key=step_of, reverse=True):
        if not (reason := problem(path)):
            return path, unusable
        unusable.append((path, reason))
    return None, unusable


def newest_complete(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, and a line for each newer one that is not.

    Those that cannot be used are renamed out of the way, so that nothing is ever written into or resumed from them.
    """
    found, unusable = newest_whole(folder)
    notes = []
    for path, reason in unusable:
        kept = path.with_name(path.name + UNUSABLE)
        if kept.exists():
            shutil.rmtree(kept)
        path.rename(kept)
        notes.append(f"{path.name} cannot be used: {reason}; the one before is taken (it is kept as {kept.name})")
    return found, notes


def rotate(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` sealed checkpoints (one at least), and what was unusable once a newer one is sealed."""
    whole = sealed(folder)
    for path in whole[: -max(keep, 1)]:
        (path / SEAL).unlink()  # first, so that a kill half-way leaves nothing that looks complete
        shutil.rmtree(path)
    if whole:
        for path in folder.glob(f"{PREFIX}*{UNUSABLE}"):
            shutil.rmtree(path)


def sealed(folder: Path) -> list[Path]:
    """The checkpoints that have a seal, the oldest first; whether its hashes hold is `problem`'s to say."""
    return sorted((path for path in _checkpoints(folder) if (path / SEAL).is_file()), key=step_of)


def best_folder(folder: Path, step: int) -> Path:
    """Where the weights of the evaluation at `step` are kept."""
    return folder / f"{BEST}{step}"


def forget_best(folder: Path) -> None:
    """Removes the best weights once they are the run's result."""
    for path in folder.glob(BEST + "*"):
        shutil.rmtree(path)


def ask_for_less(folder: Path, plan: dict) -> None:
    """Leaves a smaller micro-batch for all processes of the next start; `plan` has world, micro_batch and accumulation."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / LESS, plan)


def asked_for(folder: Path, world: int) -> dict:
    """What `ask_for_less` left for a launch of `world` processes; empty where nothing was."""
    if not (folder / LESS).is_file():
        return {}
    plan = json.loads((folder / LESS).read_text(encoding="utf-8"))
    return {key: value for key, value in plan.items() if key != "world"} if plan["world"] == world else {}


def forget(folder: Path) -> None:
    """Removes all checkpoints of a run that is completed; what a kill leaves of them then harms nobody."""
    if folder.exists():
        shutil.rmtree(folder)


def counters(folder: Path) -> dict:
    """The counters kept in a seal."""
    return json.loads((folder / SEAL).read_text(encoding="utf-8"))["counters"]


def step_of(folder: Path) -> int:
    """The step at the end of a checkpoint's name."""
    return int(folder.name.removesuffix(UNUSABLE).rpartition("-")[2])


def cut_metrics(file: Path, step: int) -> None:
    """Cuts metrics.jsonl back to the lines up to `step`; what came later is trained again. A torn last line goes too."""
    if not file.is_file():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            break  # the process was killed while it wrote this line
        if row["step"] <= step:
            kept.append(line + "\n")
    write_text(file, "".join(kept))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)


def _checkpoints(folder: Path) -> list[Path]:
    return [p for p in folder.glob(PREFIX + "*") if p.is_dir() and p.name.removeprefix(PREFIX).isdigit()]
