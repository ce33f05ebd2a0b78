"""`align ppo` beside TRL's GRPOTrainer on the same base, prompts and budget of answers; and its memory beside `align sft`.

    python benchmarks/ppo.py speed  --size M50              seconds of rollout and update, and peak memory against `align sft`
    python benchmarks/ppo.py reward --chain build/quickstart-0 build/quickstart-1   reward and KL reached

Each arm is a process of its own; ratios are of arms of one call, since machines are shared and noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean, stdev

from compare import environment
from measure import Watch, measure

HERE = Path(__file__).resolve().parent
RULE = "reward.rules:length_band(low=5, high=60)"
ROLLOUT, BATCH, EPOCHS, GROUP, NEW, STEPS = 32, 8, 2, 4, 48, 16


def align(*words: str) -> list[str]:
    return [sys.executable, "-m", "alignment", *words]


def sets(**settings) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]


def prompts_of(work: Path) -> Path:
    """The prompts of the SFT rows."""
    target = work / "data" / "prompts.jsonl"
    rows = [json.loads(line) for line in (work / "data" / "train.jsonl").open(encoding="utf-8")]
    target.write_text("".join(json.dumps({"prompt": row["messages"][:-1]}) + "\n" for row in rows), encoding="utf-8")
    return target


def ours(run: Path) -> dict[str, float]:
    """Seconds and answers' tokens from metrics.jsonl; the first step, which is start-up, is left out of the updates."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").open(encoding="utf-8")]
    steps = [row for row in rows if "seconds/update" in row]
    rollouts = [row for row in rows if "length/mean" in row]
    answers = json.loads((run / "align.json").read_text(encoding="utf-8"))["config"]["ppo"]["rollout_size"]
    return {
        "rollout": sum(row["seconds/rollout"] for row in steps),
        "scoring": sum(row["seconds/scoring"] for row in steps),
        "update": sum(row["seconds/update"] for row in steps[1:]) / (len(steps) - 1),
        "generated": sum(row["length/mean"] for row in rollouts) * answers,
    }


