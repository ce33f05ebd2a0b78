"""`align collect judge`: a model as one more annotator."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from alignment.cli.commands import command, make_ui, output_options
from alignment.cli.generate import loading_options

LONGEST = 40  # characters of a pseudonym


@command(
    "judge",
    example="""
align collect judge votes.db --judge runs/dpo --name dpo-judge
align collect judge votes.db --judge "http://127.0.0.1:8000/v1#Qwen/Qwen3-8B"
align collect stats votes.db
""",
)
@click.argument("file", type=click.Path())
@click.option("--judge", required=True, metavar="RUN|DIR|URL|replay:FILE", help="A URL is http(s)://HOST/v1#MODEL.")
@click.option("--name", metavar="NAME", help="What votes and statistics call it; by default after the model.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Items at most.")
@click.option("--key-env", default="", metavar="NAME", help="Environment variable with the endpoint's key.")
@loading_options
@output_options
def judge_command(file: str, judge: str, name: str | None, limit: int | None, key_env: str, as_json: bool,
                  **how: Any) -> dict[str, Any]:
    """Let a model judge all items, by the collection's guidelines.

    Both orders are asked. Where they agree it votes; where the order decides, or no verdict can be read, it skips with
    that reason. Its votes take nobody's place, and `stats` shows its kappa with the people. What it said is in
    FILE.NAME.requests.jsonl; the same command again goes on and asks nothing twice.
    """
    from alignment.generation.generators import open_generator
    from data_recipes.augment.endpoint import Settings
    from data_recipes.collect.store import Store

    generator, name = open_generator(judge, how=how, endpoint=Settings(key_env=key_env)), name or default_name(judge)
    ui = make_ui(as_json)
    with Store.open(file) as store:
        result = _judge(store, generator, name, Path(f"{file}.{name}.requests.jsonl"), limit, ui)
    if not as_json:
        counts = ", ".join(f"{count} {what}" for what, count in result["items"].items())
        click.echo(f"{name}: {counts or 'nothing to judge'}")
    return result


def _judge(store: Any, generator: Any, name: str, log: Path, limit: int | None, ui: Any) -> dict[str, Any]:
    from data_recipes.augment.asking import Asker
    from data_recipes.augment.request_log import RequestLog
    from data_recipes.collect.judging import judge_items, judge_of
    from reward.judge import Judge, summary

    who, asker, verdicts = judge_of(store, name), Asker(generator, RequestLog(log)), []
    judge = Judge(asker, guidelines=store.guidelines().text)

    def remembered(cases) -> list:
        verdicts.extend(judge(cases))
        return verdicts[-len(cases):]

    counts = judge_items(store, who, remembered, most=limit,
                         progress=lambda done: ui.say(f"{done} items judged") if done % 25 == 0 else None)
    if refused := [verdict.detail for verdict in verdicts if verdict.detail]:
        ui.warn(f"the judge did not take {len(refused)} of the questions: {refused[0]}")
    return {"judge": name, "generator": generator.identity, "guidelines": store.guidelines().version, "items": counts,
            "questions": asker.account(), "about": summary(verdicts)}


def default_name(judge: str) -> str:
    """The last part of a model's name, as a pseudonym may be written."""
    last = re.split(r"[/#]", judge.rstrip("/"))[-1]
    return (re.sub(r"[^\w.@-]", "-", last).strip("-.@ ") or "judge")[:LONGEST]
