"""The end of a classify run: held-out figures with intervals, the temperature, and what the page shows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_recipes.files import write_bytes, write_json
from data_recipes.labels import Example, Problem
from data_recipes.records import Labelled

from alignment.evaluate.show import interval
from alignment.labelling.answering import answer_words, logits_of
from alignment.labelling.heads import KEPT, kept_in_config
from alignment.labelling.measures import Answered, measured, probabilities
from alignment.labelling.rows import Encoded, first_row, target_text

EVALUATION = "evaluation.json"  # in the run's private folder: it holds the text of rows
WRONG = 20  # rows that are kept to be looked at
MOST = 60  # classes of a confusion matrix that is drawn


def paired(examples: list[Example]) -> bool | None:
    """Whether rows have two texts; None where some have and some have not."""
    said = {example.record.pair is not None for example in examples if isinstance(example.record, Labelled)}
    return said.pop() if len(said) == 1 else None


@dataclass(frozen=True)
class Outcome:
    """What is left to do once the model is trained."""

    session: object
    made: Encoded

    def conclude(self, model, folder: Path) -> dict:
        """Measures on the held-out rows; writes page parts and plots; returns what the manifest says of it."""
        problem, scale = self.made.problem, self.made.scale
        found = {**problem.as_dict(), "scale": list(scale), "columns": self.session.job.rows.columns,
                 "pair": paired(self.made.examples), "max_length": self.made.encoder.limit, "temperature": 1.0}
        if self.made.held_out_examples:
            figures = self.measure(model)
            found["temperature"] = figures.get("calibration", {}).get("temperature", 1.0)
            found["evaluation"] = published(figures)
        _write_config(folder, found)
        return {"classify": found}

    def measure(self, model) -> dict:
        """The figures of the held-out rows, also written to the run's private folder, with its plots."""
        from alignment.evaluate.figures import png
        from alignment.labelling.plots import draw_confusion, draw_reliability

        job, examples = self.session.job, self.made.held_out_examples
        answered = answer_examples(model, self.made, examples)
        figures = measured(
            answered, truth_of(self.made.problem, self.made.examples), groups=[example.group for example in examples],
            seed=self.session.config.training.seed,
        )
        private = job.run.private
        if self.made.problem.task != "token":
            figures["wrong"] = worst(answered, examples, figures)
        write_json(private / EVALUATION, {"problem": self.made.problem.as_dict(), "first": first_row(self.made), **figures})
        if "confusion" in figures and len(self.made.problem.names) <= MOST:
            write_bytes(private / "confusion.png", png(draw_confusion(figures["confusion"], self.made.problem.names)))
        if "calibration" in figures:
            write_bytes(private / "reliability.png", png(draw_reliability(figures["calibration"])))
        say(job.ui, figures)
        return figures


def published(figures: dict) -> dict:
    """The figures that the manifest keeps: without plots, and without the text of any row."""
    found = {key: figures[key] for key in ("rows", "main", "figures", "baseline", "groups") if key in figures}
    if calibration := figures.get("calibration"):
        found["calibration"] = {key: calibration[key] for key in ("temperature", "ece_before", "ece_after")}
    return found


def answer_examples(model, made: Encoded, examples: list[Example]) -> Answered:
    """What the model says to rows with known labels; of words all of them, long texts in pieces."""
    problem, encoder = made.problem, made.encoder
    records = [example.record for example in examples]
    if problem.task == "token":
        said = answer_words(model, encoder, problem, [(record.text, record.places) for record in records])
        unit = np.repeat(np.arange(len(records)), [len(record.places) for record in records])
        return Answered(problem, truth_of(problem, examples), np.concatenate(said), unit)
    logits = logits_of(model, encoder, problem, [(record.text, record.pair) for record in records])
    if problem.task == "regression":
        return Answered(problem, truth_of(problem, examples), logits[:, 0] * made.scale[1] + made.scale[0])
    return Answered(problem, truth_of(problem, examples), logits)


def truth_of(problem: Problem, examples: list[Example]) -> np.ndarray:
    """Targets as `Answered.truth` has them."""
    if problem.task == "multi":
        return np.array([[place in example.target for place in range(len(problem.names))] for example in examples])
    if problem.task == "token":
        return np.array([place for example in examples for place in example.target], dtype=np.int64)
    return np.array([example.target for example in examples])


def worst(answered: Answered, examples: list[Example], figures: dict) -> list[dict]:
    """The rows that were most surely answered wrongly, or lie furthest off."""
    problem = answered.problem
    if problem.task == "regression":
        off = np.abs(answered.truth - answered.logits)
        said = [f"{value:.4g}" for value in answered.logits]
    else:
        shares = probabilities(problem, answered.logits / figures["calibration"]["temperature"])
        wrong = answered.guess != answered.truth
        off = shares.max(-1) * wrong if problem.task == "single" else (np.abs(shares - answered.truth) * wrong).max(-1)
        said = [_said(problem, guess, share) for guess, share in zip(answered.guess, shares, strict=True)]
    order = [at for at in np.argsort(-off, kind="stable")[:WRONG] if off[at] > 0]
    return [
        {
            "where": Path(examples[at].where).name,
            "text": examples[at].record.text,
            "pair": examples[at].record.pair,
            "label": target_text(examples[at].target, problem),
            "said": said[at],
        }
        for at in order
    ]


def _said(problem: Problem, guess, shares) -> str:
    if problem.task == "single":
        return f"{problem.names[guess]} ({shares[guess]:.2f})"
    called = [f"{name} ({share:.2f})" for name, held, share in zip(problem.names, guess, shares, strict=True) if held]
    return ", ".join(called) or "none"


def say(ui, figures: dict) -> None:
    """The figures with their intervals, beside those of the trivial guess."""
    trivial = figures["baseline"]["figures"]
    rows = [(name.replace("_", " "), f"{interval(value, 3)}   ({figures['baseline']['says']}: {short(trivial[name])})")
            for name, value in figures["figures"].items()]
    if calibration := figures.get("calibration"):
        before, after = interval(calibration["ece_before"], 3), interval(calibration["ece_after"], 3)
        rows.append(("calibration error", f"{before}, {after} at temperature {calibration['temperature']:.3g}"))
    ui.table(f"on {figures['rows']:,} held-out rows, with 95 % intervals", rows)


def short(found: dict) -> str:
    """The value alone."""
    return "-" if found["value"] is None else f"{found['value']:.3f}"


def _write_config(folder: Path, found: dict) -> None:
    """What a whole model's own config keeps beside its label names: temperature, and the scale of numbers."""
    file = folder / "config.json"
    if not file.is_file():
        return
    held = json.loads(file.read_text(encoding="utf-8"))
    write_json(file, {**held, KEPT: kept_in_config(found)})

