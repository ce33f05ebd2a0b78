"""How a reward model's accuracy grows with votes: what to ask next at random, and chosen by an ensemble of reward models.

    python benchmarks/active_choice.py --seeds 5 --output build/benchmarks/active_choice

The toy world's people, who err with a known probability, vote on pairs of answers; after each round a reward model is
trained on all votes so far, and measured on held-out pairs without errors. Every step is an `align` command that a user
would type; the people answer through the store, as the page does. The first round is random and shared by all arms.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from alignment.cli import run  # noqa: E402  (the repository is importable only now)
from data_recipes.files import write_bytes, write_json, write_jsonl  # noqa: E402
from data_recipes.toy import BASE, people, world, write  # noqa: E402

ARMS = ("random", "disagreement", "gap", "mix")
WRONG = 0.03  # answers with a wrong code or amount, which a model of a million parameters hardly sees
LEVEL = 0.95


@dataclass(frozen=True)
class Setting:
    """One benchmark: rounds of `votes` votes each, drawn from `pool` pairs each, with people who err in `error` of them."""

    model: str
    rounds: int
    votes: int
    pool: int
    held_out: int
    error: float
    steps: int
    arms: tuple[str, ...]


# ----------------------------------------------------------------------------------------------------------------- rows


def answer(rng: random.Random, request: world.Request) -> str:
    """An answer in any style, with a wrong fact now and then."""
    code = amount = None
    if rng.random() < WRONG:
        code, amount = rng.choice(((world.wrong_code(rng, request), None), (None, world.wrong_amount(rng, request))))
    style = rng.choice((write.careless_style, write.near_house_style))(rng)
    return world.dress(rng, world.core(rng, request, code, amount), style)


def items(seed: str, count: int, *, held_out: bool) -> list[dict]:
    """Requests with two answers each, as `align generate` writes them."""
    rng = random.Random(seed)
    rows = []
    for request in world.draw_requests(rng, count, held_out):
        first, second = answer(rng, request), answer(rng, request)
        if first != second:
            rows.append({"prompt": request.prompt, "responses": [first, second]})
    return rows


def pairs(rows: list[dict]) -> list[dict]:
    """The items on which the judge has a preference, without any error."""
    found = []
    for row in rows:
        better = sorted(row["responses"], key=lambda text: -people.judge(tuple(row["prompt"]), text))
        if people.judge(tuple(row["prompt"]), better[0]) > people.judge(tuple(row["prompt"]), better[1]):
            chosen, rejected = ([{"role": "assistant", "content": text}] for text in better)
            found.append({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected})
    return found


# ----------------------------------------------------------------------------------------------------------------- steps


def align(*words: object) -> None:
    """One `align` command. Raises SystemExit where it fails; its own words stand above."""
    if code := run([str(word) for word in words]):
        raise SystemExit(f"align {' '.join(map(str, words[:2]))} ended with {code}")


def ask(folder: Path, number: int, arm: str, rewards: list[Path], seed: int, given: Setting) -> None:
    """One round of votes: a fresh file of pairs, scored where the arm needs it; then the list is closed."""
    rows, votes, name = folder / f"items-{number}.jsonl", folder / "votes.db", f"round-{number}"
    write_jsonl(rows, items(f"{seed}:{number}", given.pool, held_out=False))
    if arm != "random":
        scored = folder / f"scored-{number}.jsonl"
        align("collect", "score", rows, *(word for reward in rewards for word in ("--reward", reward)), "--output", scored)
        rows = scored
    align("collect", "add", votes, rows, "--list", name, "--choose", arm, "--repeats", 0, "--seed", seed)
    people.main([str(votes), "--error", str(given.error), "--most", str(given.votes), "--seed", str(seed)])
    align("collect", "close", votes, "--list", name)


def begin(folder: Path, seed: int, given: Setting) -> None:
    """The first round, which all arms share."""
    folder.mkdir(parents=True)
    write_jsonl(folder / "items-0.jsonl", items(f"{seed}:0", given.pool, held_out=False))
    align("collect", "init", folder / "votes.db", "--items", folder / "items-0.jsonl", "--annotators", "ana", "--repeats", 0,
          "--no-acceptable", "--seed", seed)
    people.main([str(folder / "votes.db"), "--error", str(given.error), "--most", str(given.votes), "--seed", str(seed)])
    align("collect", "close", folder / "votes.db")


def train(folder: Path, number: int, members: int, seed: int, given: Setting) -> list[Path]:
    """Reward runs of different seeds on all votes so far."""
    rows = folder / f"pairs-{number}.jsonl"
    align("collect", "export", folder / "votes.db", "--to", "reward", "--output", rows)
    runs = [folder / f"reward-{number}-{member}" for member in range(members)]
    for member, output in enumerate(runs):
        align("reward", "--config", ROOT / "configs/reward/quickstart.yaml", "--model", given.model, "--data", rows,
              "--output", output, "--max-steps", given.steps, "--batch-size", 16, "--seed", 1000 * seed + member,
              "--set", "data.validation_share=0", "--set", "training.save_every=1000000")
    return runs


def measure(reward: Path, held_out: Path) -> float:
    """Held-out accuracy of one reward run."""
    align("eval", reward, "--data", held_out, "--batch-size", 64, "--output", reward.with_name(reward.name + "-eval"))
    result = json.loads((reward.with_name(reward.name + "-eval") / "result.json").read_text("utf-8"))
    return result["arms"][0]["accuracy"]["value"]


def one_seed(folder: Path, seed: int, given: Setting) -> list[dict]:
    """All arms of one seed: rows of {"seed", "arm", "votes", "pairs", "accuracy"}."""
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "held-out.jsonl", pairs(items(f"{seed}:held-out", given.held_out, held_out=True)))
    begin(folder / "begin", seed, given)
    first = train(folder / "begin", 0, 2, seed, given)
    found = [row_of(folder / "begin", 0, arm, seed, first, folder, given) for arm in given.arms]
    for arm in given.arms:
        here, rewards = folder / arm, first
        here.mkdir()
        align("collect", "backup", folder / "begin" / "votes.db", here / "votes.db")
        for number in range(1, given.rounds):
            ask(here, number, arm, rewards, seed, given)
            last = number == given.rounds - 1
            rewards = train(here, number, 1 if arm == "random" or last else 2, seed, given)
            found.append(row_of(here, number, arm, seed, rewards, folder, given))
    return found


def row_of(here: Path, number: int, arm: str, seed: int, rewards: list[Path], folder: Path, given: Setting) -> dict:
    """One point of a curve; always the first member's accuracy, so that no arm is helped by averaging."""
    known = rewards[0].with_name(rewards[0].name + "-eval") / "result.json"
    accuracy = (json.loads(known.read_text("utf-8"))["arms"][0]["accuracy"]["value"] if known.is_file()
                else measure(rewards[0], folder / "held-out.jsonl"))
    rows = sum(1 for _ in (here / f"pairs-{number}.jsonl").open(encoding="utf-8"))
    return {"seed": seed, "arm": arm, "votes": (number + 1) * given.votes, "pairs": rows, "accuracy": accuracy}


