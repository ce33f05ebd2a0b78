"""Rows learned by heart: how often greedy decoding goes on with a training answer word for word. Light until measured.

Carlini et al. 2022 (arXiv 2202.07646), section 3: a row is extractable with k tokens of context if the model, given them,
continues greedily with what follows in the row. Here the context is the prompt and the first k tokens of the answer, and
the next n tokens count. Easy answers are continued right without being learned, so the same is asked of rows that were held
out, and of the model before tuning. The rows are listed in the run's private folder alone.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from data_recipes.intervals import Interval, share_difference, wilson
from data_recipes.records import BadRow

from alignment.evaluate.arms import Arm
from alignment.evaluate.retained import before_of
from alignment.evaluate.rows import read_rows
from alignment.runs import Run

OWN = "own"  # the run's own training rows
LISTED = "memorised.jsonl"
ROWS = 200  # drawn where nothing says how many


@dataclass(frozen=True)
class Span:
    """k tokens of the answer that are given, and n that must follow word for word."""

    given: int = 16
    verbatim: int = 32


@dataclass(frozen=True)
class Probe:
    """A row's context and what follows it in the row, as token ids."""

    where: str
    context: list[int]
    expected: list[int]


def probes(renderer: Any, records: list, span: Span, most: int, seed: int) -> list[Probe]:
    """Probes of rows whose last trained stretch is long enough, at most `most`, drawn by the seed."""
    found = []
    for number in np.random.default_rng(seed).permutation(len(records)):
        if len(found) == most:
            break
        record = records[int(number)]
        try:
            row = renderer.demonstration(record)
        except BadRow:  # the run left it out too, and its ledger says so
            continue
        start = _answer_start(row.trained) + span.given
        expected = [token for token, kept in zip(row.input_ids[start:], row.trained[start:], strict=True) if kept]
        if start > 0 and len(expected) >= span.verbatim:
            found.append(Probe(record.where, list(row.input_ids[:start]), expected[: span.verbatim]))
    return sorted(found, key=lambda probe: probe.where)


def _answer_start(trained: list[bool]) -> int:
    """Where the last trained stretch begins."""
    end = max((i for i, kept in enumerate(trained) if kept), default=0)
    start = end
    while start > 0 and trained[start - 1]:
        start -= 1
    return start


def matched(made: list[int], expected: list[int]) -> int:
    """Tokens from the first on that are the same."""
    pairs = zip(made, expected, strict=False)
    return next((i for i, (one, other) in enumerate(pairs) if one != other), min(len(made), len(expected)))


def ask(loaded: Any, asked: list[Probe], span: Span, batch_size: int) -> list[int]:
    """Of each probe the number of tokens that greedy decoding got right before its first mistake."""
    from alignment.generation.batched import generate

    made = generate(loaded, [probe.context for probe in asked], max_new_tokens=span.verbatim, batch_size=batch_size,
                    where=[probe.where for probe in asked])
    whole = [done.ids + ([done.stop] if done.stopped else []) for done in made]
    return [matched(ids, probe.expected) for ids, probe in zip(whole, asked, strict=True)]


def summary(counts: list[int], span: Span) -> dict | None:
    """The share of rows that were continued word for word, and the mean share of their tokens; None without rows."""
    if not counts:
        return None
    share = wilson(sum(count >= span.verbatim for count in counts), len(counts))
    return {**share.as_dict(), "tokens_right": float(np.mean(counts) / span.verbatim)}


def measure(question: Any, compared: list[Arm], ui: Any) -> dict:
    """Shares of training rows continued word for word, beside those of held-out rows and of the model before.

    question.memorised: a file of demonstrations, or `own` for each run's own training rows.
    Raises:
        Refused: rows that are not there any more, none that is long enough, or a model of another kind.
    """
    span = Span(*question.span)
    arms = [_arm(question, arm, span, ui) for arm in compared if arm.dressed_as is None]
    return {"given": span.given, "verbatim": span.verbatim, "arms": arms}


