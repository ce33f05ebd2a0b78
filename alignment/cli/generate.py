"""`align generate` and `align chat`: parse, call, print."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line feed


def sampling_options(function: Callable) -> Callable:
    """How answers are decoded; the same words in every command that generates."""
    options = [
        click.option("--max-new-tokens", type=int, default=256, metavar="N", help="Longest answer in tokens. [256]"),
        click.option("--temperature", type=float, metavar="T", help="0 is greedy; above 0 samples."),
        click.option(
            "--top-p", type=float, default=1.0, metavar="P", help="Smallest set of tokens of this probability. [1: off]"
        ),
        click.option("--top-k", type=int, default=0, metavar="K", help="The K most probable tokens only. [0: off]"),
        click.option("--seed", type=int, default=0, metavar="N", help="Seed of the sampling. [0]"),
        click.option("--system", metavar="TEXT", help="System prompt, instead of the run's own."),
    ]
    return _apply(options, function)


def loading_options(function: Callable) -> Callable:
    """How a model is loaded."""
    options = [
        click.option("--base-at", "base", metavar="DIR|HUB", help="Where an adapter's base lies now, if it has moved."),
        click.option(
            "--device",
            default="auto",
            metavar="NAME",
            help="cpu, cuda, mps; by default the accelerator if there is one.",
        ),
        click.option("--dtype", default="auto", metavar="NAME",
                     help="float32, bfloat16 or float16. [auto: bfloat16 on a GPU that has it, else float32]"),
        click.option(
            "--quantisation", type=click.Choice(["none", "4bit", "8bit"]), default="none", help="Of the base's weights. [none]"
        ),
        click.option("--trust-remote-code", is_flag=True, help="Run code that comes with a hub model."),
    ]
    return _apply(options, function)


def _apply(options: list[Callable], function: Callable) -> Callable:
    for option in reversed(options):
        function = option(function)
    return function


def loading_of(options: dict[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in ("base", "device", "dtype", "quantisation", "trust_remote_code")}


def _decoding(options: dict[str, Any], temperature: float):
    from alignment.generation.decoding import Decoding

    chosen = temperature if options["temperature"] is None else options["temperature"]
    return Decoding(options["max_new_tokens"], chosen, options["top_p"], options["top_k"], options["seed"])


@command(
    "generate",
    example="""
align generate runs/dpo --data prompts.jsonl --output answers.jsonl
align generate runs/sft runs/dpo --data prompts.jsonl --samples 2 --output candidates.jsonl
""",
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--data", metavar="FILE|HUB", required=True, help="Prompts: JSONL, JSON, CSV, Parquet or a hub data set.")
@click.option("--output", metavar="FILE", required=True, help="JSONL file to write.")
@click.option("--samples", type=int, default=1, metavar="N", help="Answers per prompt and model. [1]")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="First N prompts only.")
@click.option("--batch-size", type=int, default=16, metavar="N", help="Prompts at once; changes no answer. [16]")
@click.option("--format", default="auto", metavar="NAME", help="How the rows are written, where it is not clear.")
@click.option(
    "--max-rejected", type=float, default=0.0, metavar="SHARE", help="Share of bad rows that may be left out. [0]"
)
@click.option("--restart", is_flag=True, help="Start anew; the old answers are kept beside.")
@click.option("--dry-run", is_flag=True, help="Check models, prompts and settings; write nothing.")
@sampling_options
@loading_options
@output_options
def generate_command(models: tuple[str, ...], **options: Any) -> dict[str, Any]:
    """Answer a file of prompts with one or several models.

    MODEL is a run, a model folder or a hub id. Greedy for one sample, temperature 1 for several, unless said. The same
    command again continues after an interruption; settings and seeds are recorded in OUTPUT.meta.json.
    """
    from alignment.generation.candidates import Request, generate_file

    request = Request(
        models,
        options["data"],
        Path(options["output"]).expanduser(),
        options["samples"],
        _decoding(options, 0.0 if options["samples"] == 1 else 1.0),
        options["batch_size"],
        options["limit"],
        options["system"],
        options["format"],
        options["max_rejected"],
        options["restart"],
        loading_of(options),
    )
    result = generate_file(request, make_ui(options["as_json"]), dry_run=options["dry_run"])
    if not options["as_json"]:
        click.echo(result["output"])
    return result


@command(
    "chat",
    example="""
align chat runs/dpo
align chat runs/dpo --temperature 0 --system "You are brief."
echo "Where is order 17?" | align chat runs/dpo --temperature 0
""",
)
@click.argument("model", metavar="MODEL")
@sampling_options
@loading_options
@output_options
def chat_command(model: str, as_json: bool, **options: Any) -> dict[str, Any]:
    """Talk to a model.

    MODEL is a run, a model folder or a hub id. Answers are sampled at temperature 0.7 unless said. /help lists the
    commands of a session; Ctrl-C ends an answer, Ctrl-D the session. Lines may be piped in. With --json the
    conversation is printed at the end.
    """
    from alignment.generation.chat import Session, voice

    ui, decoding, loading = make_ui(as_json), _decoding(options, 0.7), loading_of(options)

    def load(name: str, **changes: Any):
        from alignment.generation.candidates import check_answers, taken_whole
        from alignment.sources import resolve

        source = resolve(name)
        check_answers(source)
        from alignment.models import load_policy

        if whole := taken_whole(source, loading["quantisation"]):
            ui.warn(whole)
        loaded = load_policy(source, **{**loading, **changes})
        if chosen := loaded.preparation.chosen:
            ui.say(f"{name}: {chosen}")
        return voice(loaded, name)

    session = Session(
        load(model),
        decoding=decoding,
        system=options["system"],
        load=lambda name: load(name, base=None),
        emit=_emit,
        note=ui.say,
    )
    ui.say(f"{model}: {decoding.describe()}. /help lists the commands.")
    converse(session, Lines(sys.stdin.isatty()))
    return session.transcript()


def converse(session: Any, lines: Iterator[str]) -> None:
    """Feeds lines to the session until it or the input ends. Ctrl-C while no answer is being given asks for /quit."""
    while True:
        try:
            line = next(lines, None)
            if line is None or not session.hear(line):
                return
        except KeyboardInterrupt:
            session.note("(Ctrl-D or /quit leaves)")


class Lines:
    """Lines as they are typed or piped; an iterator that goes on after Ctrl-C, which a generator could not."""

    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal
        if terminal:
            _line_editing()

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        if self.terminal:
            try:
                return input("> ")
            except EOFError:
                click.echo(err=True)  # the shell's prompt begins on a line of its own
                raise StopIteration from None
        line = sys.stdin.readline()
        if not line:
            raise StopIteration
        return line


def _line_editing() -> None:
    """Arrow keys and history for `input`, where the platform has them (Windows' console has its own)."""
    if importlib.util.find_spec("readline"):
        importlib.import_module("readline")


def _emit(piece: str) -> None:
    """Shows a piece of an answer at once; on a terminal without control characters, which a model may also write."""
    sys.stdout.write(CONTROLS.sub("\ufffd", piece) if sys.stdout.isatty() else piece)
    sys.stdout.flush()
