"""The quickstart: the whole chain on the offline toy world, by the public commands, each shown before it runs.

Nothing here has a way of its own: every line that is printed can be typed, and gives the same runs. The judge of the toy
world only measures; no stage trains on it.
"""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from data_recipes import toy
from data_recipes.errors import Failed, Interrupted
from data_recipes.files import write_json

from alignment.evaluate.show import percent

JUDGE, RIGHT = "data_recipes.toy.judge:judge", "data_recipes.toy.judge:right"
DISTANCE_ROWS = 300  # requests on which distance and reward are measured beside each other
TOKENS = 48  # the longest answer of the toy world has fewer


@dataclass(frozen=True)
class Check:
    """A figure of the chain, what is promised of it, and whether that was kept."""

    name: str
    found: str
    promised: str
    kept: bool

    def row(self) -> tuple[str, str, str, str]:
        return self.name, self.found, self.promised, "yes" if self.kept else "NO"


def quickstart(output: Path, *, seed: int, ui) -> dict:
    """Runs data, sft, reward, dpo, ppo, eval and report for one seed; returns the table's figures.

    Raises:
        Failed: a command of the chain failed. Interrupted: a signal came; the same command continues the chain.
    """
    toy.check_base()
    began = time.monotonic()
    for line in commands(output, seed):
        ui.say(f"$ {' '.join(map(shlex.quote, line))}")
        _do(line)
    results = {name: read_result(output / name) for name in ("eval-policies", "eval-reward", "eval-distance")}
    found = checks(results["eval-policies"], results["eval-reward"], kept_by_ppo(output / "runs" / "ppo"))
    seconds = time.monotonic() - began
    page = write_report(output, list(results.values()), found)
    ui.table(
        f"quickstart, seed {seed}, {seconds:.0f} s",
        [check.row() for check in found],
        header=("", "found", "promised", "kept"),
    )
    ui.say(f"report: {page}")
    summary = {
        "seed": seed,
        "seconds": round(seconds, 1),
        "report": str(page),
        "checks": [{**vars(check)} for check in found],
        "kept": all(check.kept for check in found),
    }
    write_json(output / "quickstart.json", summary)
    return summary


def commands(output: Path, seed: int) -> list[list[str]]:
    """The lines of the chain, as they could be typed."""
    data, runs = output / "data", output / "runs"
    sft, reward, dpo, ppo = (runs / name for name in ("sft", "reward", "dpo", "ppo"))

    def train(stage: str, model: Path, rows: str, run: Path, *more: str) -> list[str]:
        line = ["align", stage, "--config", f"configs/{stage}/quickstart.yaml", "--model", str(model)]
        return [*line, "--data", str(data / rows), "--output", str(run), "--seed", str(seed), *more]

    def measure(models: list[Path], rows: str, name: str, batch: int, *more: str) -> list[str]:
        line = ["align", "eval", *map(str, models), *more, "--data", str(data / rows)]
        return [*line, "--batch-size", str(batch), "--output", str(output / name)]

    answers, judged, held = ["--max-new-tokens", str(TOKENS)], ["--reward", JUDGE], "requests_heldout.jsonl"
    distance = ["--limit", str(DISTANCE_ROWS), "--kl-from", str(sft), "--reward", str(reward)]
    return [
        ["python", "-m", "data_recipes.toy", "--output", str(data), "--seed", str(seed)],
        train("sft", toy_base(), "demonstrations.jsonl", sft),
        train("reward", sft, "pairs.jsonl", reward),
        train("dpo", sft, "pairs.jsonl", dpo),
        train("ppo", sft, "requests.jsonl", ppo, "--reward", str(reward)),
        measure([sft, dpo, ppo], held, "eval-policies", 100, "--base", "--reward", RIGHT, *judged, *answers),
        measure([sft, dpo, ppo], held, "eval-distance", 100, *distance, *judged, *answers),
        measure([reward], "pairs_heldout.jsonl", "eval-reward", 64),
    ]


def toy_base() -> Path:
    """The shipped base, by a short path where it lies below this folder."""
    here = os.path.relpath(toy.BASE)
    return Path(here) if not here.startswith("..") else toy.BASE


def _do(line: list[str]) -> None:
    """Runs one line in this process: the same program, without starting Python anew."""
    if line[:3] == ["python", "-m", "data_recipes.toy"]:
        from data_recipes.toy.__main__ import main

        main(line[3:])
        return
    from alignment.cli import run

    code = run(line[1:])
    if code > 128:
        raise Interrupted(code - 128, do="The same command continues the chain.")
    if code:
        raise Failed(f"the command ended with {code}", where=" ".join(line[:2]), do="Its own words stand above.")


def read_result(folder: Path) -> dict:
    """What `align eval --output` wrote, with some of its samples."""
    from alignment.evaluate.report import read_result as read

    return read(folder / "result.json")


def kept_by_ppo(run: Path) -> dict:
    """The figures of the weights that PPO kept, and its budget."""
    from alignment.runs import Run

    return Run.open(run).manifest["kept"]


def checks(policies: dict, rewards: dict, kept: dict) -> list[Check]:
    """What the quickstart promises, beside what was found."""
    arms = {arm["name"]: arm["answers"]["rewards"] for arm in policies["arms"]}
    tuned = {end: next(arms[name] for name in arms if name.endswith(end)) for end in ("sft", "dpo", "ppo")}
    base = next(value for name, value in arms.items() if not name.endswith(tuple(tuned)))
    card = rewards["arms"][0]
    return [
        _share("right answers: base", base[RIGHT]["mean"], most=0.10),
        _share("right answers: SFT", tuned["sft"][RIGHT]["mean"], least=0.85),
        _share("reward model right on clean pairs", card["accuracy"], least=0.90),
        _share("'the longer wins' on the same pairs", card["longer_wins"], most=0.60),
        *_over_sft("DPO", tuned["dpo"]),
        *_over_sft("PPO", tuned["ppo"]),
        Check(
            "PPO's KL from SFT", f"{kept['figures']['kl_k1']:.1f} nats an answer", f"at most {kept['budget']:g}",
            kept["figures"]["kl_k1"] <= kept["budget"],
        ),
    ]


def _over_sft(name: str, arm: dict) -> list[Check]:
    """What is promised of a policy that was tuned on the SFT run."""
    wins, difference = arm[JUDGE]["win_rate"], arm[RIGHT]["difference"]
    return [
        _share(f"right answers: {name}", arm[RIGHT]["mean"]),
        Check(f"right answers: {name} less SFT", _points(difference), "interval above -3 points", difference["low"] > -0.03),
        Check(
            f"{name} wins over SFT by the judge",
            percent(wins),
            "at least 70 %, interval above 50 %",
            wins["value"] >= 0.70 and wins["low"] > 0.5,
        ),
    ]


def _share(name: str, value: dict, *, least: float = 0.0, most: float = 1.0) -> Check:
    promised = f"at least {least:.0%}" if least else f"at most {most:.0%}" if most < 1 else ""
    return Check(name, percent(value), promised.replace("%", " %"), least <= value["value"] <= most)


def _points(value: dict) -> str:
    return f"{100 * value['value']:+.1f} points [{100 * value['low']:+.1f}, {100 * value['high']:+.1f}]"


def write_report(output: Path, results: list[dict], found: list[Check]) -> Path:
    """The chain's page with the table, the picture and the curves."""
    from alignment.evaluate.report import chain_report

    runs = [output / "runs" / name for name in ("sft", "reward", "dpo", "ppo")]
    return Path(chain_report(runs, results, output, checks=[check.row() for check in found])["page"])
