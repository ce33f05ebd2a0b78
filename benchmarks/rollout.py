"""Tokens per second of a rollout: plain `generate`, the adapter folded in, finished rows let go, and both.

    python benchmarks/rollout.py --model build/quickstart-0/runs/sft --data build/quickstart-0/data/requests.jsonl

All arms run in turn in one process, `--rounds` times over; ratios are of the fastest rounds, by the clock and by processor
time, which a busy machine disturbs less. All draw from one distribution.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import nullcontext


def arms(loaded, renderer, given) -> dict:
    """Functions that answer a batch of prompts; each gives the number of tokens that it wrote."""
    import torch
    from transformers import GenerationConfig

    from alignment.generation.batched import only_our_settings
    from alignment.ppo import drawing

    stops, pad = list(renderer.stop_ids), renderer.pad_id
    settings = GenerationConfig(max_new_tokens=given.new, do_sample=True, top_k=0, eos_token_id=stops, pad_token_id=pad)

    def generate(rows) -> int:
        ids, keep = drawing.pad_left(rows, pad)
        with torch.no_grad(), only_our_settings(loaded.model):
            made = loaded.model.generate(input_ids=ids, attention_mask=keep, generation_config=settings)[:, ids.shape[1] :]
        ended = torch.isin(made, torch.tensor(stops)).int().cumsum(1)
        return int(((ended - torch.isin(made, torch.tensor(stops)).int()) == 0).sum())

    def draw(rows) -> int:
        made, _ = drawing.draw(loaded.model, rows, new_tokens=given.new, temperature=1.0, stops=stops, pad_id=pad)
        return sum(map(len, made))

    return {"plain": (generate, False), "folded": (generate, True), "let go": (draw, False), "both": (draw, True)}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--new", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    import torch

    from alignment.models import load_policy
    from alignment.ppo import drawing

    torch.set_num_threads(given.threads)
    loaded = load_policy(given.model)
    renderer = loaded.renderer(max_length=None)
    rows = [json.loads(line) for line in open(given.data, encoding="utf-8")][: given.rows]
    asked = sorted((renderer.prompt(row.get("messages") or row["prompt"]) for row in rows), key=len)
    batches = [asked[i : i + given.batch] for i in range(0, len(asked), given.batch)]
    rates = {}
    for turn in range(given.rounds):
        for name, (answer, fold) in arms(loaded, renderer, given).items():
            torch.manual_seed(turn)
            began, tokens = (time.perf_counter(), time.process_time()), 0
            for batch in batches:
                with drawing.folded(loaded.model, "default") if fold else nullcontext():
                    tokens += answer(batch)
            took = time.perf_counter() - began[0], time.process_time() - began[1]
            rates.setdefault(name, []).append([tokens / seconds for seconds in took])
    best = {name: [max(rounds) for rounds in zip(*seen, strict=True)] for name, seen in rates.items()}
    print(f"{'':8} tokens/s   ratio   ratio of processor time")
    for name, (clock, processor) in best.items():
        print(f"{name:8} {clock:8.0f} {clock / best['plain'][0]:7.2f} {processor / best['plain'][1]:7.2f}")


if __name__ == "__main__":
    main()
