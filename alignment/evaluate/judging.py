"""Judges in `align eval`: answers of each arm against the first one's, asked in both orders. Light until a model is needed.

Answers to one prompt are paired by their number (seed and sample), so that a judge is asked twice a pair and never for
all combinations. Equal answers are a tie, and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alignment.evaluate.arms import Arm
from alignment.evaluate.compare import Answers, longer_by_prompt, pooled
from alignment.evaluate.policies import as_messages
from alignment.generation.generators import open_generator
from alignment.sources import Source
from data_recipes.augment.asking import Asker
from data_recipes.augment.endpoint import Settings
from data_recipes.augment.request_log import RequestLog
from reward.judge import Judge, Verdict, summary

WON = {"first": 1.0, "tie": 0.5, "second": 0.0}
SHAKY = 0.8  # share of verdicts that survive the swap, below which a judge is warned of
LOG = "judge-{number}.requests.jsonl"


@dataclass(frozen=True)
class Bench:
    """One judge: its name, its generator and where its log lies (None: nowhere)."""

    name: str
    generator: Any
    log: Path | None


def benches(names: Sequence[str], *, how: dict, batch_size: int, endpoint: Settings, output: Path | None) -> list[Bench]:
    """The judges by their names; their weights are loaded when they are asked."""
    return [
        Bench(name, open_generator(name, how=how, batch_size=batch_size, endpoint=endpoint),
              output / LOG.format(number=number) if output else None)
        for number, name in enumerate(names, 1)
    ]


def judge_arms(bench: Bench, compared: list[Arm], made: dict, prompts: list, seed: int) -> dict[str, list[list[Verdict]]]:
    """Verdicts by arm (all but the first), prompt and pair; equal answers count as a tie that was not asked for."""
    asker = Asker(bench.generator, RequestLog(bench.log))
    judge = Judge(asker, seed=seed)
    found = {}
    for arm in compared[1:]:
        pairs = [list(zip(_texts(made[arm.name], p), _texts(made[compared[0].name], p), strict=False))
                 for p in range(len(prompts))]
        cases = [(as_messages(prompts[p].messages), ours, theirs)
                 for p, texts in enumerate(pairs) for ours, theirs in texts if ours != theirs]
        verdicts = iter(judge(cases))
        found[arm.name] = [[next(verdicts) if ours != theirs else Verdict("tie", "same", None, None) for ours, theirs in texts]
                           for texts in pairs]
    if hasattr(bench.generator, "close"):
        bench.generator.close()
    return found


def _texts(members: list[list[list[Any]]], prompt: int) -> list[str]:
    return [done.text for member in members for done in member[prompt]]


def against(verdicts: list[list[Verdict]], ours: Answers, theirs: Answers, *, seed: int) -> dict:
    """An arm's comparison by one judge: win rate over prompts with a verdict, the same at equal length, what was left out."""
    from reward.metrics import WinRate

    flat = [verdict for row in verdicts for verdict in row]
    wins_P = np.array([_rate(row) for row in verdicts])
    said = ~np.isnan(wins_P)
    prompts_P = np.arange(len(wins_P)) if ours.prompts is None else ours.prompts
    found: dict[str, Any] = {
        "pairs": len(flat), "prompts": len(np.unique(prompts_P[said])), "same": sum(verdict.why == "same" for verdict in flat),
        "ties": sum(verdict.winner == "tie" for verdict in flat) / len(flat),
        "abstained": sum(verdict.winner is None for verdict in flat) / len(flat),
        "win_rate": None, "length_controlled": None, "length_controlled_extrapolates": False,
    }
    if said.any():
        numbers = np.unique(prompts_P[said], return_inverse=True)[1]
        wins, longer = (pooled(values[said], numbers) for values in (wins_P, longer_by_prompt(ours, theirs)))
        found |= WinRate().compute(predictions=wins, references=longer, seed=seed)
    return found


def _rate(row: list[Verdict]) -> float:
    """Share that the arm won of a prompt's pairs with a verdict; NaN where the judge abstained on all."""
    won = [WON[verdict.winner] for verdict in row if verdict.winner]
    return sum(won) / len(won) if won else float("nan")


def add_judges(result: dict, benched: list[Bench], compared: list[Arm], made: dict, prompts: list,
               answers: dict[str, Answers], seed: int, ui: Any) -> list[str]:
    """Adds `judges` to the result and to each arm's answers; returns warnings."""
    warnings: list[str] = []
    result["judges"] = []
    for entry in result["arms"]:
        entry["answers"]["judges"] = {}
    for bench in benched:
        ui.say(f"judging with {bench.name}, both orders")
        verdicts = judge_arms(bench, compared, made, prompts, seed)
        for entry in result["arms"][1:]:
            entry["answers"]["judges"][bench.name] = against(
                verdicts[entry["name"]], answers[entry["name"]], answers[compared[0].name], seed=seed)
        asked = [one for rows in verdicts.values() for row in rows for one in row if one.why != "same"]
        about = {"name": bench.name, "kind": bench.generator.identity["kind"], **summary(asked)}
        about["is_arm"] = [arm.name for arm in compared if any(is_it(bench.generator, member) for member in arm.members)]
        result["judges"].append(about)
        warnings += judge_warnings(about)
    return warnings


def is_it(generator: Any, member: Source) -> bool:
    """Whether a judge is one of the models that it judges."""
    source = getattr(generator, "source", None)
    return source is not None and (source.path, source.hub_id) == (member.path, member.hub_id)


def judge_warnings(about: dict) -> list[str]:
    """Judges that do not see what they judge, and judges of themselves."""
    said, name = [], about["name"]
    if about["cases"] and not about["decided"] + about["ties"]:
        why = ", ".join(f"{count} {reason}" for reason, count in about["abstained"].items() if count)
        said.append(f"{name} came to no verdict on any of {about['cases']} pairs ({why}); with --output DIR its words are in "
                    f"DIR/{LOG.format(number='N')}")
    elif about["consistent"] and about["consistent"]["value"] < SHAKY:
        said.append(f"{name} keeps its verdict on {about['consistent']['value']:.0%} of the pairs when the answers change "
                    "places: its win rate stands on those alone")
    if about["is_arm"]:
        said.append(f"{name} judges its own answers ({', '.join(about['is_arm'])}), and judges prefer those "
                    "(arXiv 2306.05685, section 3.3)")
    return said
