"""The command line: `align`, or `python -m alignment`.

Help, wrong keys and missing files are answered without importing torch: the table below is all that `align --help`
needs, and a command's module is imported when that command is used.
"""

from __future__ import annotations

import logging
import os
import sys

import click

from alignment import __version__
from alignment.cli import boundary
from alignment.cli.commands import SETTINGS, Entry, LazyGroup

TRAIN, LOOK, PUBLISH, BEGIN = "Train", "Look and compare", "Publish", "Begin"
COLLECT = "Collect"
ENTRIES: dict[str, Entry] = {
    "quickstart": Entry(
        "alignment.cli.quickstart", "quickstart_command", BEGIN, "The whole chain on the offline toy world."
    ),
    "sft": Entry("alignment.cli.train", "sft_command", TRAIN, "Tune a model on demonstrations."),
    "reward": Entry("alignment.cli.train", "reward_command", TRAIN, "Train a reward model on preference pairs."),
    "dpo": Entry("alignment.cli.train", "dpo_command", TRAIN, "Tune a policy on preference pairs."),
    "ppo": Entry("alignment.cli.train", "ppo_command", TRAIN, "Tune a policy on a reward, with a critic."),
    "sweep": Entry("alignment.cli.sweep", "sweep_group", TRAIN, "Train a stage over values and seeds, and compare."),
    "classify": Entry("alignment.cli.classify", "classify_command", TRAIN, "Train a classifier; label new rows."),
    "eval": Entry("alignment.cli.evaluate", "eval_command", LOOK, "Measure runs on held-out rows, with intervals."),
    "report": Entry("alignment.cli.evaluate", "report_command", LOOK, "Write a run's page of curves and samples."),
    "chat": Entry("alignment.cli.generate", "chat_command", LOOK, "Talk to a model."),
    "generate": Entry("alignment.cli.generate", "generate_command", LOOK, "Answer a file of prompts."),
    "runs": Entry("alignment.cli.runs", "runs_group", LOOK, "List runs; show one with its lineage."),
    "data": Entry("alignment.cli.data", "data_group", LOOK, "Look at rows, convert, check, build, split them."),
    "collect": Entry("alignment.cli.collect", "collect_group", COLLECT, "Collect preferences from people."),
    "config": Entry("alignment.cli.config", "config_group", LOOK, "Show or describe a stage's settings."),
    "merge": Entry("alignment.cli.publish", "merge_command", PUBLISH, "Fold an adapter into its base, and prove it."),
    "export": Entry("alignment.cli.publish", "export_command", PUBLISH, "Copy what may be published."),
}
EXAMPLE = """
align sft    --model Qwen/Qwen3-0.6B --data support.jsonl --output runs/sft
align reward --model runs/sft --data pairs.jsonl --output runs/reward
align dpo    --model runs/sft --data pairs.jsonl --output runs/dpo
align eval   runs/sft runs/dpo --data prompts.jsonl --reward runs/reward
align chat   runs/dpo
"""


@click.group("align", cls=LazyGroup, entries=ENTRIES, example=EXAMPLE, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="align")
def program() -> None:
    """From a base model and your own data to an aligned model that is shown to be better.

    Each stage writes a run directory that the next one reads; the same command again continues where it stopped.
    """


def run(arguments: list[str]) -> int:
    """Runs one command line in this process and returns its exit code."""
    # bitsandbytes, which PEFT loads where it is installed, warns on loading and in 8 bits at each layer and step on a CPU
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    return boundary.run(program, arguments)


def main() -> None:
    """The `align` script."""
    # For `--reward my_rules:polite`. Last, so that a folder's random.py never shadows the library's.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    sys.exit(run(sys.argv[1:]))
