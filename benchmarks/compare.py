"""`align` against a hand-tuned TRL script that does the same work; against `trl sft` for the time to the first step.

    python benchmarks/compare.py --stage sft --pairs 5
    python benchmarks/compare.py --stage all --pairs 5 --sizes M0 M1 --output build/benchmarks/results.json

First a gate: the first twenty losses of both arms agree to 1e-4, or nothing is timed. Then pairs of runs, A B B A ..., each
in a process of its own, both with the same environment. See README.md for what is the same and what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from measure import Measured, Watch, idle_share, measure, wait_until_idle

HERE = Path(__file__).resolve().parent
TOLERANCE, COMPARED = 1e-4, 20
CLI_STEPS = 2  # of `trl sft`: only its first step is looked at
PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")


class GateClosed(Exception):
    """The arms do not do the same work; timing them would say nothing."""


# ------------------------------------------------------------------------------------------------------------------- arms


def environment(given, work: Path) -> dict[str, str]:
    """What both arms run under."""
    return {
        "OMP_NUM_THREADS": str(given.threads), "OMP_WAIT_POLICY": "passive", "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HOME": str(work.parent / "hf"), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(HERE.parent),
        "CUDA_VISIBLE_DEVICES": "",
    }


def align_command(given, stage: str, work: Path, output: Path, *, grouped: bool) -> list[str]:
    """Ours, through the command line that a user types."""
    made = json.loads((work / "work.json").read_text(encoding="utf-8"))
    sets = {
        "data.validation_share": 0, "data.max_length": 1024, "adapter.dropout": 0, "adapter.alpha": 32,
        "training.group_by_length": str(grouped).lower(), "training.save_every": 10**6, "training.schedule": "cosine",
        "training.warmup": 0, "training.weight_decay": 0, "hardware.checkpointing": "off",
        "hardware.precision": "float32", "hardware.micro_batch": given.micro or made["batch"],
    }
    return [sys.executable, "-m", "alignment", stage, "--model", str(work / "base"),
            "--data", str(work / "data" / "train.jsonl"), "--output", str(output),
            "--lr", "2e-4", "--max-steps", str(made["steps"]), "--batch-size", str(made["batch"]),
            "--rank", "16", "--seed", str(made["seed"]), *(f"--set={key}={value}" for key, value in sets.items())]


def trl_command(given, stage: str, work: Path, output: Path, *, grouped: bool, losses: bool) -> list[str]:
    """The hand-written script."""
    command = [sys.executable, str(HERE / "plain_trl.py"), "--stage", stage, "--folder", str(work), "--output", str(output),
               "--order", "grouped" if grouped else "plain"]
    return command + (["--micro", str(given.micro)] if given.micro else []) + (["--losses"] if losses else [])


def trl_cli_command(given, work: Path, output: Path) -> list[str]:
    """`trl sft`, with the settings that a CPU needs: as shipped it stops there (bf16), and would recompute activations."""
    made = json.loads((work / "work.json").read_text(encoding="utf-8"))
    trl = Path(sys.executable).with_name("trl")
    return [str(trl), "sft", "--model_name_or_path", str(work / "base"), "--dataset_name", str(work / "data"),
            "--output_dir", str(output), "--use_cpu", "--bf16", "false", "--gradient_checkpointing", "false", "--use_peft",
            "--lora_r", "16", "--lora_target_modules", "all-linear", "--assistant_only_loss", "--max_steps", str(CLI_STEPS),
            "--per_device_train_batch_size", str(given.micro or made["batch"]), "--logging_steps", "1", "--report_to", "none",
            "--save_strategy", "no"]


# ------------------------------------------------------------------------------------------------------------------- runs


def prepare(given, stage: str, size: str) -> Path:
    """Base, rows and orders of one stage and size, made once."""
    work = given.build / f"{stage}-{size}-{given.steps}-{given.batch}"
    if not (work / "work.json").is_file():
        shutil.rmtree(work, ignore_errors=True)
        command = [sys.executable, str(HERE / "work.py"), "--stage", stage, "--size", size, "--steps", str(given.steps),
                   "--batch", str(given.batch), "--folder", str(work)]
        subprocess.run(command, check=True, env={**os.environ, **environment(given, work)})
    return work


def run_arm(given, arm: str, stage: str, work: Path, *, grouped: bool = True, losses: bool = False) -> tuple[Measured, Path]:
    """One run of one arm; returns what was measured and its folder."""
    output = work / f"run-{arm}"
    shutil.rmtree(output, ignore_errors=True)
    log, steps, watch = work / f"{arm}.log", given.steps, Watch(output / "metrics.jsonl")
    if arm == "align":
        command = align_command(given, stage, work, output, grouped=grouped)
    elif arm == "trl":
        command = trl_command(given, stage, work, output, grouped=grouped, losses=losses)
    else:
        command, watch, steps = trl_cli_command(given, work, output), Watch(log, b"'loss'"), CLI_STEPS
    seen = measure(command, watch, steps=steps, environment=environment(given, work), log=log)
    if seen.code or seen.first is None:
        raise SystemExit(f"{arm} {stage} ended with {seen.code}; its output is in {log}:\n" + log.read_text()[-2000:])
    return seen, output


def losses_of(output: Path) -> list[float]:
    """The loss of each step."""
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row["loss"] for row in rows if "loss" in row]


def gate(ours: list[float], theirs: list[float]) -> float:
    """The largest distance of the first losses. Raises GateClosed beyond the tolerance, or where a step is missing."""
    if len(ours) != len(theirs) or not ours:
        raise GateClosed(f"{len(ours)} losses against {len(theirs)}")
    distance = max(abs(a - b) for a, b in zip(ours[:COMPARED], theirs[:COMPARED], strict=True))
    if not distance <= TOLERANCE:  # written so that a NaN closes it too
        raise GateClosed(f"the losses differ by {distance:.2e}, more than {TOLERANCE:.0e}")
    return distance


def check_parity(given, stage: str, work: Path) -> float:
    """Runs both arms ungrouped, each step logged, and compares their losses."""
    ours, theirs = (losses_of(run_arm(given, arm, stage, work, grouped=False, losses=True)[1]) for arm in ("align", "trl"))
    return gate(ours, theirs)


def run_pairs(given, stage: str, work: Path, arms: tuple[str, str], pairs: int) -> dict[str, list[dict]]:
    """Pairs of runs, in turn A B and B A. A run that begins or goes on beside foreign load is marked `loaded`."""
    seen: dict[str, list[dict]] = {arm: [] for arm in arms}
    for index in range(pairs):
        for arm in arms if index % 2 == 0 else arms[::-1]:
            idle = wait_until_idle(given.idle, given.patience)
            measured, _ = run_arm(given, arm, stage, work)
            seen[arm].append({**asdict(measured), "idle_before": idle,
                              "loaded": idle < given.idle or measured.foreign > 1 - given.idle})
            say(f"  {arm:8} wall {measured.wall:6.1f} s  cpu {measured.cpu:6.1f} s  first step {measured.first:5.1f} s"
                + ("  LOADED" if seen[arm][-1]["loaded"] else ""))
    return seen


# ---------------------------------------------------------------------------------------------------------------- figures


def metrics_of(run: dict, loop_tokens: int) -> dict[str, float]:
    """The compared figures of one run."""
    figures = {"wall s": run["wall"], "cpu s": run["cpu"], "first step s": run["first"],
               "peak memory MB": run["peak_tree"] / 1e6}
    if run["last"] and run["last"] > run["first"]:
        figures = {"tokens/s": loop_tokens / (run["last"] - run["first"]), **figures}
    return figures


def ratios(seen: dict[str, list[dict]], loop_tokens: int) -> dict[str, dict[str, float]]:
    """Per metric: the median of each arm, and the median over pairs of ours / theirs."""
    (_, ours), (_, theirs) = seen.items()
    ours, theirs = ([metrics_of(run, loop_tokens) for run in arm] for arm in (ours, theirs))
    names = [name for name in ours[0] if all(name in run for run in ours + theirs)]
    return {name: {"ours": statistics.median(run[name] for run in ours),
                   "theirs": statistics.median(run[name] for run in theirs),
                   "ratio": statistics.median(a[name] / b[name] for a, b in zip(ours, theirs, strict=True))}
            for name in names}


def machine(given) -> dict:
    """Where and with what this was measured."""
    cpu = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
           if line.startswith(("model name", "cpu family"))][:2] if Path("/proc/cpuinfo").is_file() else []
    return {"system": platform.platform(terse=True), "cpu": " / ".join(cpu), "cores": os.cpu_count(), "threads": given.threads,
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "python": platform.python_version(), "versions": {name: version(name) for name in PACKAGES}}


def table(title: str, result: dict) -> str:
    """A Markdown table of one comparison."""
    first, second = result["arms"]
    lines = [f"### {title}", "", f"| | {first} | {second} | ratio |", "|---|---:|---:|---:|"]
    for name, row in result["medians"].items():
        lines.append(f"| {name} | {row['ours']:,.1f} | {row['theirs']:,.1f} | {row['ratio']:.2f} |")
    loaded = sum(run["loaded"] for arm in result["runs"].values() for run in arm)
    total = sum(map(len, result["runs"].values()))
    return "\n".join([*lines, "", f"losses agree to {result['parity']:.0e}; {loaded} of {total} runs beside foreign load"])


def compare(given, stage: str, size: str) -> dict[str, dict]:
    """Gate, pairs, and for supervised tuning the start-up of `trl sft`; by title."""
    work = prepare(given, stage, size)
    made = json.loads((work / "work.json").read_text(encoding="utf-8"))
    say(f"{stage} {size}: parity gate")
    parity = check_parity(given, stage, work)
    results, rivals = {}, ["trl"] + (["trl-cli"] if stage == "sft" and not given.no_cli else [])
    for rival in rivals:
        say(f"{stage} {size}: align against {rival}, {given.pairs} pairs")
        runs = run_pairs(given, stage, work, ("align", rival), given.pairs)
        medians = ratios(runs, made["loop_tokens"]["grouped"]) if given.pairs else {}
        if rival == "trl-cli":  # another order and fewer steps: only its start can be compared
            medians = {name: row for name, row in medians.items() if name in ("first step s", "peak memory MB")}
        title = f"{stage}, {size}, {made['steps']} steps of {made['batch']} rows: align against {NAMES[rival]}"
        results[title] = {"arms": ["align", rival], "parity": parity, "medians": medians, "runs": runs,
                          "work": {key: value for key, value in made.items() if key != "orders"}}
    return results


NAMES = {"trl": "TRL by hand", "trl-cli": "`trl sft`"}


def say(text: str) -> None:
    """Progress, on standard error; the tables go to standard output."""
    print(text, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=("sft", "reward", "dpo", "all"), default="all")
    parser.add_argument("--pairs", type=int, default=5, help="0: the parity gate alone")
    parser.add_argument("--sizes", nargs="+", choices=("tiny", "M0", "M1", "M2"), default=["M1"])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=8, help="rows of an optimizer step")
    parser.add_argument("--micro", type=int, help="rows of a micro-batch, in both arms; all of a step by default")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--idle", type=float, default=0.95, help="idle share below which a run is marked as loaded")
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait for an idle machine before each run")
    parser.add_argument("--no-cli", action="store_true", help="leave out the start-up of `trl sft`")
    parser.add_argument("--build", type=Path, default=HERE.parent / "build" / "benchmarks", help="folder to work in")
    parser.add_argument("--output", type=Path, help="JSON file of all runs")
    return parser.parse_args()


def main() -> None:
    """Command line. Exit code 1 where the gate is closed."""
    given = parse()
    report = {"machine": machine(given), "idle_at_start": idle_share(), "results": {}}
    try:
        for stage in ("sft", "reward", "dpo") if given.stage == "all" else (given.stage,):
            for size in given.sizes:
                report["results"].update(compare(given, stage, size))
    except GateClosed as error:
        raise SystemExit(f"parity gate: {error}; nothing was timed") from error
    if given.output:
        given.output.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print("\n\n".join(table(title, result) for title, result in report["results"].items()))
    print("\n" + json.dumps(report["machine"]))


if __name__ == "__main__":
    main()
