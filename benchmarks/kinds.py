"""What each kind of adapter takes on one and the same job: share of the weights trained, memory, seconds a step.

    python benchmarks/kinds.py --size M1 --rounds 3 --output build/benchmarks/kinds.json

Each run is `align sft` in a process of its own, and its figures are those of its manifest; memory is what came on top of the
libraries. Kinds take turns, round by round, so that a slow minute of the machine meets all of them; ratios are to LoRA in the
same round, with the least and the largest beside the median. The base is random and the rows are from a seed: nothing is said
here of what a kind learns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
GIB = 1 << 30
KINDS: dict[str, list[str]] = {
    "lora": [],
    "rslora": ["adapter.kind=rslora"],
    "dora": ["adapter.kind=dora"],
    "qlora": ["adapter.kind=qlora"],
    "qlora, 8 bits": ["adapter.kind=qlora", "model.quantisation=8bit"],
    "ia3": ["adapter.kind=ia3"],
    "bottleneck, pfeiffer": ["adapter.kind=bottleneck"],
    "bottleneck, houlsby": ["adapter.kind=bottleneck", "adapter.placement=houlsby"],
    "prefix": ["adapter.kind=prefix"],
    "prompt": ["adapter.kind=prompt"],
    "full, last block": ["adapter.kind=full", "adapter.trainable=[model.layers.{last}.*]"],
    "full": ["adapter.kind=full"],
}


def made(folder: Path, size: str, steps: int, batch: int) -> Path:
    """Base and rows of the job, made at first use."""
    if not (folder / "work.json").is_file():
        words = ["--stage", "sft", "--size", size, "--steps", str(steps), "--batch", str(batch), "--folder", str(folder)]
        subprocess.run([sys.executable, str(HERE / "work.py"), *words], check=True)
    return folder


def run(place: Path, kind: str, batch: int, more: list[str]) -> dict:
    """One run: trained and all weights, peak of memory in bytes, seconds a step."""
    last = json.loads((place / "base" / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"] - 1
    output = place / "run"
    shutil.rmtree(output, ignore_errors=True)
    words = ["--model", place / "base", "--data", place / "data" / "train.jsonl", "--output", output,
             "--epochs", 1, "--batch-size", batch, "--max-length", 512]
    for setting in (*(text.format(last=last) for text in KINDS[kind]), "training.save_every=100000", "data.validation_share=0",
                    *more):
        words += ["--set", setting]
    done = subprocess.run([sys.executable, "-m", "alignment", "sft", *map(str, words)], cwd=HERE.parent,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    if done.returncode:
        sys.exit(f"{kind}: {done.stderr}")
    manifest = json.loads((output / "align.json").read_text(encoding="utf-8"))
    hardware, tuned = manifest["hardware"], manifest["tuned"]
    measured = hardware["measured"]
    return {"trained": tuned["parameters"], "of": tuned["of"], "own": measured["peak_bytes"] - hardware["held"],
            "seconds": measured["seconds_per_step"],
            **{key: hardware[key] for key in ("device", "precision", "checkpointing", "micro_batch")}}


def ratios(rounds: list[dict[str, dict]], kind: str, figure: str) -> tuple[float, float, float]:
    """(median, least, largest) over the rounds of a figure as a multiple of LoRA's."""
    found = sorted(one[kind][figure] / one["lora"][figure] for one in rounds)
    return median(found), found[0], found[-1]


def table(rounds: list[dict[str, dict]]) -> str:
    """Markdown, one kind a line."""
    lines = ["| kind | trained | of all weights | memory / LoRA's | seconds a step / LoRA's |", "|---|---|---|---|---|"]
    for kind, seen in rounds[0].items():
        cells = [f"{value:.2f} [{least:.2f}, {most:.2f}]" for value, least, most in
                 (ratios(rounds, kind, figure) for figure in ("own", "seconds"))]  # fmt: skip
        lines.append(f"| {kind} | {seen['trained']:,} | {seen['trained'] / seen['of']:.3%} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs all rounds, writes each as it is done, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="M1")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--set", action="append", default=[], help="a setting of all runs, such as hardware.micro_batch=4")
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks/kinds"))
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/kinds.json"))
    asked = parser.parse_args()
    place = made(asked.folder / f"{asked.size}-{asked.steps}-{asked.batch}", asked.size, asked.steps, asked.batch)
    kinds = list(dict.fromkeys(["lora", *asked.kinds]))
    rounds = []
    for number in range(asked.rounds):
        rounds.append({})
        for kind in kinds:
            rounds[-1][kind] = run(place, kind, asked.batch, asked.set)
            print(f"round {number + 1}: {kind} {rounds[-1][kind]}", file=sys.stderr, flush=True)
        asked.output.parent.mkdir(parents=True, exist_ok=True)
        found = {"size": asked.size, "steps": asked.steps, "batch": asked.batch, "rounds": rounds}
        asked.output.write_text(json.dumps(found, indent=1))
    seen = rounds[0]["lora"]
    print(table(rounds))
    print(f"\nLoRA: {seen['own'] / GIB:.2f} GiB on top of the libraries, {seen['seconds']:.3f} s a step of {asked.batch} rows, "
          f"{seen['of']:,} weights in all.")


if __name__ == "__main__":
    main()
