"""`align data audit`: what is wrong with rows, on the terminal, as a page and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options
from alignment.cli.data_convert import reading

MANY = 20_000  # rows from which on each check is said as it begins
KINDS = ("demonstrations", "comparisons", "prompts", "unpaired", "labelled")


def file_options(function: Callable) -> Callable:
    """What is audited, and beside what."""
    for option in reversed((
        click.option("--held-out", metavar="FILE", multiple=True, help="Rows that are not trained on: leakage is looked for."),
        click.option("--against", metavar="EVAL", multiple=True, help="Evaluation set whose text must not be in the rows."),
        click.option("--allow", metavar="FILE", multiple=True, help="Reviewed phrases that may be shared, one a line."),
        click.option("--target", metavar="FILE", multiple=True, help="A sample of what the model will be asked."),
        click.option("--kind", type=click.Choice(KINDS), metavar="KIND", help=f"Of the rows: {', '.join(KINDS)}. [told]"),
        click.option("--format", default="auto", metavar="NAME", help="Format of the rows, where it is not clear. [auto]"),
        click.option("--columns", metavar="A,B", default="", help="Names of the columns of a CSV or TSV file without any."),
        click.option("--rename", metavar="OLD=NEW", multiple=True, help="Read the column OLD as NEW."),
    )):
        function = option(function)
    return function


def model_options(function: Callable) -> Callable:
    """Models that see more than rules do; none is needed."""
    for option in reversed((
        click.option("--model", metavar="HUB|DIR|RUN", help="Count tokens with its tokenizer and chat template."),
        click.option("--max-length", metavar="N", type=click.IntRange(min=1), default=1024, help="Tokens of a row. [1024]"),
        click.option("--embedding", metavar="DIR|HUB", help="Model whose vectors say how near a row is to --target."),
        click.option("--toxicity-model", metavar="DIR|HUB", help="Classifier of toxic text, in place of the word list."),
    )):
        function = option(function)
    return function


@command(
    "audit",
    example="""
