"""What a run has forgotten: the loss on general rows beside that of the model it was tuned from. Light until measured.

General rows are demonstrations or texts that the run was not meant to learn. Both models see the same rows, so that the
difference is paired: Biderman et al. 2024 (arXiv 2405.09673) measure forgetting so, as the loss on the pretraining domain.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np

from data_recipes.errors import Refused
from data_recipes.intervals import bootstrap_ratio, bounds_text

from alignment.evaluate.arms import Arm, base_source, finished, tidy
from alignment.evaluate.evidence import in_files, prompt_keys
from alignment.evaluate.rows import read_rows
from alignment.runs import Run, parent_path
from alignment.sources import Source, resolve

WORST = 10  # rows listed
SOURCE = "source"  # column that says where a row is from
HEADLESS = ("sft", "dpo", "ppo")  # stages whose runs are policies


def measure(question: Any, compared: list[Arm], ui: Any) -> dict:
    """Each run's loss on the rows of `question.retain`, with the paired difference to what it was tuned from.

    Returns:
        rows, sources, arms: for each name, members, before, held_out (as in `held_out.describe`), by_source, worst.
    Raises:
        Refused: bad rows, or none.
    """
    rows = read_rows(question.retain, "demonstrations", format="auto", max_rejected=question.max_rejected, limit=question.limit)
    ui.say(f"{len(rows.records)} general rows from {', '.join(question.retain)}")
    lines = line_up(compared, question.how.get("base"))
    losses = {arm.name: _losses(question, arm, rows.records, ui) for arm in lines}
    before = {arm.name: _before_name(arm, lines, question.how.get("base")) if arm in compared else None for arm in lines}
    entries = [_entry(arm, before[arm.name], losses, rows.records, question.decoding.seed) for arm in lines]
    wanted = [prompt_keys(record) for record in rows.records]
    trained = {arm.name: in_files([Run.open(m.path) for m in arm.members if m.kind == "run"], wanted, {}) for arm in compared}
    return {"rows": len(rows.records), "sources": rows.ledger.sources, "arms": entries, "trained": trained}


def line_up(compared: list[Arm], base_at: str | None) -> list[Arm]:
    """What each run was tuned from, before the runs; each model once. Raises Refused where two are called the same."""
    found: dict[str, Arm] = {}
    given = {_place(arm.members[0]) for arm in compared}
    for arm in compared:
        before = before_of(arm, base_at)
        if before is not None and _place(before.members[0]) not in given:
            found.setdefault(_place(before.members[0]), before)
    names = [arm.name for arm in (*found.values(), *compared)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise Refused(f"two models are called '{twice}'", where="RUN", do="Give the run a name: NAME=RUN.")
    return [*found.values(), *compared]


def before_of(arm: Arm, base_at: str | None) -> Arm | None:
    """The policy that an arm's first member was tuned from: its parent run, or its base; None where it says neither."""
    source = arm.members[0]
    if arm.dressed_as is not None:
        return None
    for parent in (source.manifest or {}).get("parents", []):
        path = parent_path(Run.open(source.path), parent)
        if parent["role"] == "model" and parent["stage"] in HEADLESS and path.is_dir():
            shown = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
            return Arm(tidy(shown), (finished(resolve(path)),))
    if not (source.is_adapter or base_at or (source.manifest or {}).get("base")):
        return None
    return Arm("base", (base_source(source, base_at),), dressed_as=source)


def _before_name(arm: Arm, lines: list[Arm], base_at: str | None) -> str | None:
    before = before_of(arm, base_at)
    if before is None:
        return None
    return next(other.name for other in lines if _place(other.members[0]) == _place(before.members[0]))


def _place(source: Source) -> str:
    return str(source.path.resolve()) if source.path is not None else f"{source.hub_id}@{source.revision}"


def _losses(question: Any, arm: Arm, records: list, ui: Any) -> list:
    from alignment.evaluate import held_out
    from alignment.evaluate.policies import load_arm_member

    found = []
    for member in arm.members:
        loaded = load_arm_member(arm, member, question.how)
        ui.say(f"general rows: {arm.name} on {loaded.device}")
        found.append(held_out.measure(loaded, records, batch_size=question.batch_size))
        del loaded
        gc.collect()  # the next model needs the room
    return found


def _entry(arm: Arm, before: str | None, losses: dict, records: list, seed: int) -> dict:
    from alignment.evaluate import held_out

    first = losses[before] if before else None
    described = held_out.describe(losses[arm.name], first, seed=seed)
    entry = {"name": arm.name, "members": [member.text for member in arm.members], "before": before, "held_out": described,
             "by_source": [], "worst": []}
    if described["difference"] is None:
        return entry
    ours_R, theirs_R = (np.mean([member.nats_R for member in losses[name]], axis=0) for name in (arm.name, before))
    tokens_R = losses[arm.name][0].tokens_R
    return {**entry, "by_source": by_source(ours_R, theirs_R, tokens_R, records, seed=seed),
            "worst": worst(ours_R, theirs_R, tokens_R, records)}


