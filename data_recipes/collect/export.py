"""From votes to rows to train on, with a manifest that names the events behind the file: same votes, same bytes.

    vote                 reward, DPO                          KTO                                SFT
    one is better        a pair                               whether each is acceptable, or,    the better one
                                                              where not told, is the better one
    both good            none                                 two true                           none
    both bad             none                                 two false                          none
    tie                  none                                 as told, or none                   none
    edited               edited > first and edited > second   edited true                        the edited one
    skip, flag           none                                 none                               none

Repeats, gold and training items are never rows. `margin` stands on all rows or on none, since TRL's collator looks for it
on the first row of a batch only (https://github.com/huggingface/trl/issues/5539).
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_recipes.collect.aggregate import RULES, Outcome, outcomes, weigh
from data_recipes.collect.model import Vote
from data_recipes.collect.rows import arena_rows, kto_rows, pair_rows, sft_rows
from data_recipes.collect.store import Store
from data_recipes.errors import Refused
from data_recipes.files import sha256_file, write_json, write_text

KINDS = ("reward", "dpo", "kto", "sft", "arena", "csv")
FORMAT = 1
LABELS = ("choice", "acceptable")
VOICES = ("people", "judges", "all")


@dataclass(frozen=True)
class Wish:
    """What to export.

    to: one of KINDS. aggregate: one of aggregate.RULES. threshold: for `mean`. margin: the strength as `margin`, on all rows.
    list_name: one list only. voices: whose votes. guideline: votes under this version only. edits: whether edited answers
    are used. only_edited: SFT rows from edited answers alone. keep_unacceptable: DPO pairs whose better answer was found not
    acceptable. labels: KTO's labels from the choice where nobody said what is acceptable, or from acceptance alone.
    """

    to: str
    aggregate: str = "majority"
    threshold: float = 1.0
    margin: bool = False
    list_name: str | None = None
    voices: str = "people"
    guideline: int | None = None
    edits: bool = True
    only_edited: bool = False
    keep_unacceptable: bool = False
    labels: str = "choice"

    def __post_init__(self) -> None:
        for name, value, known in (("--to", self.to, KINDS), ("--aggregate", self.aggregate, RULES),
                                   ("--votes-of", self.voices, VOICES), ("--labels", self.labels, LABELS)):
            if value not in known:
                raise Refused(f"{value!r} is not known here", where=name, expected=", ".join(known))
        if self.margin and self.to not in ("reward", "dpo"):
            raise Refused(f"rows for {self.to} have no margin", where="--margin", expected="--to reward or --to dpo")
        if self.threshold < 0:
            raise Refused("the threshold cannot be below 0", where="--threshold")

    def settings(self) -> dict:
        """All of it, for the manifest."""
        return {**vars(self), "threshold": self.threshold if self.aggregate == "mean" else None}


def export(store: Store, wish: Wish, output: Path | str) -> dict:
    """Writes `output` and `output.manifest.json`; returns the manifest. Works while the collection is in use.

    Raises:
        Refused: nothing to write, a list that is not there, or a file that no export made.
    """
    output = Path(output)
    beside = output.with_name(output.name + ".manifest.json")
    if output.exists() and not beside.exists():
        raise Refused("the file is there already, and no export made it", where=output, do="Choose another --output.")
    with store.snapshot() as view:
        if wish.to == "csv":
            text, facts = _events_table(view.events(), wish.list_name)
        else:
            text, facts = _training_rows(view, wish)
        manifest = {"format": FORMAT, "output": output.name, **facts, "settings": wish.settings(), **view.identity()}
    write_text(output, text)
    manifest["output_sha256"] = sha256_file(output)
    write_json(beside, manifest)
    return manifest


def _training_rows(view, wish: Wish) -> tuple[str, dict]:
    votes = view.votes(wish.list_name)
    used, left_out = _used(votes, wish)
    found = outcomes(used, wish.aggregate, threshold=wish.threshold)
    rows = _rows(view, wish, found, left_out)
    if not rows:
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        raise Refused(f"no vote gives a row for {wish.to}" + (f": {why}" if why else ""), where=str(view.path),
                      expected="votes on items", do="Collect more, or export by another rule (--aggregate).")
    facts = {"rows": len(rows), "votes_used": len(used), "left_out": dict(sorted(left_out.items())),
             "guidelines": view.guideline_counts(used)}
    if wish.to == "kto":
        facts["labels_from"] = dict(sorted(Counter(row["label_from"] for row in rows).items()))
    if wish.aggregate == "weighted":
        facts["weights"] = {name: round(weight, 6) for name, weight in sorted(weigh(used).items())}
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), facts


def _rows(view, wish: Wish, found: Sequence[Outcome], left_out: Counter) -> list[dict]:
    if wish.to in ("reward", "dpo"):
        return pair_rows(view, found, left_out, whole=wish.to == "reward", margin=wish.margin, edits=wish.edits,
                         acceptable_only=wish.to == "dpo" and not wish.keep_unacceptable)
    if wish.to == "kto":
        return kto_rows(view, found, left_out, rule=wish.aggregate, edits=wish.edits, by_choice=wish.labels == "choice")
    if wish.to == "sft":
        return sft_rows(view, found, left_out, edits=wish.edits, only_edited=wish.only_edited)
    return arena_rows(view, found, left_out)


def _used(votes: Sequence[Vote], wish: Wish) -> tuple[list[Vote], Counter]:
    """Votes that may become rows, and how many of the others there are, by reason."""
    used, left_out = [], Counter()
    for vote in votes:
        if vote.kind != "normal":
            left_out[f"votes on {vote.kind} items"] += 1
        elif wish.voices != "all" and (vote.role == "judge") != (wish.voices == "judges"):
            left_out["votes of judges" if vote.role == "judge" else "votes of people"] += 1
        elif wish.guideline is not None and vote.guideline != wish.guideline:
            left_out["votes under another version of the guidelines"] += 1
        else:
            used.append(vote)
    return used, left_out


COLUMNS = ("seq", "at", "annotator", "role", "kind", "list", "item", "item_kind", "of", "swapped", "strategy", "probability",
           "settles", "guideline", "visible_ms", "client_id", "undoes", "body")


def _events_table(events, list_name: str | None) -> tuple[str, dict]:
    """All events as CSV, one a line; what depends on the kind is JSON in `body`."""
    out, count = io.StringIO(newline=""), 0
    table = csv.writer(out, lineterminator="\n")
    table.writerow(COLUMNS)
    for event in events:
        if list_name is None or event["list"] == list_name:
            body = json.dumps(event["body"], ensure_ascii=False, sort_keys=True)
            table.writerow([body if name == "body" else event[name] for name in COLUMNS])
            count += 1
    return out.getvalue(), {"rows": count}

