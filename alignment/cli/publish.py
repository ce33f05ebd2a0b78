"""`align merge` and `align export`: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options


@command(
    "merge",
    example="""
align merge runs/dpo --output merged
align merge runs/dpo --output merged-bf16 --dtype bfloat16
""",
)
@click.argument("model", metavar="RUN")
@click.option("--output", metavar="DIR", required=True, help="New model folder.")
@click.option("--dtype", default="auto", metavar="NAME", help="float32, bfloat16 or float16. [auto: the base's own]")
@click.option("--base-at", "base", metavar="DIR|HUB", help="Where the base lies now, if it has moved.")
@click.option(
    "--device", default="auto", metavar="NAME", help="cpu, cuda, mps; by default the accelerator if there is one."
)
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with a hub model.")
@click.option("--dry-run", is_flag=True, help="Check run, base and output; write nothing.")
@output_options
def merge_command(model: str, as_json: bool, **options: Any) -> dict[str, Any]:
    """Fold a run's adapter into its base.

    Writes a plain transformers folder; a reward run keeps its head. Outputs are compared before and after folding and
    once more as read back from disk; the command fails where they differ by more than rounding.
    """
    from alignment.merge import MergeRequest, merge

    how = {"device": options["device"], "trust_remote_code": options["trust_remote_code"]}
    request = MergeRequest(model, Path(options["output"]).expanduser(), options["dtype"], options["base"], how)
    result = merge(request, make_ui(as_json), dry_run=options["dry_run"])
    if not as_json:
        click.echo(result["output"])
    return result


@command(
    "export",
    example="""
align export runs/dpo --to folder --output public --base-id Qwen/Qwen3-0.6B
align export runs/dpo --to hub --repo ana/support-dpo --private
""",
)
@click.argument("model", metavar="RUN")
@click.option("--to", required=True, type=click.Choice(["folder", "hub"]), help="Where to.")
@click.option("--output", metavar="DIR", help="New folder, with --to folder.")
@click.option("--repo", metavar="OWNER/NAME", help="Repository, with --to hub.")
@click.option("--private", is_flag=True, help="Make the repository a private one.")
@click.option("--base-id", metavar="OWNER/NAME", help="What a local base is called on the hub.")
@click.option("--with-metrics", is_flag=True, help="Publish the training curves and final figures too.")
@click.option("--dry-run", is_flag=True, help="List what would be published; write nothing.")
@output_options
def export_command(model: str, as_json: bool, **options: Any) -> dict[str, Any]:
    """Copy only what may be published: weights, tokenizer, template, card, a manifest without paths.

    Rows, samples, checkpoints and (unless asked) metrics stay. Refused where a secret or a path of this machine would
    be published.
    """
    from alignment.publishing.publish import ExportRequest, export

    output = Path(options["output"]).expanduser() if options["output"] else None
    request = ExportRequest(
        model, options["to"], output, options["repo"], options["private"], options["base_id"], options["with_metrics"]
    )
    result = export(request, make_ui(as_json), dry_run=options["dry_run"])
    if not as_json:
        click.echo(result.get("output") or result.get("address") or "nothing was written")
    return result
