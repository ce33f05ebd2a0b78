"""Runs the audit over a damaged file and compares it with the clean one: what was found at its line, and what was invented."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_recipes import dedup
from data_recipes.audit import inputs
from data_recipes.audit.model import Context, Finding
from data_recipes.audit.run import audit
from data_recipes.records import Comparison
from tests.data_recipes.audit.damages import Damage, Sheet, of_kind, question, write

NAMED = {"problem", "look"}  # findings; a fact names rows, too, and accuses none


@dataclass
class Outcome:
    """found, planted: by damage. invented: (finding, line) at rows that nobody touched, which the clean file does not have."""

    found: dict[str, int]
    planted: dict[str, int]
    invented: set[tuple[str, str]]
    missed: list[tuple[str, int]]


def lines_of(path: Path, finding: Finding) -> set[int]:
    """The lines of a file, counted from 0, that a finding names."""
    places = (place.where.rpartition("#")[0] or place.where for place in finding.places)
    return {int(where.rpartition(":")[2]) - 1 for where in places if where.rpartition(":")[0] == str(path)}


def findings(train: Path, held_out: Path, evaluation: Path, only: Sequence[str] = ()) -> dict[str, Finding]:
    """The audit of one file beside its held-out side and an evaluation set."""
    loaded = inputs.load([str(train)], [str(held_out)])
    context = Context(refused=tuple(loaded.refused), against=inputs.evaluation_items([str(evaluation)]))
    report = audit(loaded.rows, context, only=only)
    return {found.name: found for found in report.findings if found.level in NAMED or found.name == "toxic"}


def canonical(records: Sequence) -> list[dict]:
    """Records as the rows that `align data convert` writes."""
    rows = []
    for record in records:
        if isinstance(record, Comparison):
            rows.append({side: [turn.as_dict() for turn in getattr(record, side)] for side in ("prompt", "chosen", "rejected")})
        else:
            rows.append({"messages": [turn.as_dict() for turn in record.messages]})
    return rows


def damaged(folder: Path, rows: list[dict], evaluation: list[str], positions: Sequence[int], *, pad: int = 0,
            only: Sequence[str] = (), seed: int = 0, kinds: str = "") -> Outcome:
    """Does every kind of damage at each position's neighbourhood and audits once.

    Args:
        positions: where in the file; the damages of one position take the free lines from there on (or before the end).
    """
    rng = random.Random(seed)
    held_out, rows = json.loads(json.dumps(rows[-len(rows) // 4:])), json.loads(json.dumps(rows[: -len(rows) // 4]))
    kind = kinds or ("comparisons" if "chosen" in rows[0] else "demonstrations")
    paths = folder / "train.jsonl", folder / "held.jsonl", folder / "eval.jsonl"
    write(paths[0], rows, pad), write(paths[1], held_out)
    write(paths[2], [{"prompt": text} for text in evaluation])
    before = {name: lines_of(paths[0], found) | _held(paths[1], found) for name, found in findings(*paths, only).items()}
    tainted = {line for name, lines in before.items() for line in lines if isinstance(line, int)}
    tainted |= {member for group in dedup.clusters([question(row) for row in rows]) for member in group.members}
    for line in {line.removeprefix("held ") for lines in before.values() for line in lines if isinstance(line, str)}:
        held_out[int(line)]["used"] = True
    free = [at for at, row in enumerate(rows) if at not in tainted and _simple(row)]
    rng.shuffle(free)
    sheet = Sheet(rows, rng, free, held_out, list(evaluation))
    planted, touched = [], set()
    for damage in of_kind(kind):
        if only and damage.finding not in only:
            continue
        for position in positions:
            at = min((one for one in sheet.free if one not in touched), key=lambda one: (abs(one - position), one))
            sheet.free.remove(at)
            used = set(sheet.free)
            expected = damage.do(sheet, at)
            touched |= {at} | (used - set(sheet.free)) | (set() if damage.held else expected)
            planted.append((damage, expected))
    clean_held = [{key: value for key, value in row.items() if key != "used"} for row in held_out]
    write(paths[0], rows, pad), write(paths[1], clean_held)
    return _compare(paths, planted, touched, before, findings(*paths, only))


def _simple(row: dict) -> bool:
    """Whether a damage can be done to a row: a person's words before the answer, and not two of them ("Hi there")."""
    asked = row["prompt"][-1] if "prompt" in row else row["messages"][-2]
    return asked["role"] == "user" and len(asked["content"].split()) >= 4


def _held(path: Path, finding: Finding) -> set[str]:
    return {f"held {line}" for line in lines_of(path, finding)}


def _compare(paths, planted: list[tuple[Damage, set[int]]], touched: set[int], before, after) -> Outcome:
    now = {name: lines_of(paths[0], found) | _held(paths[1], found) for name, found in after.items()}
    found, total, missed = {}, {}, []
    leaked = {f"held {line}" for damage, expected in planted if damage.held for line in expected}
    for damage, expected in planted:
        wanted = {f"held {line}" for line in expected} if damage.held else expected
        hit = wanted <= now.get(damage.finding, set())
        total[damage.name] = total.get(damage.name, 0) + 1
        found[damage.name] = found.get(damage.name, 0) + hit
        missed += [] if hit else [(damage.name, min(expected))]
    invented = {(name, str(line)) for name, lines in now.items() for line in lines - before.get(name, set())
                if line not in touched and line not in leaked}
    return Outcome(found, total, invented, missed)


def made_rows(count: int, seed: int = 0) -> list[dict]:
    """Demonstrations of unlike sentences, each sound in itself."""
    rng = random.Random(seed)
    nouns = ("order parcel invoice lamp table chair window garden bicycle letter kitchen river bridge teacher doctor farmer "
             "market ticket engine camera blanket bottle ladder mirror pencil guitar castle forest island harbour").split()
    verbs = ("carries repairs paints follows watches measures borrows returns delivers cleans moves opens closes lifts "
             "describes discovers remembers protects examines replaces").split()
    kinds = ("small heavy yellow quiet broken wooden ancient narrow empty bright cheap gentle rapid distant curious "
             "careful modern frozen hollow golden").split()
    joins = "before after near without behind during beside under against towards".split()

    def sentence() -> str:
        one, two, three = rng.sample(nouns, 3)
        kind, other = rng.sample(kinds, 2)
        whose, verb = rng.choice(("The", "Our", "Their", "Every")), rng.choice(verbs)
        return f"{whose} {kind} {one} {verb} {other} {two}s {rng.choice(joins)} {three}s."

    def text(number: int) -> str:
        return " ".join(sentence() for _ in range(number))

    return [{"messages": [{"role": "user", "content": f"What does this mean for me? {text(2)}"},
                          {"role": "assistant", "content": text(3)}]} for _ in range(count)]


def made_pairs(count: int, seed: int = 0) -> list[dict]:
    """Pairs of unlike sentences."""
    made = made_rows(2 * count, seed)
    return [{"prompt": one["messages"][:1], "chosen": one["messages"][1:], "rejected": other["messages"][1:]}
            for one, other in zip(made[::2], made[1::2], strict=True)]


def evaluation_texts(count: int) -> list[str]:
    """Questions that stand in no row."""
    asked = (question(row) for row in made_rows(count, seed=99))
    return [text.replace("What does this mean for me?", "Which of these is right?") for text in asked]
