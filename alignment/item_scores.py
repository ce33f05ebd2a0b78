"""Scores for items before people are asked: what an ensemble of rewards thinks of each answer.

`align collect init --choose disagreement|gap|mix` reads them: disagreement is the spread of r(second) - r(first) over the
scorers, gap the size of its mean. Light until a reward is loaded.
"""

from __future__ import annotations

import gc
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alignment.rewards import RewardSource, named
from data_recipes.collect.items import TAKEN, as_rows, meta_of, parts
from data_recipes.errors import Refused
from data_recipes.files import sha256_file, write_bytes, write_json, write_jsonl


def score_items(items: Path, rewards: Sequence[str], output: Path, *, how: dict, batch_size: int, ui: Any) -> dict[str, Any]:
    """Writes the rows of `items` with a column "scores", one list for each reward; returns a summary.

    What they were made from stands in `OUTPUT.scores.json`: the same command again finds them complete.

    Raises:
        Refused: bad rows, a reward that is none, or an output that was made from something else.
    """
    rows, reading = as_rows(items)
    reading.check()
    sources = [named(text, base=how.get("base")) for text in rewards]
    made = {"items": sha256_file(items), "rewards": [source.identity() for source in sources]}
    if output.exists():
        return _known(output, made, ui)
    if any("scores" in row for row in rows):
        ui.warn("the rows have scores already; the new ones take their place")
    scores = [_scores(source, rows, how, batch_size, ui) for source in sources]
    if meta_of(items).is_file():
        write_bytes(meta_of(output), meta_of(items).read_bytes())
    summary = {"output": str(output), "rows": len(rows), "rewards": list(rewards), **_spread(scores)}
    write_json(_record(output), {**made, "summary": summary})
    write_jsonl(output, [{**row, "scores": [one[at] for one in scores]} for at, row in enumerate(rows)])  # last: it is whole
    return {**summary, "state": "completed"}


def _record(output: Path) -> Path:
    return output.with_name(output.name + ".scores.json")


def _known(output: Path, made: dict, ui: Any) -> dict[str, Any]:
    """The summary of an output that the same command made. Raises Refused where it was another one."""
    known = json.loads(_record(output).read_text("utf-8")) if _record(output).is_file() else {}
    if {key: known.get(key) for key in made} != made:
        raise Refused("it is there already, made from other items or rewards", where=output, do="Choose another --output.")
    ui.say(f"{output} is complete already, made by the same command")
    return {**known["summary"], "state": "already-completed"}


def _scores(source: RewardSource, rows: list[dict], how: dict, batch_size: int, ui: Any) -> list[list[float]]:
    """One reward's scores, a list for each row."""
    from alignment.evaluate.evaluation import load_reward

    scorer = load_reward(source.text, source.source, how=how, batch_size=batch_size)
    ui.say(f"scoring with {source.text}")
    known = [parts(row) for row in rows]
    names = [name for name in rows[0] if name not in TAKEN and all(name in row for row in rows)]
    flat = [(list(messages), text, row) for row, (messages, texts) in zip(rows, known, strict=True) for text in texts]
    columns = {name: [row[name] for _, _, row in flat] for name in names}
    completions = [[{"role": "assistant", "content": text}] for _, text, _ in flat]
    values = iter(scorer([messages for messages, _, _ in flat], completions, **columns))
    found = [[float(next(values)) for _ in texts] for _, texts in known]
    del scorer
    gc.collect()  # the next model needs the room
    return found


def _spread(scores: list[list[list[float]]]) -> dict[str, float]:
    """How far the scorers differ, and how far the first two answers lie apart, on the average row."""
    differences = [[row[1] - row[0] for row in one] for one in scores]
    by_row = list(zip(*differences, strict=True))
    return {"mean_disagreement": statistics.fmean(statistics.pstdev(row) for row in by_row),
            "mean_gap": statistics.fmean(abs(statistics.fmean(row)) for row in by_row)}
