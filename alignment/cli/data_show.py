"""`align data show`: any row of a file as a stage would train on it, and the account of all its rows."""

from __future__ import annotations

from typing import Any

import click

from alignment.cli.commands import command, make_ui, only_one, output_options

STAGE_OF = {"demonstrations": "sft", "comparisons": "dpo"}
KIND_OF = {"sft": "demonstrations", "reward": "comparisons", "dpo": "comparisons"}


@command(
    "show",
    example="""
align data show support.jsonl --model Qwen/Qwen3-0.6B
align data show pairs.jsonl --model runs/sft --row 17 --stage reward --set data.max_length=512
""",
)
@click.argument("file", metavar="FILE|HUB")
@click.option("--model", metavar="HUB|DIR|RUN", required=True, help="Model whose tokenizer and chat template are used.")
@click.option(
    "--row", metavar="N", type=click.IntRange(min=1), default=1, help="Which row that can be used, from 1. [1]"
)
@click.option(
    "--stage", type=click.Choice(tuple(KIND_OF)), help="As which stage reads it; by default told by the rows."
)
@click.option("--config", "config_path", metavar="FILE", help="YAML file of settings.", multiple=True, callback=only_one)
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="One setting, such as data.train_on=last.")
@output_options
def show_command(
    file: str, model: str, row: int, stage: str | None, config_path: str | None, sets: tuple[str, ...], as_json: bool
) -> dict[str, Any]:
    """Print one row by what is trained (bold, or between « and »), and counts of all rows."""
    from alignment import config, preflight
    from alignment.evaluate.rows import kind_of
    from alignment.sources import resolve

    preflight.check_data(file, "FILE")
    stage = stage or _stage_of(kind_of(file), file)
    settings = config.load(stage, config_path, sets, {"model.path": model, "data.train": [file]})
    return _show(settings, resolve(model, revision=settings.model.revision), row, make_ui(as_json))


def _stage_of(kind: str, file: str) -> str:
    from data_recipes.errors import Refused

    if kind not in STAGE_OF:
        raise Refused(
            "these rows are prompts alone, which no stage here trains on",
            where=file,
            expected="demonstrations, conversations, text or pairs",
            do="Use them with align eval or align generate",
        )
    return STAGE_OF[kind]


def _show(settings, source, number: int, ui) -> dict[str, Any]:
    """Reads all rows, renders all of them and shows one."""
    from alignment.data import demonstration_row, pair_row, render_part, target_rows
    from data_recipes.errors import Refused
    from data_recipes.readers import read
    from data_recipes.seq2seq import Seq2SeqRenderer
    from data_recipes.show import row_text

    rows = read(settings.data.train, KIND_OF[settings.stage], format=settings.data.format)
    renderer = _renderer(settings, source)
    longest = renderer.tokenizer.model_max_length
    if settings.data.max_length > longest:
        ui.warn(f"data.max_length {settings.data.max_length:,} is beyond the model's longest context, {longest:,} tokens")
    one = (
        (target_rows if isinstance(renderer, Seq2SeqRenderer) else demonstration_row)(renderer)
        if settings.stage == "sft"
        else pair_row(renderer, whole=settings.stage == "reward", margins=False)
    )
    usable = [record.where for record in rows.records]
    made = render_part(rows.records, one, rows.ledger)
    _report(rows.ledger, made.counts, ui)
    if number > len(made.names):
        raise Refused(f"there is no row {number}: {len(made.names)} rows can be used", where="--row")
    record = rows.records[usable.index(made.names[number - 1])]
    text = row_text(renderer, record)
    ui.say(f"row {number}, {record.where}:")
    ui.text(text)
    return {
        "row": number,
        "where": record.where,
        "text": text.plain,
        "counts": made.counts,
        "ledger": rows.ledger.totals(),
    }


def _renderer(settings, source):
    from alignment.models import load_tokenizer
    from alignment.rendering import renderer_options
    from data_recipes.seq2seq import make_renderer

    tokenizer, preparation = load_tokenizer(
        source, trust_remote_code=settings.model.trust_remote_code, add_tokens=tuple(settings.model.add_tokens)
    )
    return make_renderer(tokenizer, preparation, renderer_options(source, settings))


def _report(ledger, counts: dict[str, int], ui) -> None:
    """Where rows came from, the table that a stage prints before it trains, and which rows were refused."""
    from data_recipes.show import counts_table

    for origin in ledger.sources:
        ui.say(f"{origin['path']}: {origin['format']} ({origin['why']})")
    for note in ledger.notes:
        ui.say(note)
    ui.text(counts_table({"all rows": counts}, ledger.rejected))
    for bad in ledger.rejected_rows[:10]:
        ui.warn(f"{bad['where']}: {bad['reason']} ({bad['detail']})")
    if ledger.refused > 10:
        ui.warn(f"and {ledger.refused - 10} more rows refused")
