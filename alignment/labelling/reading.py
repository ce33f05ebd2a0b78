"""Rows for `align classify`: which columns are meant, what is asked for, and a stratified split. Light: no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_recipes import formats, split
from data_recipes.errors import Refused
from data_recipes.formats.judged import LABELS, TEXTS
from data_recipes.formats.tagged import TAGS, WORDS
from data_recipes.labels import Example, Problem, problem_of, strata_of, target_of
from data_recipes.ledger import Ledger
from data_recipes.origins import Origin, resolve
from data_recipes.readers import Reading, first_rows, stream
from data_recipes.records import BadRow, Labelled, Tagged
from data_recipes.split import prompt_key

from alignment.config.names import nearest
from alignment.data import RowSet, overlap
from alignment.job import split_seed

KNOWN_TEXTS = tuple(dict.fromkeys(name for names in TEXTS for name in names))


@dataclass
class LabelledRows(RowSet):
    """As in every stage, and what is asked for. columns: those that hold the text, and the label, as the rows call them."""

    problem: Problem = field(default_factory=lambda: Problem("single"))
    columns: dict = field(default_factory=dict)


def read_labelled(config, private: Path | None, known: Sequence[str] = ()) -> LabelledRows:
    """Training and held-out rows as the `data` and `classify` sections say.

    Args:
        config: a stage's config. private: where rejected rows are listed before a refusal; None writes nothing.
        known: the classes of a parent, whose order is kept where the rows have the same ones.

    Raises:
        Refused: no column that holds a text or a label, bad rows above `data.max_rejected`, or labels of no task.
    """
    section, asked = config.data, config.classify
    kind, columns = tell_columns(section.train, asked)
    ledgers = {"train": Ledger(section.max_rejected)}
    read = Source(kind, columns, section.format, asked.separator)
    records = read.records(section.train, ledgers["train"])
    ledgers["train"].check(section.max_rejected, private)  # a file that cannot be read is named before its labels are
    problem = problem_of(records, task=asked.task, names=asked.labels, known=known)
    made = Maker(problem, asked.group)
    train, notes = made.examples(records, ledgers["train"]), []
    ledgers["train"].check(section.max_rejected, private)
    if section.validation:
        ledgers["validation"] = Ledger(section.max_rejected)
        held_out = made.examples(read.records([section.validation], ledgers["validation"]), ledgers["validation"])
        ledgers["validation"].check(section.max_rejected, private)
        notes += overlap([one.record for one in train], [one.record for one in held_out])
    else:
        train, held_out = _split(train, problem, section.validation_share, split_seed(config))
    notes += _contradictions(train + held_out)
    return LabelledRows(train, held_out, ledgers, notes, problem=problem, columns=columns)


def tell_columns(sources: Sequence[str], asked) -> tuple[str, dict]:
    """The kind of the rows, and the columns of text and label, from the first rows of the first source.

    Raises:
        Refused: a column that was named and is not there, or none that is known and none named.
    """
    origin = resolve(sources)[0]
    rows = [row for _, row in first_rows(origin.rows()) if isinstance(row, dict)]
    if not rows:
        return ("tagged" if asked.task == "token" else "labelled"), {"text": [], "label": None, "dropped": []}
    names = list(dict.fromkeys(str(key) for row in rows for key in row))
    for name in [*asked.text, *([asked.label] if asked.label else []), *([asked.group] if asked.group else [])]:
        _check_there(name, names, origin.name)
    if len(asked.text) > 2:
        raise Refused(f"{len(asked.text)} columns of text are named", where="classify.text", expected="one, or two for pairs")
    kind = _kind(rows, asked)
    columns = {"text": list(asked.text), "label": asked.label, "dropped": []}
    columns["dropped"] = _in_the_way(names, kind, columns)
    _check_known(names, kind, columns, origin.name)
    return kind, columns


def renames(kind: str, columns: dict) -> tuple[tuple[str, str], ...]:
    """Named columns under the names by which their format is known; columns that would be taken for them are left out."""
    texts = ("tokens",) if kind == "tagged" else ("text", "text_pair")
    pairs = list(zip(columns["text"], texts, strict=False))
    if columns["label"]:
        pairs.append((columns["label"], "tags" if kind == "tagged" else "label"))
    return (*pairs, *((name, "") for name in columns["dropped"]))


@dataclass(frozen=True)
class Maker:
    """Records to examples: target and group."""

    problem: Problem
    group: str | None = None

    def examples(self, records: list, ledger: Ledger) -> list[Example]:
        """An example a record; one whose label cannot be used goes to the ledger."""
        made = []
        for record in records:
            try:
                made.append(Example(record, target_of(record, self.problem), self._group(record)))
            except BadRow as error:
                ledger.drop(record.where, error.reason, error.detail)
        return made

    def _group(self, record: Labelled | Tagged) -> str | None:
        if self.group is None:
            return None
        if record.extra.get(self.group) in (None, ""):
            raise BadRow("missing-field", f"no {self.group}")
        return str(record.extra[self.group])


@dataclass(frozen=True)
class Source:
    """How files are read as rows of one kind. separator: parts the classes of a row in one cell of a table."""

    kind: str
    columns: dict
    format: str = "auto"
    separator: str | None = None

    def records(self, names: Sequence[str], ledger: Ledger) -> list:
        """All records; bad rows go to the ledger."""
        how = Reading(self.format, rename=renames(self.kind, self.columns))
        origins = resolve(names)
        if self.separator:
            origins = [Cells(one.name, one.path, one.split, one.config, separator=self.separator) for one in origins]
        return [record for origin in origins for record in stream(origin, self.kind, ledger, how)]


@dataclass
class Cells(Origin):
    """Rows whose label is a list that was written into one cell; an empty cell is a row without a label."""

    separator: str = ";"

    def rows(self, columns: tuple[str, ...] = (), rename: dict[str, str] | None = None):
        """The raw rows, their label taken apart."""
        for where, row in super().rows(columns, rename):
            key = next((key for key in LABELS if isinstance(row, dict) and isinstance(row.get(key), str)), None)
            if key:
                row = {**row, key: [part.strip() for part in row[key].split(self.separator) if part.strip()]}
            yield where, row


def _split(examples: list[Example], problem: Problem, share: float, seed: int) -> tuple[list[Example], list[Example]]:
    records = [example.record for example in examples]
    train, held_out = split.stratified(records, strata_of(examples, problem), share, seed)
    return [examples[at] for at in train], [examples[at] for at in held_out]


def _contradictions(examples: list[Example]) -> list[str]:
    said: dict[str, set] = {}
    for example in examples:
        said.setdefault(prompt_key(example.record), set()).add(example.target)
    several = sum(len(targets) > 1 for targets in said.values())
    return [f"{several} texts carry different labels in different rows; they are kept"] if several else []


# ---------------------------------------------------------------------------------------------------------------- columns


def _kind(rows: list[dict], asked) -> str:
    if asked.task != "auto":
        return "tagged" if asked.task == "token" else "labelled"
    votes = {kind: sum(_fits(row, kind) for row in rows) for kind in ("tagged", "labelled")}
    return "tagged" if votes["tagged"] > votes["labelled"] and not asked.label else "labelled"


def _fits(row: dict, kind: str) -> bool:
    return any(form.fits(row) for form in formats.FORMATS[kind])


def _in_the_way(names: list[str], kind: str, columns: dict) -> list[str]:
    """Columns that would be taken for those that were named."""
    known = set()
    if columns["text"]:
        known |= set(WORDS if kind == "tagged" else KNOWN_TEXTS)
    if columns["label"]:
        known |= set(TAGS if kind == "tagged" else LABELS)
    return [name for name in names if name in known and name not in (*columns["text"], columns["label"])]


def _check_known(names: list[str], kind: str, columns: dict, where: str) -> None:
    """Raises Refused where no text or no label would be found, with the keys that name them."""
    renamed = dict(renames(kind, columns))
    row = dict.fromkeys(renamed.get(name, name) for name in names)
    if _fits(row, kind):
        return
    lacks = "label" if columns["text"] or _has_text(row, kind) else "text"
    key = f"classify.{lacks}"
    usual = {"text": (KNOWN_TEXTS, WORDS), "label": (LABELS, TAGS)}[lacks][kind == "tagged"]
    do = f"Say which it is: --set {key}=COLUMN."
    if where.endswith((".csv", ".tsv")):
        do += " A table's first line holds the names: where it is a row already, put a line such as text,label above it."
    raise Refused(f"no column is known to hold the {lacks} ({', '.join(names[:12])})", where=where,
                  expected=f"{', '.join(usual)}, or a name of your own", do=do)


def _has_text(row: dict, kind: str) -> bool:
    if kind == "tagged":
        return any(name in row for name in WORDS)
    return any(all(name in row for name in pair) for pair in TEXTS)


def _check_there(name: str, names: list[str], where: str) -> None:
    if name not in names:
        close = nearest(name, names)
        raise Refused(f"no row has the column '{name}'", where=where, expected=", ".join(names[:20]),
                      do=f"Did you mean {close}?" if close else "")