# --------------------------------------------------------------------------------------------------------------- summary


def interval(values: list[float]) -> dict | None:
    """Mean over seeds with Student's interval; without bounds for one seed."""
    import numpy as np
    from scipy import stats

    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return {"value": mean, "low": None, "high": None, "n": n}
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return {"value": mean, "low": mean - half, "high": mean + half, "n": n}


def summary(found: list[dict]) -> list[dict]:
    """For each arm and number of votes: accuracy, and the difference to random on the same seeds."""
    by = {(row["arm"], row["votes"], row["seed"]): row for row in found}
    lines = []
    for arm, votes in dict.fromkeys((row["arm"], row["votes"]) for row in found):
        seeds = sorted(seed for name, count, seed in by if (name, count) == (arm, votes))
        ours = [by[arm, votes, seed]["accuracy"] for seed in seeds]
        theirs = [by["random", votes, seed]["accuracy"] for seed in seeds]
        lines.append({"arm": arm, "votes": votes, "accuracy": interval(ours),
                      "pairs": sum(by[arm, votes, seed]["pairs"] for seed in seeds) / len(seeds),
                      "against_random": interval([one - other for one, other in zip(ours, theirs, strict=True)])})
    return lines


def table(lines: list[dict]) -> str:
    """The summary as a Markdown table."""

    def text(found: dict, sign: str = "") -> str:
        bounds = "" if found["low"] is None else f" [{100 * found['low']:{sign}.1f}, {100 * found['high']:{sign}.1f}]"
        return f"{100 * found['value']:{sign}.1f}{bounds}"

    rows = [f"| {line['votes']} | {line['arm']} | {line['pairs']:.0f} | {text(line['accuracy'])} | "
            f"{'-' if line['arm'] == 'random' else text(line['against_random'], '+')} |"
            for line in sorted(lines, key=lambda line: line["votes"])]
    return "\n".join(["| votes | asked | pairs | accuracy % | against random, points |", "|---:|---|---:|---|---|", *rows])