def grpo(given, **settings) -> dict:
    """Runs the script by hand and returns what it printed."""
    settings = {"threads": given.threads, "seed": 0, "group": GROUP, "batch": BATCH, "epochs": EPOCHS, **settings}
    file = Path(settings["output"]).with_suffix(".json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings), encoding="utf-8")
    done = subprocess.run([sys.executable, str(HERE / "plain_grpo.py"), str(file)], capture_output=True, text=True, check=False,
                          env={**os.environ, **environment(given, file.parent)})
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


def made_work(given) -> Path:
    """Base, rows and prompts, made once."""
    work = given.folder / f"ppo-{given.size}"
    if not (work / "work.json").is_file():
        line = [sys.executable, str(HERE / "work.py"), "--stage", "sft", "--size", given.size, "--steps", "20", "--batch", "8"]
        subprocess.run([*line, "--folder", str(work)], check=True, env={**os.environ, **environment(given, work)})
    return work


def speed(given) -> None:
    """Seconds of rollout and update by arm; peak memory of `align ppo` and `align sft` on the same base and batch."""
    work = made_work(given)
    prompts, base = prompts_of(work), str(work / "base")
    peaks, figures = {}, {}
    rollouts = sets(ppo__rollout_size=ROLLOUT, ppo__update_epochs=EPOCHS, ppo__max_new_tokens=NEW, ppo__normalise="running",
                    ppo__eval_rows=8, ppo__value_clip="null")
    for name, more in {"adapter": [], "head": sets(ppo__critic="head", ppo__value_coefficient=0.1)}.items():
        output = work / f"ppo-{name}"
        words = ["--data", str(prompts), "--reward", RULE, *rollouts, *more]
        peaks[f"ppo, {name}"] = run(given, work, "ppo", base, output, words)
        figures[name] = ours(output)
    peaks["sft"] = run(given, work, "sft", base, work / "sft", ["--data", str(work / "data" / "train.jsonl")])
    theirs = grpo(given, base=base, tokenizer=base, prompts=str(prompts), reward=RULE, output=str(work / "grpo"),
                  rollout=ROLLOUT, new_tokens=NEW, steps=STEPS, rate=1e-5, beta=0.05, stops=[1])
    print_speed(figures, theirs, peaks)


def run(given, work: Path, stage: str, base: str, output: Path, words: list[str]) -> int:
    """Runs a stage of ours; returns its peak memory in bytes."""
    common = ["--batch-size", str(BATCH), "--max-steps", str(STEPS), "--seed", "0", "--restart", *sets(
        hardware__threads=given.threads, hardware__micro_batch=BATCH, hardware__precision="float32",
        hardware__checkpointing="off", training__save_every=10**6)]
    line = align(stage, "--model", base, "--output", str(output), *words, *common)
    seen = measure(line, Watch(output / "metrics.jsonl"), steps=STEPS, environment=environment(given, work),
                   log=output.with_suffix(".log"))
    if seen.code:
        sys.exit(output.with_suffix(".log").read_text()[-2000:])
    return seen.peak_tree


def print_speed(figures: dict, theirs: dict, peaks: dict) -> None:
    """Absolute figures and ratios."""
    update = theirs["update"] / theirs["steps"]
    print(f"{'':12} update, s   ratio   generated tokens/s (rollout and scoring)")
    for name, found in figures.items():
        rate = found["generated"] / (found["rollout"] + found["scoring"])
        print(f"ppo {name:8} {found['update']:9.3f} {found['update'] / update:7.2f} {rate:10.1f}")
    print(f"{'GRPO':12} {update:9.3f} {1:7.2f} {theirs['generated'] / theirs['prepare']:10.1f}")
    for name, peak in peaks.items():
        print(f"peak memory, {name}: {peak / 2**30:.2f} GiB, {peak / peaks['sft']:.2f} of sft")


def reward(given) -> None:
    """Reward and KL that PPO and GRPO reach from a quickstart's SFT run, by its reward run, with the same number of answers.

    One chain a seed: each has an SFT run, a reward run and a PPO run of its own.
    """
    seen = [reached(given, Path(chain).resolve()) for chain in given.chain]
    print(f"means over {len(seen)} chains, in brackets the deviation between them")
    print(f"{'arm':12}" + "".join(f"{name:>18}" for name in seen[0]["sft"]))
    for arm in seen[0]:
        columns = [[chain[arm][name] for chain in seen] for name in seen[0][arm]]
        cells = [f"{mean(values):.2f} ({stdev(values) if len(values) > 1 else 0.0:.2f})" for values in columns]
        print(f"{arm:12}" + "".join(f"{cell:>18}" for cell in cells))


def reached(given, chain: Path) -> dict[str, dict[str, float]]:
    """KL, reward model and judge by arm, on a chain's held-out requests. A GRPO run that is there already is taken."""
    runs, work = chain / "runs", given.folder.resolve() / "ppo-reward" / chain.name
    manifest = json.loads((runs / "sft" / "align.json").read_text(encoding="utf-8"))
    base = (runs / "sft" / manifest["base"]["path"]).resolve()
    answers, batch, epochs = 2048, 64, 2
    arms = [f"sft={runs / 'sft'}", f"ppo={runs / 'ppo'}"]
    for beta in given.betas:
        output = work / f"grpo-{beta}"
        if not (output / "adapter_model.safetensors").is_file():
            grpo(given, base=str(base), adapter=str(runs / "sft"), tokenizer=str(runs / "sft"), output=str(output),
                 prompts=str(chain / "data" / "requests.jsonl"), reward=str(runs / "reward"), rollout=256, batch=batch,
                 epochs=epochs, group=8, new_tokens=48, steps=answers * epochs // batch, rate=1e-3, beta=beta,
                 stops=manifest["template"]["stop_ids"], seed=manifest["seeds"]["training"])
        arms.append(f"grpo-{beta}={output}")
    judges = {"reward model": str(runs / "reward"), "judge": "data_recipes.toy.judge:judge"}
    line = align("eval", *arms, "--kl-from", str(runs / "sft"), "--limit", str(given.limit), "--data",
                 str(chain / "data" / "requests_heldout.jsonl"), "--max-new-tokens", "48", "--batch-size", "100", "--json",
                 *(word for judge in judges.values() for word in ("--reward", judge)))
    done = subprocess.run(line, check=True, env={**os.environ, **environment(given, work)}, stdout=subprocess.PIPE, text=True)
    planes = {arm["name"]: arm["plane"] for arm in json.loads(done.stdout)["arms"]}
    made = {}
    for name, plane in planes.items():
        judged = {what: plane["rewards"][judge]["value"] for what, judge in judges.items()}
        made[name] = {"KL, nats": plane["kl"]["value"], **judged}
    print(chain.name, json.dumps(made), flush=True)
    return made


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "reward"))
    parser.add_argument("--size", default="M50")
    parser.add_argument("--chain", nargs="+", default=["build/quickstart-0"])
    parser.add_argument("--limit", type=int, default=300, help="held-out requests answered by each arm")
    parser.add_argument("--betas", type=float, nargs="+", default=[0.05])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks"))
    given = parser.parse_args()
    {"speed": speed, "reward": reward}[given.what](given)


if __name__ == "__main__":
    main()
