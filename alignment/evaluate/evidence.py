"""Can the result be believed? Prompts that were trained on, and reward models from the policy's own pairs.

Light: manifests and data files only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from data_recipes.files import sha256_file, sha256_json
from data_recipes.origins import looks_like_path
from data_recipes.records import Comparison, Demonstration, Prompt
from data_recipes.split import by_prompt

from alignment.evaluate.arms import Arm, ancestors, run_behind
from alignment.runs import Run
from alignment.sources import Source

PARTS = ("train", "replay")
KINDS = {"sft": "demonstrations", "reward": "comparisons", "dpo": "comparisons", "ppo": "prompts"}


def conversation_key(messages: Sequence[Any]) -> str:
    """A hash of a conversation's roles and words; system prompts and white space would only hide a repetition."""
    turns = [
        (turn["role"], turn["content"]) if isinstance(turn, dict) else (turn.role, turn.content) for turn in messages
    ]
    return sha256_json([[role, " ".join((content or "").split())] for role, content in turns if role != "system"])


def prompt_keys(record: Any) -> set[str]:
    """The prompts in a record: for a chat each beginning that an assistant's turn follows; none for a plain text."""
    if isinstance(record, Comparison):
        return {conversation_key(record.prompt)}
    if isinstance(record, Prompt):
        return {conversation_key(record.messages)}
    if isinstance(record, Demonstration):
        turns = record.messages
        return {conversation_key(turns[:i]) for i in range(1, len(turns)) if turns[i].role == "assistant"}
    return set()


def overlap(records: Sequence[Any], arms: Iterable[Arm]) -> dict[str, dict]:
    """For each arm how many of the rows have a prompt that its runs, or their parents, were trained on.

    The training files are read again where they still are what they were; those that are not are listed.

    Returns:
        by arm name: rows, of, files (read), unchecked [{path, why}].
    """
    wanted = [prompt_keys(record) for record in records]
    cache: dict[tuple[str, str], list] = {}
    return {arm.name: _overlap_of(arm, wanted, cache) for arm in arms}


def _overlap_of(arm: Arm, wanted: list[set[str]], cache: dict) -> dict:
    return in_files({run.path: run for member in arm.members for run in ancestors(member)}.values(), wanted, cache)


def in_files(runs: Iterable[Run], wanted: list[set[str]], cache: dict) -> dict:
    """How many of the rows have a prompt that these runs were trained on: it lies in a training file, and was not held out."""
    trained: set[str] = set()
    files, unchecked = [], []
    for run in runs:
        if run.stage not in KINDS:  # a classifier's rows are plain texts, which have no prompt
            continue
        found: dict[str, list] = {part: [] for part in PARTS}
        for part in PARTS:
            for entry in _sources(run, part):
                path, why = find(run, entry)
                if path is None:
                    unchecked.append({"path": entry.get("path"), "why": why})
                    continue
                found[part] += _rows_of(path, entry, KINDS[run.stage], cache)
                files.append(str(path))
        own = by_prompt(found["train"], *_held_back(run))[0]
        trained = trained.union(*map(prompt_keys, own), *map(prompt_keys, found["replay"]))
    rows = sum(1 for keys in wanted if keys & trained)
    return {"rows": rows, "of": len(wanted), "files": sorted(set(files)), "unchecked": unchecked}


def _held_back(run: Run) -> tuple[float, int]:
    """(Share of its training prompts that a run held out, the seed of that split), as `alignment.data.read_rows` splits."""
    config = run.manifest.get("config") or {}
    data, training = config.get("data") or {}, config.get("training") or {}
    seed = data.get("split_seed")
    share = 0 if data.get("validation") else data.get("validation_share") or 0
    return share, training.get("seed", 0) if seed is None else seed


def _sources(run: Run, part: str) -> list[dict]:
    return ((run.manifest.get("data") or {}).get(part) or {}).get("sources") or []


def training_sources(run: Run) -> list[dict]:
    """What the manifest says about the files that the run was trained on, those of replayed rows among them."""
    return [source for part in PARTS for source in _sources(run, part)]


def find(run: Run, entry: dict) -> tuple[Path | None, str]:
    """Where a training file lies now; None and the reason where it does not, or is another."""
    candidates = [Path(os.path.abspath(run.path / entry["path"])), Path(os.path.abspath(entry["path"]))]
    there = [path for path in candidates if path.is_file()]
    if not there:
        return None, "the file is not there" if looks_like_path(entry["path"]) else "a hub data set is not read again"
    same = [path for path in there if sha256_file(path) == entry["sha256"]]
    return (same[0], "") if same else (None, "the file has changed since")


def _rows_of(path: Path, entry: dict, kind: str, cache: dict) -> list:
    if (entry["sha256"], kind) not in cache:
        from data_recipes.readers import read

        # Bad rows were counted when the run was trained; here they are only left out. A file without a row has no format.
        form = entry.get("format") or "auto"
        rows = read(str(path), kind, format="auto" if form == "unknown" else form, max_rejected=1.0).records
        cache[entry["sha256"], kind] = rows
    return cache[entry["sha256"], kind]


def proxies(reward: Source, arms: Iterable[Arm]) -> list[dict]:
    """Arms for which the reward run is a proxy: it was trained on the same pairs, or they were trained against it.

    Returns:
        [{arm, why}]; empty where the manifests show no such tie.
    """
    reward = run_behind(reward)
    if reward.kind != "run":
        return []
    card = Run.open(reward.path)
    pairs = {entry.get("sha256") for entry in training_sources(card)}
    found = []
    for arm in arms:
        runs = [run for member in arm.members for run in ancestors(member)]
        if any(_is(run, card) for run in runs):
            found.append({"arm": arm.name, "why": "it was trained against this reward run"})
        elif any(
            run.stage != "sft" and pairs & {entry.get("sha256") for entry in training_sources(run)} for run in runs
        ):
            found.append({"arm": arm.name, "why": "it was trained on the same pairs as this reward run"})
    return found


def _is(run: Run, card: Run) -> bool:
    return run.path == card.path or (
        run.stage == "reward" and run.manifest.get("content_hash") == card.manifest.get("content_hash")
    )
