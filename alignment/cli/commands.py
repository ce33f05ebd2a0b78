"""How every command is made: help that ends with an example, groups that load a command only when it is used.

A command's function returns its result as a dictionary (or None); `boundary.run` prints it as the one JSON document
when `--json` was given. Without `--json` the function prints for people itself, to standard output by `click.echo`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import click


class Entry(NamedTuple):
    """Where a command lives, under which heading it is listed, and its short help, known without importing it."""

    module: str
    attribute: str
    heading: str
    help: str


class Command(click.Command):
    """A Click command whose help ends with an example, printed as it stands."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the example after everything else."""
        write_example(self.example, formatter)


class Branching(Command):
    """A command that is a group too: a first word that names a branch is that branch's command, anything else its own."""

    def __init__(self, *args: Any, branches: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.branches = branches

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any):
        """The branch's context where one is named."""
        if args and args[0] in self.branches:
            return self.branch(args[0]).make_context(f"{info_name} {args[0]}", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)

    def branch(self, name: str) -> click.Command:
        """Imports and returns a branch's command."""
        entry = self.branches[name]
        return getattr(importlib.import_module(entry.module), entry.attribute)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The branches, then the example."""
        with formatter.section("Commands"):
            formatter.write_dl([(f"{self.name} {name}", entry.help) for name, entry in self.branches.items()])
        super().format_epilog(ctx, formatter)


class Group(click.Group):
    """A Click group with an example at the end of its help."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the example after everything else."""
        write_example(self.example, formatter)


class LazyGroup(Group):
    """A group whose commands are imported when they are used; its own help imports none of them."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Imports and returns a command; None where there is no such name."""
        entry = self.entries.get(name)
        return getattr(importlib.import_module(entry.module), entry.attribute) if entry else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Adds the nearest name to Click's message for an unknown command."""
        from difflib import get_close_matches

        if args and not args[0].startswith("-") and args[0] not in self.entries:
            close = get_close_matches(args[0], self.entries, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {close[0]}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands under their headings, from the table alone."""
        for heading in dict.fromkeys(entry.heading for entry in self.entries.values()):
            rows = [(name, entry.help) for name, entry in self.entries.items() if entry.heading == heading]
            with formatter.section(heading):
                formatter.write_dl(rows)


def write_example(example: str, formatter: click.HelpFormatter) -> None:
    """The example block, line by line, never rewrapped."""
    if not example:
        return
    with formatter.section("Example"):
        for line in example.strip("\n").splitlines():
            formatter.write(f"{' ' * formatter.current_indent}{line}\n")


def command(name: str, *, example: str) -> Callable[[Callable], Command]:
    """Makes a command; every one has an example."""
    return click.command(name, cls=Command, example=example, context_settings=SETTINGS)


def group(name: str, *, example: str) -> Callable[[Callable], Group]:
    """Makes a group of commands; every one has an example."""
    return click.group(name, cls=Group, example=example, context_settings=SETTINGS)


# 100 columns: the help is compared with the README, so it must not follow the terminal's width.
SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "terminal_width": 100,
    "show_default": False,
}


def only_one(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> str | None:
    """Callback of a `multiple` option that takes one value: Click would silently take the last of several."""
    if len(values) > 1:
        raise click.BadOptionUsage(option.name or "", f"{option.opts[0]} is given {len(values)} times.", context)
    if values and not values[0].strip():  # most often a variable of a script that is not set; as a path it is this folder
        raise click.BadOptionUsage(option.name or "", f"{option.opts[0]} is empty.", context)
    return values[0] if values else None


def output_options(function: Callable) -> Callable:
    """`--json` (given to the function as `as_json`) and `--debug`, which every command has."""
    debug = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on standard output.")
    return as_json(debug(function))


def make_ui(as_json: bool):
    """The Ui of this process: only the first of several processes speaks."""
    from alignment.cli.boundary import is_first_process
    from alignment.cli.progress import Ui

    return Ui(json=as_json, quiet=not is_first_process())