align data audit support.jsonl --model Qwen/Qwen3-0.6B --output audits/support
align data audit train.jsonl --held-out validation.jsonl --against mt_bench.jsonl --allow reviewed.txt
align data audit pairs.jsonl --only longer-wins,answer-classifier,style --group-column region
align data audit data/support --fail-on "leakage>0,duplicates>0.01,personal-data.count>0"
""",
)
@click.argument("files", metavar="FILE|DIR|HUB...", nargs=-1, required=True)
@file_options
@model_options
@click.option("--groups", metavar="FILE", help="Words by group, `women: woman, women`, in place of the list that comes along.")
@click.option("--group-column", metavar="NAME", default="", help="The column that names a row's group, in place of words.")
@click.option("--words", metavar="NAME=FILE", multiple=True,
              help="Your own list in place of the English one: toxic, refusal, angry or sad; a word or phrase a line.")
@click.option("--style", metavar="FILE", help="Style guide of the team's own: which answers break it.")
@click.option("--only", metavar="A,B", default="", help="These checks alone.")
@click.option("--fail-on", metavar="A>X,B>Y", multiple=True, help="Exit 1 where a share, rate or NAME.count is above (or <).")
@click.option("--output", metavar="DIR", help="Write audit.html and audit.json here. They hold pieces of rows.")
@click.option("--near", metavar="SHARE", type=click.FloatRange(0.1, 1), default=0.4,
              help="Word pairs shared from which two texts are nearly the same. [0.4]")
@click.option("--seed", type=int, default=0, metavar="N", help="Seed of the bootstrap intervals. [0]")
@output_options
def audit_command(files: tuple[str, ...], **options: Any) -> dict[str, Any]:
    """Say what is wrong with rows before anything is trained on them.

    Counts, lengths, duplicates, broken text, personal data, leakage, shortcuts in pairs, contradictions, bias, tone, and fit to
    the domain. Each finding names its rows, why it matters, and the recipe step that mends it. A folder that holds train.jsonl
    and validation.jsonl or test.jsonl gives both sides.
    """
    from data_recipes.audit import inputs, run, thresholds, wordlists

    options["words"] = wordlists.chosen(options["words"])
    only, limits = _names(options["only"]), thresholds.parse(options["fail_on"])
    thresholds.check_measured(limits, only)
    ui = make_ui(options["as_json"])
    loaded = inputs.load(files, options["held_out"], kind=options["kind"] or "", how=reading({**options, "drop": ()}))
    for source in loaded.sources:
        ui.say(f"{source['path']}: {source['kind']}, {source['format']} ({source['why']})")
    for note in loaded.notes:
        ui.say(note)
    if options["group_column"]:
        inputs.check_column(loaded.rows, options["group_column"])
    say = ui.say if len(loaded.rows) >= MANY else None
    context = _context(loaded, options)
    if context.limit != context.max_length:
        ui.warn(f"--max-length {context.max_length:,} is beyond the model's longest context, {context.limit:,} tokens: "
                "rows are measured against the latter")
    report = run.audit(loaded.rows, context, only=only, say=say)
    report.sources, report.notes = loaded.sources, loaded.notes
    report.broken = thresholds.broken(limits, report.findings, report.not_done)
    return _told(report, files, options, ui)


def _told(report: Any, files: tuple[str, ...], options: dict[str, Any], ui: Any) -> dict[str, Any]:
    """Writes and prints the report. Raises Failed where a threshold is broken, with the report in the document."""
    from data_recipes.audit.page import write
    from data_recipes.audit.terminal import rendered
    from data_recipes.errors import Failed

    written = write(report, Path(options["output"]).expanduser(), title=", ".join(files)) if options["output"] else []
    document = {**report.document(), "written": [str(path) for path in written]}
    if not options["as_json"]:
        _print(rendered(report))
    for path in written:
        ui.say(f"{path} (holds pieces of rows: keep it where the rows may be)")
    if report.broken:
        named = "; ".join(f"{one['threshold']}, found {one['found']:.4g}" for one in report.broken)
        error = Failed(f"{len(report.broken)} threshold{'s are' if len(report.broken) > 1 else ' is'} broken: {named}",
                       where="--fail-on", do="The report names the rows and the step that mends them")
        error.document = document
        raise error
    return document


def _context(loaded: Any, options: dict[str, Any]) -> Any:
    from data_recipes.audit import inputs, wordlists
    from data_recipes.audit.model import Context
    from data_recipes.style import load_guide

    renderer = _renderer(options["model"])
    listed = wordlists.groups(Path(options["groups"]).expanduser()) if options["groups"] else wordlists.groups()
    return Context(
        refused=tuple(loaded.refused), against=inputs.evaluation_items(options["against"]),
        allowed=inputs.allowed_phrases(options["allow"]), target=inputs.texts(options["target"]), groups=listed,
        words=options["words"], guide=load_guide(options["style"]) if options["style"] else None,
        group_column=options["group_column"],
        threshold=options["near"], seed=options["seed"], max_length=options["max_length"],
        renderer=renderer, longest_context=renderer.tokenizer.model_max_length if renderer else None, **_models(options),
    )


def _renderer(model: str | None) -> Any:
    """The model's own way of writing a chat, without a limit: what is over it is counted."""
    if not model:
        return None
    from alignment.models import load_tokenizer
    from alignment.sources import resolve
    from data_recipes.seq2seq import make_renderer

    source = resolve(model)
    kept = ((source.manifest or {}).get("template") or {}).get("options") or {}
    return make_renderer(*load_tokenizer(source), kept, max_length=None)


def _models(options: dict[str, Any]) -> dict[str, Any]:
    if not options["embedding"] and not options["toxicity_model"]:
        return {}
    from alignment import text_models

    made: dict[str, Any] = {}
    if options["embedding"]:
        made["embed"] = text_models.embedder(options["embedding"])
    if options["toxicity_model"]:
        made["toxicity"] = text_models.toxicity(options["toxicity_model"])
    return made


def _names(only: str) -> list[str]:
    """The checks of `--only`. Raises Refused for one that there is not, with the nearest name."""
    from data_recipes.audit.thresholds import known

    return [known(name.strip(), "--only") for name in only.split(",") if name.strip()]


def _print(report: Any) -> None:
    """To standard output, in colours where it is a terminal."""
    import sys

    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 130, highlight=False).print(report)
