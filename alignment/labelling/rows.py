"""Rows as tokens for `align classify`, with what is shown of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from data_recipes.labels import Example, Problem
from data_recipes.show import CONTROL

from alignment.data import Rendered, render_part
from alignment.labelling.encoding import Encoder, example_row, longest_text, scale_of

SHOWN = 20  # classes in the table; the rest is counted
LONGEST = 600  # characters of the row that is shown


@dataclass
class Encoded:
    """Both parts as tokens, and as examples, those that could not be encoded left out. scale: of numbers, else (0, 1)."""

    problem: Problem
    encoder: Encoder
    train: Rendered
    held_out: Rendered
    examples: list[Example]
    held_out_examples: list[Example]
    scale: tuple[float, float]


def encode(session, problem: Problem) -> Encoded:
    """Encodes training and held-out rows, prints the counts and the first row, and stops where rows are lost."""
    from alignment.session import load_base_config, taken_positions

    job, rows = session.job, session.job.rows
    asked = session.config.data.max_length
    limit, note = longest_text(session.tokenizer, load_base_config(session), asked, taken_positions(session))
    encoder, scale = Encoder(session.tokenizer, limit), scale_of(rows.train, problem)
    one = example_row(encoder, problem, scale)
    train = render_part(rows.train, one, rows.ledgers["train"])
    held_out = render_part(rows.validation, one, rows.ledgers.get("validation", rows.ledgers["train"]))
    for ledger in rows.ledgers.values():
        ledger.check(job.config.data.max_rejected, None if job.dry_run else job.run.private)
    if note:
        job.ui.say(note)
    for said in rows.notes:
        job.ui.warn(said)
    made = Encoded(problem, encoder, train, held_out, _kept(rows.train, train), _kept(rows.validation, held_out), scale)
    show(job, made)
    return made


def _kept(examples: list[Example], part: Rendered) -> list[Example]:
    names = set(part.names)
    return [example for example in examples if example.where in names]


def show(job, made: Encoded) -> None:
    """Counts of rows and classes, and the first row as the model gets it."""
    from data_recipes.show import counts_table

    for ledger in job.rows.ledgers.values():
        for source in ledger.sources:
            job.ui.say(f"{source['path']}: {source['format']} ({source['why']})")
        for note in ledger.notes:
            job.ui.say(note)
    job.ui.text(counts_table({"train": made.train.counts, "held out": made.held_out.counts}, _rejected(job)))
    job.ui.table(f"task: {made.problem.task}", class_rows(made))
    job.ui.text(first_row(made))


def _rejected(job) -> dict[str, int]:
    total: Counter = Counter()
    for ledger in job.rows.ledgers.values():
        total.update(ledger.rejected)
    return dict(total)


def class_rows(made: Encoded) -> list[tuple[str, str]]:
    """How often each class is in both parts, or the range of the numbers."""
    parts = [[example.target for example in part] for part in (made.examples, made.held_out_examples)]
    if made.problem.task == "regression":
        words = [f"{min(part):.4g} to {max(part):.4g}, mean {sum(part) / len(part):.4g}" if part else "none" for part in parts]
        return [("train", words[0]), ("held out", words[1])]
    counts = [Counter(place for target in part for place in places_of(target)) for part in parts]
    rows = [(name, f"{counts[0][at]:,} + {counts[1][at]:,}") for at, name in enumerate(made.problem.names[:SHOWN])]
    return rows + ([("and", f"{len(made.problem.names) - SHOWN} more classes")] if len(made.problem.names) > SHOWN else [])


def first_row(made: Encoded) -> str:
    """The first training row, special tokens and all, and what is to be learned from it."""
    example, ids = made.examples[0], made.train.columns["input_ids"][0].tolist()
    text = made.encoder.tokenizer.decode(ids, clean_up_tokenization_spaces=False)[:LONGEST]
    return CONTROL.sub("\ufffd", f"{text}\n  -> {target_text(example.target, made.problem)}")


def target_text(target, problem: Problem) -> str:
    """A target in words."""
    if problem.task == "regression":
        return f"{target:g}"
    return " ".join(problem.names[place] for place in places_of(target)) or "(no label)"


def places_of(target) -> tuple[int, ...]:
    """The classes of a target: one, several, or one a word."""
    return (target,) if isinstance(target, int) else target
