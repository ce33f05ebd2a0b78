"""`align classify`, which trains, and `align classify predict`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import SETTINGS, Branching, Entry, command, make_ui, output_options
from alignment.cli.generate import loading_of, loading_options
from alignment.cli.train import run_stage, stage_options

TASKS = ("auto", "single", "multi", "regression", "token")
BRANCHES = {"predict": Entry("alignment.cli.classify", "predict_command", "", "Label the rows of a file.")}


@click.command("classify", cls=Branching, branches=BRANCHES, context_settings=SETTINGS, example="""
align classify --model bert-base-uncased --data reviews.csv --output runs/sentiment
align classify --model roberta-base --data people.conll --task token --output runs/names
align classify --model runs/sft --data tickets.jsonl --output runs/topics --set classify.group=country
align classify predict runs/sentiment --data new.csv --output labels.csv
""")
@click.option("--task", type=click.Choice(TASKS), help="One class, several, a number, or a class a word. [told by the rows]")
@stage_options
@output_options
def classify_command(**options: Any) -> dict[str, Any]:
    """Train a classifier of texts, pairs or words; or label new rows with one.

    Rows are CSV, TSV, JSON lines or Parquet with a text and a label, or CoNLL files. Held-out rows decide which weights are
    kept, calibrate the probabilities and measure, beside the trivial guess; the figures are in align.json and align report.
    """
    return run_stage("classify", options)


@command("predict", example="""
align classify predict runs/sentiment --data new.csv --output labels.csv
align classify predict runs/sentiment --data new.csv --output labels.jsonl --all-classes
""")
@click.argument("model", metavar="RUN|DIR|HUB")
@click.option("--data", metavar="FILE|HUB", required=True, help="Rows with a text: CSV, TSV, JSON lines, Parquet, CoNLL.")
@click.option("--output", metavar="FILE", required=True, help="CSV, TSV or JSON lines file to write.")
@click.option("--text", "text", metavar="COLUMN", multiple=True, help="Column of the text, twice for a pair. [the run's]")
@click.option("--all-classes", is_flag=True, help="The probability of every class, not only of the one that is called.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, metavar="P",
              help="Of several labels, those of at least this probability are called. [0.5]")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, metavar="N", help="Rows at once. [32]")
@click.option("--max-rejected", type=click.FloatRange(0, 1), default=0.0, metavar="SHARE",
              help="Share of bad rows that may be left out. [0]")
@click.option("--overwrite", is_flag=True, help="Replace an output that holds something else.")
@loading_options
@output_options
def predict_command(model: str, as_json: bool, **options: Any) -> dict[str, Any]:
    """Label the rows of a file with a trained classifier.

    Each row is written with its label and the calibrated probability of it; of words, with the spans that were found. The
    file appears once it is complete.
    """
    from alignment.labelling.predicting import Request, predict

    request = Request(
        model, options["data"], Path(options["output"]).expanduser(), tuple(options["text"]), options["all_classes"],
        options["threshold"], options["batch_size"], options["max_rejected"], options["overwrite"], loading_of(options),
    )
    result = predict(request, make_ui(as_json))
    if not as_json:
        click.echo(result["output"])
    return result
