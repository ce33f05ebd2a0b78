"""`align sweep STAGE`: the stage's own options, and over what it is repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import SETTINGS, Command, Group, make_ui
from alignment.stages import STAGES

# Options of a stage that a sweep has for itself, or gives to its dry run alone.
OWN = {"output", "restart", "dry_run", "as_json", "measure", "debug"}
EXAMPLE = """
align sweep sft --over training.learning_rate=1e-5,1e-4 --seeds 3 --model runs/sft --data more.jsonl --output sweeps/lr
align sweep dpo --over dpo.beta=0.05,0.1,0.3 --over adapter.rank=4,16 --model runs/sft --data pairs.jsonl --output sweeps/beta
"""


class _SweepGroup(Group):
    """One command a stage, made from the stage's own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The stages."""
        return list(STAGES)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The sweep of a stage; None where there is no such stage."""
        return _command_for(name) if name in self.list_commands(ctx) else None


@click.group("sweep", cls=_SweepGroup, context_settings=SETTINGS, example=EXAMPLE)
def sweep_group() -> None:
    """Train a stage over values and seeds, and compare the runs.

    Takes the stage's own options beside --over and --seeds. Each run is a run directory of its own; all are measured on the
    same held-out rows. Writes one table of mean and spread, one plot and a page, and names the best setting. The same
    command again goes on where it stopped; with more values or seeds it grows.
    """


class _SweepCommand(Command):
    """The sweep of one stage; `stage` is the stage's own command."""

    def __init__(self, name: str, stage: click.Command) -> None:
        kept = [option for option in stage.params if option.name not in {"restart", "dry_run", "output"}]
        help_ = f"Train `align {name}` over values and seeds, and compare the runs.\n\nAll options of the stage are taken."
        super().__init__(name, params=[*_options(), *kept], callback=self.work, context_settings=SETTINGS, help=help_,
                         example=_example(name), short_help=f"A grid of `align {name}`.")
        self.stage = stage

    def work(self, **options: Any) -> dict[str, Any]:
        """Runs the sweep and prints its table."""
        from alignment.cli.train import load_settings
        from alignment.sweeping.grid import parse_over
        from alignment.sweeping.work import Sweep, plan, run
        from data_recipes.errors import Failed

        ui = make_ui(options["as_json"])
        asked = Sweep(
            self.name, spelled(self.stage.params, options), lambda sets: load_settings(self.name, options, sets),
            parse_over(options["over"]), options["seeds"], Path(options["output"]).expanduser(), by=options["by"],
            restart=options["restart"], ui=ui,
        )
        if options["dry_run"]:
            return _show_plan(plan(asked, ["--measure"] if options.get("measure") else []), ui)
        try:
            result = run(asked)
        except Failed as error:
            if error.document and not options["as_json"]:  # what the other runs came to
                show(error.document)
            raise
        if not options["as_json"]:
            show(result)
        return result


def _options() -> list[click.Option]:
    return [
        click.Option(["--over"], metavar="KEY=VALUE,...", multiple=True, help="A setting and its values; may be repeated: all "
                     "combinations are trained."),
        click.Option(["--seeds"], metavar="N", type=click.IntRange(min=1), default=3, help="Runs of each setting. [3]"),
        click.Option(["--by"], metavar="NAME", help="Held-out figure that decides; by default the stage's main one."),
        click.Option(["--output"], metavar="DIR", required=True, help="Folder for the runs, the table, the plot and the page."),
        click.Option(["--restart"], is_flag=True, help="Start anew; the old sweep is kept beside."),
        click.Option(["--dry-run"], is_flag=True, help="Show all runs, and the plan of the first; write nothing."),
    ]


def _example(stage: str) -> str:
    more = {"ppo": " --reward runs/reward", "classify": ""}.get(stage, "")
    return (f"\nalign sweep {stage} --over training.learning_rate=1e-5,1e-4 --seeds 3 --model runs/sft{more} "
            f"--data rows.jsonl --output sweeps/{stage}\n")


def _command_for(stage: str) -> click.Command:
    """The sweep of a stage, made from the stage's command as the program has it."""
    from alignment.cli import program

    return _SweepCommand(stage, program.get_command(click.Context(program), stage))


def spelled(params: list[click.Parameter], options: dict[str, Any]) -> list[str]:
    """The words of a command line that give these options their values."""
    words: list[str] = []
    for option in params:
        value = options.get(option.name)
        if option.name in OWN or value in (None, (), False):
            continue
        if option.is_flag:
            words.append(option.opts[0])
            continue
        for item in value if isinstance(value, tuple) else [value]:
            words += [option.opts[0], str(item)]
    return words


def show(result: dict[str, Any]) -> None:
    """Prints the table, the notes and the line that trains with the best setting."""
    from alignment.evaluate.show import print_tables
    from alignment.sweeping.metrics import By
    from alignment.sweeping.table import printed

    if not result["settings"]:
        click.echo(result["table"])
        return
    by, best = By(result["by"]["name"], result["by"]["better"] == "lower"), result["best"]
    print_tables([printed(list(result["over"]), by, result["settings"])], result["notes"])
    if best:
        click.echo(f"\nbest: {best['words'] or 'as given'}\n{best['command']}")
    click.echo(f"\n{result['table']}\n{result['plot']}\n{result['page']}")


def _show_plan(result: dict[str, Any], ui: Any) -> dict[str, Any]:
    runs, hours = result["runs"], result["hours"]
    ui.table("dry run: nothing was written", [(run["name"], f"seed {run['seed']}", f"{run['steps']} steps") for run in runs])
    ui.say(f"{len(runs)} runs of {sum(run['steps'] for run in runs):,} steps together, one after the other")
    if hours is not None:
        ui.say(f"about {hours:.2f} hours in all, by the steps that were measured")
    return result
