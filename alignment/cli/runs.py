"""`align runs`: what has been made, from what, and whether that still holds. Reads manifests only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alignment import adapters
from alignment.cli.commands import SETTINGS, Command, Group, output_options


class _RunsGroup(Group):
    """`align runs FOLDER` means `align runs list FOLDER`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Takes anything that is no command of this group for a folder to list."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["list", *args])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a command the group lists."""
        asks_help = any(arg in ctx.help_option_names for arg in args)
        return super().parse_args(ctx, args if asks_help or args and args[0] in self.commands else ["list", *args])


@click.group(
    "runs",
    cls=_RunsGroup,
    context_settings=SETTINGS,
    example="""
align runs
align runs show runs/dpo
""",
)
def runs_group() -> None:
    """List runs; show one with its lineage."""


@runs_group.command(
    "list",
    cls=Command,
    example="""
align runs list runs/
""",
)
@click.argument("folder", default=".", type=click.Path())
@output_options
def list_command(folder: str, as_json: bool) -> dict[str, Any]:
    """List all runs below a folder (default: the current one)."""
    from alignment.runs.lineage import list_runs
    from data_recipes.errors import Refused

    if not Path(folder).is_dir():
        raise Refused(f"there is no folder '{folder}'", where="align runs")
    found = list_runs(Path(folder))
    if not as_json:
        rows = [(_short(run["path"]), run["stage"], run["state"], run["created"] or "", run["note"]) for run in found]
        click.echo(_columns([("RUN", "STAGE", "STATE", "CREATED", "NOTE"), *rows]) if rows else "no runs here")
    return {"runs": found}


@runs_group.command(
    "show",
    cls=Command,
    example="""
align runs show runs/dpo
align runs show runs/dpo --json
""",
)
@click.argument("run", type=click.Path())
@output_options
def show_command(run: str, as_json: bool) -> dict[str, Any]:
    """Show one run and its lineage back to the base model."""
    from alignment.runs import Run
    from alignment.runs.lineage import lineage

    opened = Run.open(run)
    steps = lineage(opened)
    if not as_json:
        click.echo(_columns(_facts(opened.manifest)) + "\n\nLineage, from this run back to the base:")
        click.echo(
            _columns(
                [
                    (
                        _short(step["path"]),
                        step["stage"],
                        step["state"],
                        (step["content_hash"] or "")[:12],
                        _note(step),
                    )
                    for step in steps
                ]
            )
        )
    return {"path": str(opened.path), "lineage": steps, "manifest": opened.manifest}


def _note(step: dict[str, Any]) -> str:
    """What is to be said of a step: that it is stale, and what it left behind of its parent."""
    left = f"its parent's head ({step['transfer']}) was left behind" if step.get("transfer") else ""
    return "; ".join(filter(None, (step["note"], left)))


def _facts(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """The few lines of a manifest that a person asks for first."""
    facts = [
        (name, str(manifest[name]))
        for name in ("stage", "state", "created", "updated", "content_hash")
        if manifest.get(name)
    ]
    facts.append(("adapter", adapters.in_words(manifest)))
    metrics = manifest.get("metrics") or {}
    return facts + [
        (name, f"{value:.4g}" if isinstance(value, float) else str(value)) for name, value in metrics.items()
    ]


def _short(path: str) -> str:
    """A path relative to the current directory where it lies below it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def _columns(rows: list[tuple[str, ...]]) -> str:
    """Left-aligned columns two spaces apart, without trailing spaces."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