def draw(lines: list[dict], path: Path) -> None:
    """Accuracy by votes, one curve an arm."""
    from alignment.evaluate.figures import COLOURS, INK, png
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for number, arm in enumerate(dict.fromkeys(line["arm"] for line in lines)):
        own = [line for line in lines if line["arm"] == arm]
        values = [100 * line["accuracy"]["value"] for line in own]
        errors = [[abs(100 * (line["accuracy"][end] or line["accuracy"]["value"]) - value)
                   for line, value in zip(own, values, strict=True)] for end in ("low", "high")]
        axes.errorbar([line["votes"] * (1 + 0.012 * number) for line in own], values, yerr=errors, label=arm, marker="o",
                      markersize=4, capsize=3, color=COLOURS[number])
    axes.set_xlabel("votes")
    axes.set_ylabel("held-out accuracy, %")
    axes.set_title("Reward model against votes; bars: 95 % over seeds", fontsize=10, color=INK, loc="left")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    write_bytes(path, png(figure))


def main(arguments: list[str] | None = None) -> None:
    """Runs the seeds that are not there yet, then writes table, figure and all rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=4, help="the first is random for all arms (4)")
    parser.add_argument("--votes", type=int, default=30, help="of each round (30)")
    parser.add_argument("--pool", type=int, default=400, help="pairs to choose from in each round (400)")
    parser.add_argument("--held-out", type=int, default=500, help="requests behind the held-out pairs (500)")
    parser.add_argument("--error", type=float, default=0.1, help="how often people say the opposite (0.1)")
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps of each reward model, of 16 pairs (40)")
    parser.add_argument("--arms", nargs="+", default=["random", "disagreement", "gap"], choices=ARMS)
    parser.add_argument("--model", default=str(BASE), help="what the reward models start from (the toy world's base)")
    parser.add_argument("--output", type=Path, default=ROOT / "build/benchmarks/active_choice")
    given = vars(parser.parse_args(arguments))
    seeds, output, arms = given.pop("seeds"), given.pop("output"), tuple(given.pop("arms"))
    setting = Setting(arms=tuple(dict.fromkeys(("random", *arms))), **given)
    found = []
    for seed in range(seeds):
        done = output / f"seed-{seed}.json"
        if not done.is_file():
            work = output / f"seed-{seed}"
            shutil.rmtree(work, ignore_errors=True)
            write_json(done, {"setting": vars(setting), "rows": one_seed(work, seed, setting)})
            shutil.rmtree(work)
        kept = json.loads(done.read_text("utf-8"))
        if kept["setting"] != json.loads(json.dumps(vars(setting))):
            raise SystemExit(f"{done} was made with other settings; choose another --output")
        found += kept["rows"]
    lines = summary(found)
    write_json(output / "result.json", {"setting": vars(setting), "lines": lines, "rows": found})
    draw(lines, output / "active_choice.png")
    print(table(lines))


if __name__ == "__main__":
    main()