def _arm(question: Any, arm: Arm, span: Span, ui: Any) -> dict:
    from alignment.evaluate.policies import load_arm_member
    from alignment.generation.batched import reads_apart

    member, most = arm.members[0], question.limit or ROWS
    train, held_out = training_and_held_out(member, question)
    loaded = load_arm_member(arm, member, question.how)
    if reads_apart(loaded.model):
        raise Refused("an encoder-decoder model has no continuation of this kind", where=arm.name)
    renderer = loaded.renderer()
    asked = {"train": probes(renderer, train, span, most, question.decoding.seed),
             "held_out": probes(renderer, held_out, span, most, question.decoding.seed)}
    if not asked["train"]:
        raise Refused(f"no training answer has {span.given} + {span.verbatim} tokens", where=arm.name,
                      do="Ask for less: --span 4,8.")
    ui.say(f"learned by heart? {arm.name}: {len(asked['train'])} training rows, {len(asked['held_out'])} held out")
    counts = {part: ask(loaded, rows, span, question.batch_size) for part, rows in asked.items()}
    del loaded
    gc.collect()  # the next model needs the room
    before = before_of(arm, question.how.get("base"))
    base = [] if before is None else _before(question, before, asked["train"], span)
    listed = _list(member, asked["train"], counts["train"], base, renderer, span)
    return {"name": arm.name, "train": summary(counts["train"], span), "held_out": summary(counts["held_out"], span),
            "before": None if before is None else {"name": before.name, **summary(base, span)}, "listed": listed}


def training_and_held_out(source: Any, question: Any) -> tuple[list, list]:
    """The rows a run was trained on and those it held out; with a file named, its rows are those that were trained on.

    Raises:
        Refused: the run does not say which they were, or they are gone.
    """
    from alignment.evaluate.samples import training_rows

    own = source.kind == "run" and source.manifest["stage"] == "sft"
    if question.memorised != OWN:
        rows = read_rows((question.memorised,), "demonstrations", format="auto", max_rejected=question.max_rejected, limit=None)
        found = training_rows(Run.open(source.path))[0] if own else None
        return rows.records, found.validation if found else []
    if not own:
        raise Refused("only a run of align sft says which demonstrations it was trained on", where=source.text,
                      do="Name them: --memorised FILE.")
    rows, why = training_rows(Run.open(source.path))
    if rows is None:
        raise Refused(why, where=source.text, do="Name the file where it lies now: --memorised FILE.")
    return rows.train, rows.validation


def _before(question: Any, before: Arm, asked: list[Probe], span: Span) -> list[int]:
    from alignment.evaluate.policies import load_arm_member

    loaded = load_arm_member(before, before.members[0], question.how)
    return ask(loaded, asked, span, question.batch_size)


def _list(source: Any, asked: list[Probe], counts: list[int], base: list[int], renderer: Any, span: Span) -> str | None:
    """Writes the rows that came word for word into the run's private folder; returns the file's name below the run."""
    if source.kind != "run":
        return None
    rows = [
        {"where": probe.where, "before_too": bool(base) and base[i] >= span.verbatim,
         "context": renderer.tokenizer.decode(probe.context), "verbatim": renderer.tokenizer.decode(probe.expected)}
        for i, probe in enumerate(asked) if counts[i] >= span.verbatim
    ]
    run = Run.open(source.path)
    write_jsonl(run.private / LISTED, rows)
    return f"{run.private.name}/{LISTED}"


# ------------------------------------------------------------------------------------------------------- what is said


def verdict(arm: dict) -> str:
    """Whether more training rows than others came word for word, in one sentence."""
    train, others = arm["train"], [found for found in (arm["held_out"], arm["before"]) if found]
    listed = f" They are listed in its {arm['listed']}." if arm["listed"] and train["value"] else ""
    if not others:
        return f"{arm['name']}: nothing to compare its {100 * train['value']:.1f} % with.{listed}"
    least = min((share_difference(_interval(train), _interval(found)) for found in others), key=lambda found: found.low)
    more = f"{100 * least.value:.1f} points [{100 * least.low:.1f}, {100 * least.high:.1f}] more"
    if least.low > 0:
        return f"{arm['name']} has learned rows by heart: {more} of its training rows than of others.{listed}"
    return f"{arm['name']}: {more} training rows than others, which is within the noise.{listed}"


def _interval(found: dict) -> Interval:
    return Interval(*(found[key] for key in ("value", "low", "high", "n")))


def tables(found: dict) -> list[tuple]:
    """One table: shares of rows with Wilson's intervals."""
    from alignment.evaluate.show import percent, share, short_names

    rows, names = [], short_names(found)
    for arm in found["arms"]:
        before = arm["before"]
        parts = [("training rows", arm["train"]), ("held-out rows", arm["held_out"]),
                 (f"training rows, by {before['name']}" if before else "", before)]
        rows += [(names[arm["name"]], what, f"{part['n']:,}", percent(part), share(part["tokens_right"]))
                 for what, part in parts if part]
    title = f"Learned by heart: after {found['given']} tokens of an answer the next {found['verbatim']} come word for word"
    return [(title, ("", "", "rows", "word for word", "tokens right"), rows)]


def notes(found: dict) -> list[str]:
    """One sentence a run."""
    return [verdict(arm) for arm in found["arms"]]
