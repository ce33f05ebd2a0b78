"""`align data augment`: rows made by a generator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options
from alignment.cli.generate import loading_options

KINDS = ("demonstrations", "comparisons", "prompts")
LOADING = ("base", "device", "dtype", "quantisation", "trust_remote_code")
SAME = ("settings", "reward", "wordings", "style", "system", "max_new_tokens", "temperature", "top_p", "top_k", "seed", "limit",
        "kind", "max_rejected", "max_failed", "batch_size", "restart")


class Prices(click.ParamType):
    """`IN,OUT`: two numbers of 0 or more."""

    name = "prices"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Raises click.BadParameter for anything else."""
        try:
            first, second = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"'{value}' is not two numbers with a comma between them.", param, ctx)
        if not (0 <= first < float("inf") and 0 <= second < float("inf")):
            self.fail("prices are 0 or more.", param, ctx)
        return first, second


def answer_options(function: Callable) -> Callable:
    """How answers are drawn."""
    options = [
        click.option("--max-new-tokens", default=512, type=click.IntRange(min=1), metavar="N", help="Of an answer. [512]"),
        click.option("--temperature", type=float, metavar="T", help="0 is greedy. [1; a judge: 0]"),
        click.option("--top-p", default=1.0, metavar="P", help="Smallest set of tokens of this probability. [1: off]"),
        click.option("--top-k", default=0, metavar="K", help="The K most probable tokens only. [0: off]"),
        click.option("--seed", default=0, type=click.IntRange(min=0), metavar="N", help="Of sampling and drawing. [0]"),
        click.option("--system", metavar="TEXT", help="System prompt of all questions."),
    ]
    return _apply(options, function)


def endpoint_options(function: Callable) -> Callable:
    """How an endpoint is asked, and what may be spent."""
    options = [
        click.option("--key-env", default="", metavar="NAME", help="Environment variable with the endpoint's key."),
        click.option("--concurrency", default=4, type=click.IntRange(1, 256), metavar="N", help="Questions at once. [4]"),
        click.option("--retries", default=5, type=click.IntRange(min=0), metavar="N", help="Of a failed question. [5]"),
        click.option("--timeout", default=120.0, metavar="SECONDS", help="Without a byte of an answer. [120]"),
        click.option("--price", type=Prices(), metavar="IN,OUT", help="Of a million tokens, prompts and answers."),
        click.option("--max-cost", type=float, metavar="X", help="Stop before more is spent, earlier runs included."),
        click.option("--max-tokens", type=click.IntRange(min=1), metavar="N", help="The same, in tokens."),
        click.option("--max-failed", default=0.0, type=click.FloatRange(0, 1), metavar="SHARE",
                     help="Of questions that may stay without an answer. [0]"),
    ]
    return _apply(options, function)


def _apply(options: list[Callable], function: Callable) -> Callable:
    for option in reversed(options):
        function = option(function)
    return function


@command(
    "augment",
    example="""
align data augment self-instruct --data seeds.jsonl --generator runs/sft --output new.jsonl --set count=200
align data augment best-of-n --data prompts.jsonl --generator runs/sft --reward runs/reward --set to=pairs --output pairs.jsonl
align data augment judge-pairs --data candidates.jsonl --generator "http://127.0.0.1:8000/v1#Qwen/Qwen3-8B" --output pairs.jsonl
align data augment paraphrase --data support.jsonl --generator replay:old.jsonl.requests.jsonl --output new.jsonl
""",
)
@click.argument("recipe", metavar="RECIPE")
@click.option("--data", metavar="FILE|HUB", multiple=True, required=True, help="Seed rows; may be given several times.")
@click.option(
    "--generator", metavar="RUN|DIR|URL|replay:FILE", required=True, help="What answers. A URL is http(s)://HOST/v1#MODEL."
)
@click.option("--output", metavar="FILE", required=True, help="JSONL file to write.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="A setting of the recipe.")
@click.option("--reward", metavar="RUN|MODULE:FUNCTION", help="What scores answers; for best-of-n.")
@click.option("--style", metavar="FILE", help="Style guide that each answer must keep.")
@click.option("--wordings", metavar="FILE", help="YAML file with other wordings of the recipe's questions.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="First rows only.")
@click.option("--kind", type=click.Choice(KINDS), help="What the rows are, where it cannot be told.")
@click.option("--format", "row_format", default="auto", metavar="NAME", help="Format of the rows. [auto]")
@click.option("--max-rejected", default=0.0, type=click.FloatRange(0, 1), metavar="SHARE", help="Share of bad rows. [0]")
@click.option("--batch-size", default=8, type=click.IntRange(min=1), metavar="N", help="Of a local model. [8]")
@click.option("--restart", is_flag=True, help="Make the rows anew; known answers are used again.")
@click.option("--dry-run", is_flag=True, help="Say how much would be asked and what it may cost; ask nothing.")
@answer_options
@endpoint_options
@loading_options
@output_options
def augment_command(**options: Any) -> dict[str, Any]:
    """Make rows with a generator: another model, a run, an endpoint or a recording.

    RECIPE is self-instruct, paraphrase, backtranslate, best-of-n, constitutional or judge-pairs. Every candidate is
    kept or refused by a gate that is named; every answer is logged, so the same command again asks nothing twice.
    """
    from alignment import preflight
    from alignment.augmenting import augment

    for source in options["data"]:
        preflight.check_data(source, "--data")
    result = augment(order(options), make_ui(options["as_json"]), dry_run=options["dry_run"])
    if not options["as_json"] and result["state"] != "dry-run":
        click.echo(result["output"])
    return result


def order(options: dict[str, Any]) -> Any:
    """The command's options as one order."""
    from alignment.augmenting import Order
    from data_recipes.augment.asking import Budget
    from data_recipes.augment.endpoint import Settings

    endpoint = Settings(options["concurrency"], options["retries"], timeout=options["timeout"], key_env=options["key_env"])
    budget = Budget(options["max_tokens"], options["max_cost"], options["price"])
    return Order(
        options["recipe"], options["data"], options["generator"], Path(options["output"]).expanduser(),
        format=options["row_format"], budget=budget, endpoint=endpoint, how={name: options[name] for name in LOADING},
        **{name: options[name] for name in SAME},
    )