def by_source(ours_R, theirs_R, tokens_R, records: list, *, seed: int) -> list[dict]:
    """The difference a token for each source that rows name; nothing where they name none, or one alone."""
    named = [str(record.extra.get(SOURCE, "")) for record in records]
    if len(set(named)) < 2:
        return []
    found = []
    for name in sorted(set(named)):
        chosen_R = np.array([other == name for other in named])
        tokens = tokens_R[chosen_R]
        found.append({
            "source": name or "(none)", "rows": int(chosen_R.sum()), "loss": float(ours_R[chosen_R].sum() / tokens.sum()),
            "before": float(theirs_R[chosen_R].sum() / tokens.sum()),
            "difference": bootstrap_ratio((ours_R - theirs_R)[chosen_R], tokens, seed=seed).as_dict(),
        })
    return found


def worst(ours_R, theirs_R, tokens_R, records: list) -> list[dict]:
    """The rows whose loss a token rose most: where they lie, never their words."""
    rise_R = (np.asarray(ours_R) - theirs_R) / tokens_R
    order = np.argsort(-rise_R, kind="stable")[:WORST]
    return [
        {"where": records[i].where, "rise": float(rise_R[i]), "before": float(theirs_R[i] / tokens_R[i]),
         "loss": float(ours_R[i] / tokens_R[i]), "tokens": int(tokens_R[i])}
        for i in order if rise_R[i] > 0
    ]


# ------------------------------------------------------------------------------------------------------- what is said


def verdict(arm: dict) -> str:
    """What an arm's difference says, in one sentence; empty for what nothing is compared with."""
    change = arm["held_out"]["difference"]
    if arm["before"] is None:
        return ""
    if change is None:
        return f"{arm['name']} and {arm['before']} count other tokens: compare bits per byte."
    bounds = bounds_text(change["low"], change["high"], change.get("n"), "+.3f")
    figures = f"{change['value']:+.3f} nats a token {bounds}"
    if change["low"] > 0:
        return f"{arm['name']} has forgotten: {figures} on general rows since {arm['before']}."
    if change["high"] < 0:
        return f"{arm['name']} is better on general rows than {arm['before']}: {figures}."
    return f"{arm['name']}: no forgetting to be told from noise since {arm['before']}: {figures}."


def tables(found: dict) -> list[tuple]:
    """Tables for people: losses with their differences, then each source, then the worst rows."""
    from alignment.evaluate.show import interval, short_names

    rows, names = [], short_names(found)
    for arm in found["arms"]:
        held = arm["held_out"]
        loss = {"value": held["loss"], "low": held["loss_low"], "high": held["loss_high"]}
        rows.append((names[arm["name"]], interval(loss, 3), f"{held['perplexity']:.3g}", interval(held["bits_per_byte"], 3),
                     names.get(arm["before"], ""), interval(held["difference"], 3, signed=True), f"{held['tokens']:,}"))
    header = ("", "loss per token", "perplexity", "bits per byte", "tuned from", "forgotten since", "tokens")
    made = [(f"General rows, {found['rows']:,} (lower is better; above zero is forgotten)", header, rows)]
    parts = [(names[arm["name"]], part["source"], f"{part['rows']:,}", f"{part['before']:.3f}", f"{part['loss']:.3f}",
              interval(part["difference"], 3, signed=True)) for arm in found["arms"] for part in arm["by_source"]]
    if parts:
        made.append(("General rows by source", ("", "source", "rows", "before", "now", "forgotten"), parts))
    worst_rows = [(names[arm["name"]], Path(row["where"]).name, f"{row['before']:.3f}", f"{row['loss']:.3f}",
                   f"{row['rise']:+.3f}", f"{row['tokens']:,}") for arm in found["arms"] for row in arm["worst"]]
    if worst_rows:
        made.append(("General rows whose loss rose most", ("", "row", "before", "now", "rise", "tokens"), worst_rows))
    return made


def panel(found: dict) -> dict:
    """The losses as a panel of the report's figure."""
    from alignment.evaluate.show import short_names

    names = short_names(found)
    bars = [{"label": names[arm["name"]], "value": arm["held_out"]["loss"], "low": arm["held_out"]["loss_low"],
             "high": arm["held_out"]["loss_high"]} for arm in found["arms"]]
    return {"title": "Loss per token on general rows", "bars": bars, "percent": False}


def notes(found: dict) -> list[str]:
    """One sentence a run, and one where the rows were not as general as they should be."""
    trained = [f"{name} was itself trained on files with the prompts of {seen['rows']} of these {seen['of']} general rows: "
               "what it has forgotten of others shows less." for name, seen in found["trained"].items() if seen["rows"]]
    return [*(said for said in map(verdict, found["arms"]) if said), *trained]
