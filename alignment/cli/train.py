"""`align sft`, `align reward`, `align dpo`, `align ppo`: parse, check lightly, call the stage, print."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from alignment.cli.commands import command, make_ui, only_one, output_options
from alignment.flags import SHORT_FLAGS

if TYPE_CHECKING:
    from alignment.config import StageConfig

# Of these a second one would be taken in place of the first, which is no figure that a later flag corrects.
ONE: dict[str, Any] = {"multiple": True, "callback": only_one}


def stage_options(function: Callable) -> Callable:
    """The options that all stages share, in the order of the help."""
    options = [
        click.option("--model", metavar="HUB|DIR|RUN", help="Model to tune: hub id, model folder or run.", **ONE),
        click.option("--data", metavar="FILE|HUB", multiple=True, help="Training rows; may be given several times."),
        click.option("--output", metavar="RUN", required=True, help="Run directory to write.", **ONE),
        click.option("--config", "config_path", metavar="FILE", help="YAML file of settings.", **ONE),
        click.option("--set", "sets", metavar="KEY=VALUE", multiple=True,
                     help="One setting, such as adapter.kind=dora; wins over all others; may be repeated."),
        *(click.option(flag, _python_name(key), metavar=kind, help=text, **(ONE if kind == "FILE" else {}))
          for flag, key, kind, text in SHORT_FLAGS),
        click.option("--restart", is_flag=True, help="Start anew; the old run is kept beside."),
        click.option("--dry-run", is_flag=True, help="Show config, data, steps and memory plan; write nothing."),
        click.option("--measure", is_flag=True, help="With --dry-run: run a few steps, thrown away, and tell time and memory."),
        click.option("--gpus", metavar="N", type=click.IntRange(min=1), help="Start N processes, one a GPU."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _python_name(key: str) -> str:
    return key.replace(".", "__")


def _nouns(options: dict[str, Any]) -> dict[str, Any]:
    """Dotted key -> value of the flags that were given."""
    flags = {key: options[_python_name(key)] for _, key, _, _ in SHORT_FLAGS}
    own = {"ppo.reward": list(options.get("reward", ())) or None, "ppo.gold": options.get("gold"),
           "classify.task": options.get("task")}
    given = {key: value for key, value in own.items() if value is not None}
    return {"model.path": options["model"], "data.train": list(options["data"]) or None, **flags, **given}


def load_settings(stage: str, options: dict[str, Any], more: Sequence[str] = ()) -> StageConfig:
    """The config that a stage's options make, with `more` texts `section.key=value` laid over it."""
    from alignment import config

    return config.load(stage, options["config_path"], [*options["sets"], *more], _nouns(options))


def run_stage(stage: str, options: dict[str, Any]) -> dict[str, Any]:
    """Reads the config, checks what can be checked without torch, and runs the stage (or launches it)."""
    from alignment import preflight
    from data_recipes.errors import Refused

    output = Path(options["output"]).expanduser()
    if options["measure"] and not options["dry_run"]:
        raise Refused("a run that is kept is measured anyway", where="--measure", expected="--dry-run --measure")
    settings = load_settings(stage, options)
    preflight.check(settings, output)
    if (options["gpus"] or 1) > 1:
        _launch(options["gpus"])
    run = importlib.import_module(f"alignment.stages.{stage}").run
    ui = make_ui(options["as_json"])
    if options["measure"]:
        from alignment.hardware.trial import measure

        return measure(lambda folder: run(settings, folder, ui=ui), output, ui)
    return run(settings, output, restart=options["restart"], dry_run=options["dry_run"], ui=ui)


def _launch(gpus: int) -> None:
    from alignment.cli import boundary, launch

    launch.check(gpus, launch.gpus_present())
    arguments = click.get_current_context().find_root().obj or sys.argv[1:]
    raise boundary.Launch(launch.command(gpus, arguments))


@command("sft", example="""
align sft --model Qwen/Qwen3-0.6B --data support.jsonl --output runs/sft
align sft --model runs/sft --data more.jsonl --output runs/sft2 --lr 1e-4 --set data.train_on=last
""")
@stage_options
@output_options
def sft_command(**options: Any) -> dict[str, Any]:
    """Tune a model on demonstrations, conversations or plain text.

    Writes a run directory: an adapter (or a whole model) that the next stages, PEFT and vLLM read. The same command
    again continues an interrupted run.
    """
    return run_stage("sft", options)


@command("reward", example="""
align reward --model runs/sft --data pairs.jsonl --output runs/reward
""")
@stage_options
@output_options
def reward_command(**options: Any) -> dict[str, Any]:
    """Train a reward model on chosen and rejected answers.

    A scalar head and an adapter on the same base as the parent run, saved together.
    """
    return run_stage("reward", options)


@command("dpo", example="""
align dpo --model runs/sft --data pairs.jsonl --output runs/dpo
align dpo --model runs/sft --data pairs.jsonl --output runs/ipo --set dpo.loss_type=ipo
""")
@stage_options
@output_options
def dpo_command(**options: Any) -> dict[str, Any]:
    """Tune a policy on chosen and rejected answers (direct preference optimisation).

    The reference is the parent policy itself, frozen and pinned by its hash.
    """
    return run_stage("dpo", options)


@command("ppo", example="""
align ppo --model runs/sft --reward runs/reward --data prompts.jsonl --output runs/ppo
align ppo --model runs/sft --reward mypackage.rules:polite --data prompts.jsonl --output runs/ppo
align ppo --model runs/sft --reward runs/reward --gold my_rules:correct --data prompts.jsonl --output runs/ppo
""")
@click.option("--reward", metavar="RUN|DIR|HUB|MODULE:FUNCTION", multiple=True,
              help="What is maximised; may be given several times (ppo.weights, ppo.combine).")
@click.option("--gold", metavar="RUN|DIR|HUB|MODULE:FUNCTION",
              help="A second reward, measured on held-out prompts and never trained on; it decides what is kept.", **ONE)
@stage_options
@output_options
def ppo_command(**options: Any) -> dict[str, Any]:
    """Tune a policy on a reward by PPO with a critic.

    Policy, reference, critic and reward model share one base. The weights that are best on held-out prompts become the
    result; the critic lies under critic/.
    """
    return run_stage("ppo", options)
