"""`align config show` and `align config schema`: what may be set, what it is set to and why."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import click

from alignment.cli.commands import Command, group, only_one, output_options
from alignment.stages import STAGES


@group("config", example="""
align config show sft --config configs/sft/qlora-7-8b-24gb.yaml
align config schema dpo > dpo.schema.json
""")
def config_group() -> None:
    """Show or describe a stage's settings."""


@config_group.command("show", cls=Command, example="""
align config show dpo
align config show sft --config my.yaml --set adapter.kind=full
""")
@click.argument("stage", type=click.Choice(STAGES))
@click.option("--config", "config_path", metavar="FILE", help="YAML file of settings.", multiple=True, callback=only_one)
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="One setting; wins over the file.")
@output_options
def show_command(stage: str, config_path: str | None, sets: tuple[str, ...], as_json: bool) -> dict[str, Any]:
    """Print every key with its value, where that comes from, and what it means."""
    from alignment.config import describe, load
    from alignment.config.presets import presets
    from alignment.config.trainer import allowed

    lines, trainer, found = describe(stage, load(stage, config_path, sets)), allowed(stage), presets(stage)
    if not as_json:
        click.echo(f"{as_text(lines)}\n\n{_listed('trainer: takes', trainer)}\n\n{_listed('presets:', found)}")
    return {"stage": stage, "keys": [line._asdict() for line in lines], "trainer": trainer, "presets": found}


@config_group.command("schema", cls=Command, example="""
align config schema sft > sft.schema.json
# then, at the top of a config file:  # yaml-language-server: $schema=sft.schema.json
""")
@click.argument("stage", type=click.Choice(STAGES))
@output_options
def schema_command(stage: str, as_json: bool) -> dict[str, Any]:
    """Print the JSON Schema of a stage's config file, for editors."""
    from alignment.config import schema

    if not as_json:
        click.echo(json.dumps(schema(stage), indent=2))
    return schema(stage)


def as_text(lines: list) -> str:
    """The keys as a YAML file that could be loaded, with a comment above each key."""
    out: list[str] = []
    section = ""
    for line in lines:
        above, _, leaf = line.key.rpartition(".")
        if above != section:
            out += ["", f"{above}:"] if above else [""]
            section = above
        indent = "  " if above else ""
        value = json.dumps(line.value, ensure_ascii=False)
        out.append(f"{indent}# {line.meaning} ({line.expected})")
        out.append(f"{indent}{leaf}: {value}" + (f"    # {line.source}" if line.source else ""))
    return "\n".join(out).strip("\n")


def _listed(title: str, names: list[str]) -> str:
    """Names as a comment, so that the whole output stays a config file."""
    return textwrap.fill(f"{title} {', '.join(names)}", 110, initial_indent="# ", subsequent_indent="#   ",
                         break_long_words=False, break_on_hyphens=False)
