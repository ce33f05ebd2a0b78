"""How far the plan's memory and the measured time are from what a run then takes: `align`'s own figures, from its manifests.

    python benchmarks/estimate.py --sizes M0 M1 M2 --kinds lora full --folder build/benchmarks/estimate

Memory: the plan (what the process held before it loaded a model, and the estimate) beside the peak that the run saw. Time: what
the first steps said would be left beside what the rest then took. The bases are random, the rows from a seed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from itertools import product
from pathlib import Path

HERE = Path(__file__).resolve().parent
GIB = 1 << 30
STEPS, BATCH = 12, 16


def made(folder: Path, stage: str, size: str, steps: int) -> Path:
    """The work of a stage and size, made on first use."""
    place = folder / f"{stage}-{size}-{steps}"
    if not (place / "work.json").is_file():
        words = ["--stage", stage, "--size", size, "--steps", str(steps), "--batch", str(BATCH), "--folder", str(place)]
        subprocess.run([sys.executable, str(HERE / "work.py"), *words], check=True)
    return place


def run(place: Path, stage: str, kind: str, micro: int, checkpointing: str) -> dict:
    """One run; its `hardware` entry."""
    output = place / f"run-{kind}-{micro}-{checkpointing}"
    words = ["--model", place / "base", "--data", place / "data" / "train.jsonl", "--output", output, "--restart"]
    words += ["--epochs", 1, "--batch-size", BATCH, "--max-length", 256, "--max-rejected", 0.05]
    for setting in (f"adapter.kind={kind}", f"hardware.micro_batch={micro}", f"hardware.checkpointing={checkpointing}",
                    "training.save_every=100000", "data.validation_share=0"):
        words += ["--set", setting]
    subprocess.run([sys.executable, "-m", "alignment", stage, *map(str, words)], check=True, cwd=HERE.parent,
                   stdout=subprocess.DEVNULL)
    return json.loads((output / "align.json").read_text(encoding="utf-8"))["hardware"]


def row(stage: str, size: str, kind: str, micro: int, checkpointing: str, hardware: dict) -> dict:
    """Planned and found, in bytes and seconds."""
    measured, parts = hardware["measured"], hardware["estimate"]
    return {"stage": stage, "size": size, "kind": kind, "micro_batch": micro, "checkpointing": checkpointing,
            "held": hardware["held"], **parts, "planned": measured["planned_bytes"], "peak": measured["peak_bytes"],
            "left": measured["left"], "took": measured.get("took"), "counted": measured["counted"]}


def table(rows: list[dict]) -> str:
    """Markdown: memory in GiB, the model's part of it by itself (less what was held), and seconds after the estimate."""
    names = ["stage", "size", "kind", "rows at once", "checkpointing", "held", "planned", "peak", "planned / peak",
             "less held", "left", "took"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for r in rows:
        own = (r["planned"] - r["held"]) / max(1, r["peak"] - r["held"])
        cells = (r["stage"], r["size"], r["kind"], r["micro_batch"], r["checkpointing"], f"{r['held'] / GIB:.2f}",
                 f"{r['planned'] / GIB:.2f}", f"{r['peak'] / GIB:.2f}", f"{r['planned'] / r['peak']:.2f}", f"{own:.2f}",
                 f"{r['left']:.0f}", f"{r['took'] or 0:.0f}")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    """Runs all combinations and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["M0", "M1", "M2"])
    parser.add_argument("--kinds", nargs="+", default=["lora", "full"])
    parser.add_argument("--stages", nargs="+", default=["sft"])
    parser.add_argument("--micro", nargs="+", type=int, default=[4, 16])
    parser.add_argument("--checkpointing", nargs="+", default=["off"])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--folder", type=Path, default=HERE.parent / "build" / "benchmarks" / "estimate")
    given, rows = parser.parse_args(), []
    combinations = product(given.stages, given.sizes, given.kinds, given.micro, given.checkpointing)
    for stage, size, kind, micro, checkpointing in combinations:
        place = made(given.folder, stage, size, given.steps)
        rows.append(row(stage, size, kind, micro, checkpointing, run(place, stage, kind, micro, checkpointing)))
        print(json.dumps(rows[-1]), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
