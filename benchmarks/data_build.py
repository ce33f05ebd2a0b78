"""`align data build` on many rows: rate and peak memory of all its processes, beside datasketch's index in memory.

    python benchmarks/data_build.py --rows 1000000 --peer-rows 100000 --output build/benchmarks/data_build.json

The rows are drawn from a vocabulary by Zipf's law, which gives texts as unlike as unrelated ones are; a share of them are
copies with one word in ten changed, whose original is known. The peer gets a part of the same rows, since its memory grows
with them: signatures of 128 permutations and `MinHashLSH` with its own defaults, fed by word pairs as ours are.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import sys
from itertools import accumulate
from pathlib import Path

from measure import Watch, measure

ROOT = Path(__file__).parents[1]
COPIES = 0.1
EDITED = 0.1  # of the words of a copy
RECIPE = """
name: many-rows
kind: demonstrations
sources:
  drawn: {path: ROWS, licence: CC0-1.0}
steps:
  - normalise
  - filter: {min_answer_words: 3, quality: [repetition, refusal, encoding]}
  - dedup
  - near_dedup
  - decontaminate: {against: [EVAL]}
  - redact
  - split: {validation: 0.01}
  - shuffle
"""


def main() -> None:
    """Writes rows, builds, measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peer-rows", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks/data_build"), help="folder for rows and stages")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/data_build.json"))
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)  # this script as the measured peer, on this file
    given = parser.parse_args()
    if given.peer:
        peer(given.peer, given.peer_rows)
        return
    shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True)
    figures = run(given)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))


def run(given: argparse.Namespace) -> dict:
    """Both arms on the same rows, and the share of the machine that others took meanwhile."""
    write_rows(given.work, given.rows)
    rows, recipe, output = given.work / "rows.jsonl", given.work / "recipe.yaml", given.work / "out"
    recipe.write_text(RECIPE.replace("ROWS", str(rows)).replace("EVAL", str(given.work / "eval.jsonl")), encoding="utf-8")
    ours = [sys.executable, "-m", "alignment", "data", "build", str(recipe), "--output", str(output),
            "--workers", str(given.workers)]
    figures = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "rows_mib": round(rows.stat().st_size / 2**20),
               "workers": given.workers, "build": measured(ours, given.rows, given.work)}
    card = json.loads((output / "card.json").read_text(encoding="utf-8"))
    figures["build"] |= {"fates": card["rows"]["fates"], "stage_seconds": stage_seconds(output)}
    if given.peer_rows:
        theirs = [sys.executable, __file__, "--peer", str(rows), "--peer-rows", str(given.peer_rows)]
        figures["datasketch in memory"] = measured(theirs, min(given.rows, given.peer_rows), given.work)
    return figures


def write_rows(folder: Path, count: int) -> None:
    """Rows and evaluation prompts; the same for the same count."""
    rng = random.Random(0)
    draw = words(rng)
    recent: list[dict] = []
    with open(folder / "rows.jsonl", "w", encoding="utf-8") as file, open(folder / "eval.jsonl", "w", encoding="utf-8") as held:
        for number in range(count):
            if recent and rng.random() < COPIES:
                source = rng.choice(recent)
                row = {key: edited(rng, source[key], draw) for key in ("prompt", "completion")}
            else:
                prompt, completion = (" ".join(draw(rng.randint(*lengths))) for lengths in ((8, 30), (10, 120)))
                row = {"prompt": prompt + "?", "completion": completion + "."}
                recent.append(row)
                del recent[:-1000]
            file.write(json.dumps(row) + "\n")
            if number % 1000 == 0:
                held.write(json.dumps({"prompt": row["prompt"], "completion": row["completion"]}) + "\n")


def words(rng: random.Random):
    """A function that draws words: 50,000 of them, the n-th with a weight of 1/n."""
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(50_000)]
    weights = list(accumulate(1 / (place + 10) for place in range(len(vocabulary))))
    return lambda count: rng.choices(vocabulary, cum_weights=weights, k=count)


def edited(rng: random.Random, text: str, draw) -> str:
    """The text with a tenth of its words drawn anew."""
    found = text.split(" ")
    for place in rng.sample(range(len(found)), max(1, round(EDITED * len(found)))):
        found[place] = draw(1)[0]
    return " ".join(found)


def measured(command: list[str], rows: int, work: Path) -> dict:
    """Runs a command; its seconds, rows a second and the peak of memory of its whole tree of processes."""
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    seen = measure(command, Watch(work / "none"), steps=1, environment=environment, log=work / "log.txt")
    said = (work / "log.txt").read_text(encoding="utf-8")
    if seen.code:
        raise SystemExit(f"{' '.join(command)} ended with {seen.code}: {said[-2000:]}")
    return {"rows": rows, "seconds": round(seen.wall, 1), "rows_per_second": round(rows / seen.wall),
            "peak_rss_mib": round(seen.peak_tree / 2**20), "others_share": round(seen.foreign, 2),
            "said": said.splitlines()[-1]}


def stage_seconds(output: Path) -> dict[str, float]:
    """How long each stage took, by when the one before it was finished."""
    card = json.loads((output / "card.json").read_text(encoding="utf-8"))
    paths = [output / ".stages" / name / "stage.json" for name in card["stages"]] + [output / "card.json"]
    ends = [path.stat().st_mtime for path in paths]
    begun = (output / ".stages" / "lock").stat().st_mtime
    names = [step["step"] for step in card["steps"]] + ["deliver"]
    return {name: round(end - start, 1) for name, start, end in zip(names, [begun, *ends], ends, strict=False)}


def peer(rows: Path, count: int) -> None:
    """datasketch as its documents show it: every text's MinHash, one index, a query before each insertion."""
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(), 0
    with open(rows, encoding="utf-8") as file:
        for number, line in zip(range(count), file, strict=False):
            row = json.loads(line)
            texts = f"{row['prompt']} {row['completion']}".split()
            minhash = MinHash()
            minhash.update_batch([f"{one} {two}".encode() for one, two in zip(texts, texts[1:], strict=False)])
            found += bool(index.query(minhash))
            index.insert(number, minhash)
    print(f"{found} rows are near an earlier one")


if __name__ == "__main__":
    main()
