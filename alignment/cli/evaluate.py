"""`align eval` and `align report`: parse, check lightly, measure, print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options

KINDS = ("demonstrations", "comparisons", "prompts")


def model_options(function: Callable) -> Callable:
    """How models are loaded, the same words as in the config's `model` and `hardware` sections."""
    options = [
        click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps."),
        click.option("--dtype", default="auto", metavar="NAME", help="auto, float32, bfloat16 or float16."),
        click.option(
            "--quantisation", default="none", type=click.Choice(["none", "4bit", "8bit"]), help="Of the base weights."
        ),
        click.option("--base-at", "base_at", metavar="DIR|HUB", help="Where a base lies now, if it has moved."),
        click.option("--trust-remote-code", is_flag=True, help="Run code that comes with a hub model."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def decoding_options(function: Callable) -> Callable:
    """How answers are drawn."""
    options = [
        click.option(
            "--max-new-tokens", default=256, type=click.IntRange(min=1), metavar="N", help="Tokens at most. [256]"
        ),
        click.option("--temperature", default=0.0, metavar="NUMBER", help="0 is greedy. [0]"),
        click.option("--top-p", default=1.0, metavar="SHARE", help="Nucleus sampling; 1 is off. [1]"),
        click.option("--top-k", default=0, metavar="N", help="The most probable tokens only; 0 is off. [0]"),
        click.option("--samples", default=1, type=click.IntRange(min=1), metavar="N", help="Answers a prompt. [1]"),
        click.option("--seed", default=0, metavar="N", help="Of sampling and of the bootstrap. [0]"),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@command(
    "eval",
    example="""
align eval runs/reward --data pairs_heldout.jsonl
align eval runs/sft runs/dpo --data demonstrations_heldout.jsonl
align eval runs/t5 --data summaries_heldout.jsonl --references
align eval runs/sft runs/dpo --base --data prompts.jsonl --reward runs/reward --reward my_rules:polite
align eval runs/sft runs/dpo runs/ppo --data prompts.jsonl --reward runs/reward --kl-from runs/sft
align eval runs/sft runs/dpo --data prompts.jsonl --judge "http://127.0.0.1:8000/v1#Qwen/Qwen3-8B" --output eval
align eval runs/sft --retain general.jsonl --memorised
align eval sft=runs/sft-1,runs/sft-2 dpo=runs/dpo-1,runs/dpo-2 --data prompts.jsonl --reward my_rules:right
""",
)
@click.argument("models", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--data", metavar="FILE|HUB", multiple=True, help="Held-out rows; may be given several times."
)
@click.option(
    "--retain", metavar="FILE|HUB", multiple=True,
    help="General rows: measure what was forgotten on them since the parent or base.",
)
@click.option(
    "--memorised", metavar="[FILE]", is_flag=False, flag_value="own",
    help="Measure which training rows come word for word; by default those of the run. Write it last, or with a FILE.",
)
@click.option(
    "--span", default="16,32", metavar="GIVEN,VERBATIM", help="Tokens of an answer for --memorised. [16,32]"
)
@click.option(
    "--reward", "rewards", metavar="RUN|MODULE:FUNCTION", multiple=True, help="What scores answers; may be repeated."
)
@click.option(
    "--judge", "judges", metavar="RUN|DIR|URL|replay:FILE", multiple=True,
    help="What compares answers, in both orders; may be repeated. A URL is http(s)://HOST/v1#MODEL.",
)
@click.option("--key-env", default="", metavar="NAME", help="Environment variable with a judge's key.")
@click.option("--kl-from", metavar="RUN|DIR|HUB", help="Measure each policy's KL from this one, by answers drawn from it.")
@click.option(
    "--references/--no-references", default=None,
    help="Compare answers with the rows' own: ROUGE, BLEU, exact match. [encoder-decoder models only]",
)
@click.option("--base", is_flag=True, help="Add the base model of the first run as an arm.")
@click.option("--kind", type=click.Choice(KINDS), help="What the rows are, where it cannot be told.")
@click.option("--format", "row_format", default="auto", metavar="NAME", help="Format of the rows. [auto]")
@click.option(
    "--max-rejected",
    default=0.0,
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Share of bad rows that may be dropped. [0]",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="First rows only.")
@click.option("--batch-size", default=16, type=click.IntRange(min=1), metavar="N", help="Rows at once. [16]")
@click.option("--output", metavar="DIR", help="Write result.json and samples.jsonl there.")
@decoding_options
@model_options
@output_options
def eval_command(**options: Any) -> dict[str, Any]:
    """Measure runs, folders or hub models on held-out rows, with intervals.

    Reward runs are measured on pairs: accuracy, calibration, and the accuracy of "the longer one wins" beside it.
    Policies are measured on demonstrations (loss, perplexity; with --references ROUGE, BLEU and exact match of their
    answers), and on prompts where a --reward scores their answers: means, win rates over the first RUN, the same at
    equal length; a --judge gives win rates too. RUN,RUN,... are seeds of one run and make one row with a spread;
    NAME=RUN gives it a name. --retain shows what was forgotten on general rows, --memorised what was learned by heart.
    """
    from alignment import preflight
    from alignment.evaluate.evaluation import evaluate

    for flag in ("--data", "--retain"):
        for source in options[flag.removeprefix("--")]:
            preflight.check_data(source, flag)
    check_asked(options)
    ui = make_ui(options["as_json"])
    result = evaluate(question(options), ui)
    if not options["as_json"]:
        from alignment.evaluate.show import print_result

        print_result(result)
    return result


def check_asked(options: dict[str, Any]) -> None:
    """Raises Refused where nothing is to be measured, the span is none, or the result could not be written at the end."""
    from data_recipes.errors import Refused

    check_folder(options["output"])
    if not (options["data"] or options["retain"] or options["memorised"]):
        raise Refused("there is nothing to measure", where="align eval", expected="--data, --retain or --memorised")
    parts = options["span"].split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise Refused(f"{options['span']!r} is no span", where="--span", expected="two whole numbers, such as 16,32")


def check_folder(output: str | None) -> None:
    """Raises Refused where an --output is a file: that must not show once all has been measured."""
    from data_recipes.errors import Refused

    if output and Path(output).expanduser().is_file():
        raise Refused(f"'{output}' is a file", where="--output", expected="a folder")


def question(options: dict[str, Any]) -> Any:
    """The command's options as one question."""
    from alignment.evaluate.evaluation import Question
    from alignment.generation.decoding import Decoding
    from data_recipes.augment.endpoint import Settings

    same = {
        key: options[key]
        for key in ("models", "data", "rewards", "judges", "base", "samples", "batch_size", "limit", "kind", "max_rejected",
                    "kl_from", "references", "retain", "memorised")
    }
    decoding = Decoding(*(options[key] for key in ("max_new_tokens", "temperature", "top_p", "top_k", "seed")))
    output = Path(options["output"]).expanduser() if options["output"] else None
    span = tuple(int(part) for part in options["span"].split(","))
    return Question(**same, format=options["row_format"], decoding=decoding, output=output, how=loading(options), span=span,
                    endpoint=Settings(key_env=options["key_env"]))


def loading(options: dict[str, Any]) -> dict[str, Any]:
    """How models are loaded: `models.Loading` arguments."""
    same = {key: options[key] for key in ("device", "dtype", "quantisation", "trust_remote_code")}
    return {**same, "base": options["base_at"]}


@command(
    "report",
    example="""
align report runs/dpo
align report runs/sft runs/reward runs/dpo --result eval/result.json --output report/
""",
)
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--result", "results", metavar="FILE", multiple=True, help="result.json of align eval; may be given several times."
)
@click.option("--output", metavar="DIR", help="Folder for the report of several runs.")
@click.option(
    "--samples", default=4, type=click.IntRange(min=0), metavar="N", help="Answers to draw for one run's report. [4]"
)
@model_options
@output_options
def report_command(**options: Any) -> dict[str, Any]:
    """Write a page of curves, data, samples and lineage.

    One RUN: into its private/report.html, which `align export` never takes. Several: one page into --output, with the
    figure of what was measured. The pages load nothing from anywhere.
    """
    from alignment.evaluate.report import report

    check_folder(options["output"])
    how = loading(options)
    output = Path(options["output"]).expanduser() if options["output"] else None
    ui = make_ui(options["as_json"])
    return report(
        options["runs"], results=options["results"], output=output, samples=options["samples"], how=how, ui=ui
    )
