"""`align collect score`: what rewards think of items, so that people are asked where it matters. Needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options
from alignment.cli.generate import loading_options


@command(
    "score",
    example="""
align collect score candidates.jsonl --reward runs/reward-a --reward runs/reward-b --output scored.jsonl
align collect init votes.db --items scored.jsonl --annotators ana,ben --choose disagreement
""",
)
@click.argument("items", type=click.Path())
@click.option("--reward", "rewards", multiple=True, required=True, metavar="RUN|MODULE:FUNCTION",
              help="What scores; two or more reward runs of different seeds tell where they disagree.")
@click.option("--output", required=True, type=click.Path(), metavar="FILE", help="The same items with scores.")
@click.option("--batch-size", type=int, default=32, metavar="N", help="Answers a forward pass. [32]")
@loading_options
@output_options
def score_command(items: str, rewards: tuple[str, ...], output: str, batch_size: int, as_json: bool,
                  **how: Any) -> dict[str, Any]:
    """Score the answers of a file of items by one or several rewards.

    `init` and `add` then choose what to ask by disagreement of the rewards, by the gap between the two answers, or a mix.
    """
    from alignment.item_scores import score_items

    ui = make_ui(as_json)
    found = score_items(Path(items), rewards, Path(output), how=how, batch_size=batch_size, ui=ui)
    ui.say(f"{found['rows']} rows in {output}; on average the answers lie {found['mean_gap']:.3f} apart, and the rewards"
           f" differ by {found['mean_disagreement']:.3f} on that")
    return found
