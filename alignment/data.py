"""From data files to what a trainer takes, every row accounted for. Light until a data set is made.

Rows are read and checked before any model is loaded; rendering adds its own refusals (nothing left to train on, too long)
to the same ledger, so that rows read = rows kept + rows rejected holds from the file to the trainer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from data_recipes.errors import Refused
from data_recipes.readers import Ledger, read
from data_recipes.records import BadRow
from data_recipes.split import by_prompt, prompt_key

from alignment.runs import relative_to_run

IGNORED = -100  # transformers' label for a token without loss


@dataclass
class RowSet:
    """Records of one stage before rendering, with their ledgers by part (`train`, `validation`, `replay`).

    replay: general rows to draw from; replay_held_out: others of the same source.
    """

    train: list
    validation: list
    ledgers: dict[str, Ledger]
    notes: list[str] = field(default_factory=list)
    replay: list = field(default_factory=list)
    replay_held_out: list = field(default_factory=list)

    def fingerprints(self) -> dict:
        """Content hashes by part: what decides whether the same command may continue."""
        return {part: [source["sha256"] for source in ledger.sources] for part, ledger in self.ledgers.items()}

    def totals(self, run: Path | None = None) -> dict:
        """What the manifest of `run` keeps: counts, and where the files lie as seen from the run, so that a tree can move."""
        totals = {part: ledger.totals() for part, ledger in self.ledgers.items()}
        for source in [source for part in totals.values() for source in part["sources"]]:
            if run is not None and Path(source["path"]).exists():
                source["path"] = relative_to_run(source["path"], run)
        return totals


@dataclass
class Rendered:
    """Token rows of one part, ready for a `datasets.Dataset`, with the counts that are printed.

    general: how many rows at the end are general ones, of which an epoch takes only `drawn`.
    """

    columns: dict[str, list]
    names: list[str]
    first: object | None
    counts: dict[str, int]
    general: int = 0
    drawn: int = 0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def an_epoch(self) -> int:
        """Rows of one pass."""
        return len(self) - self.general + self.drawn

    def dataset(self):
        """The columns as a `datasets.Dataset` in memory."""
        from datasets import Dataset

        return Dataset.from_dict(self.columns)


def read_rows(section, kind: str, *, seed: int, private: Path | None) -> RowSet:
    """Reads training and held-out rows as the `data` section says.

    Args:
        section: the config's `data` section. kind: "demonstrations", "comparisons" or "prompts".
        private: the run's private folder, where rejected rows are listed before the refusal; None writes nothing.
    """
    ledgers = {}
    train, ledgers["train"] = _read_part(section, section.train, kind, private)
    notes = []
    if section.validation:
        held_out, ledgers["validation"] = _read_part(section, section.validation, kind, private)
        notes += overlap(train, held_out)
    else:
        train, held_out = by_prompt(train, section.validation_share, seed)
        if section.validation_share and not held_out:
            notes.append("no row is held out: all rows have the same prompt")
    return RowSet(train, held_out, ledgers, notes)


def _read_part(section, source, kind: str, private: Path | None):
    rows = read(source, kind, format=section.format, max_rejected=section.max_rejected)
    rows.ledger.check(section.max_rejected, private)
    return rows.records, rows.ledger


def overlap(train: list, held_out: list) -> list[str]:
    """What is to be said where held-out rows have prompts of training rows."""
    shared = {prompt_key(record) for record in train} & {prompt_key(record) for record in held_out}
    if not shared:
        return []
    return [f"{len(shared)} prompts of the held-out file are also in the training rows: held-out figures will flatter"]


def render_part(records: list, one: Callable[[object], dict | list[dict]], ledger: Ledger) -> Rendered:
    """Renders records with `one(record) -> columns`, or several rows of them; a BadRow goes to the ledger.

    `one` also gives `counts`, a dictionary that is summed up (tokens, trained, truncated). Token columns are kept as int32
    arrays: as lists of Python numbers they would take ten times the memory for the whole of the training.
    """
    import numpy as np

    columns: dict[str, list] = {}
    names, counts, first = [], {"rows": 0, "tokens": 0, "trained": 0, "truncated": 0}, None
    for record in records:
        try:
            made = one(record)
        except BadRow as error:
            ledger.drop(record.where, error.reason, error.detail)
            continue
        for row in made if isinstance(made, list) else [made]:
            for name, amount in row.pop("counts").items():
                counts[name] = counts.get(name, 0) + amount
            for name, value in {**row, "row": len(names)}.items():
                columns.setdefault(name, []).append(np.asarray(value, np.int32) if isinstance(value, list) else value)
            names.append(record.where)
        first = first or record
    counts["rows"] = len(names)
    return Rendered(columns, names, first, counts)


def demonstration_row(renderer) -> Callable[[object], dict]:
    """Columns of a supervised row: input_ids and labels, each of the row's length."""

    def one(record) -> dict:
        made = renderer.demonstration(record)
        labels = [token if trained else IGNORED for token, trained in zip(made.input_ids, made.trained, strict=True)]
        size, trained = len(made.input_ids), sum(made.trained)
        return {
            "input_ids": made.input_ids,
            "labels": labels,
            "length": size,
            "counts": {"tokens": size, "trained": trained, "truncated": int(made.truncated)},
        }

    return one


def target_rows(renderer) -> Callable[[object], list[dict]]:
    """Columns of an encoder-decoder model's rows, one for each turn that is trained on: input_ids and labels, each with a
    length of its own; `length` is of both."""

    def one(record) -> list[dict]:
        return [
            {
                "input_ids": turn.input_ids,
                "labels": turn.target_ids,
                "length": len(turn.input_ids) + len(turn.target_ids),
                "counts": {
                    "tokens": len(turn.input_ids) + len(turn.target_ids),
                    "trained": len(turn.target_ids),
                    "truncated": int(turn.input_cut or turn.target_cut),
                    "answers_cut": int(turn.target_cut),
                },
            }
            for turn in renderer.turns(record)
        ]

    return one


def pair_row(renderer, *, whole: bool, margins: bool) -> Callable[[object], dict]:
    """Columns of a preference row.

    whole: chosen and rejected with their prompt in front (reward); otherwise the prompt stands apart (DPO).
    margins: whether the rows carry one; TRL's collator looks at the first row of a batch only, so all do or none.
    """

    def one(record) -> dict:
        made = renderer.comparison(record)
        prompt, chosen, rejected = made.prompt_ids, made.chosen_ids, made.rejected_ids
        sizes = [len(prompt) + len(chosen), len(prompt) + len(rejected)]
        row = (
            {"chosen_ids": prompt + chosen, "rejected_ids": prompt + rejected}
            if whole
            else {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
        )
        if margins:
            row["margin"] = record.margin
        return {
            **row,
            "length": max(sizes),
            "counts": {"tokens": sum(sizes), "trained": len(chosen) + len(rejected), "truncated": int(made.truncated)},
        }

    return one


def use_margins(records: list) -> bool:
    """Whether the pairs carry a margin. Raises Refused where only some do."""
    with_margin = sum(record.margin is not None for record in records)
    if 0 < with_margin < len(records):
        missing = next(record for record in records if record.margin is None)
        raise Refused(
            f"{len(records) - with_margin} of {len(records)} pairs have no margin",
            where=missing.where,
            expected="a margin on every row, or on none",
        )
    return with_margin > 0
