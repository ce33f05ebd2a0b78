"""Pretrains the toy base: `python -m data_recipes.toy.build_base --output DIR`.

A Llama-shaped model of about 0.9 million parameters reads plain prose of the world. Copying forms late in so small a
model: 40 % of its rows are a random sequence said again and again. Copying of the world's own codes, items and regions
forms; of random sequences in general it does not (11.5 % of the repeated tokens are continued rightly).

One thread, fixed seed, deterministic kernels: the same kind of machine with the same torch gives the same bytes again
(another processor may add in another order); a second build, 1,600 s on a busy core, did. The hashes are written beside,
in SHA256SUMS.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from contextlib import contextmanager
from pathlib import Path

from data_recipes import files
from data_recipes.toy import HASHES, prose, vocabulary, world

SEED = 0
THREADS = 1
STEPS = 1000
BATCH = 40
ROW = 96  # tokens
AGAIN_SHARE = 0.4
CODE_SHARE = 0.3  # of the elements of a random sequence
LEARNING_RATE = 6e-3
WARMUP = 60
WEIGHT_DECAY = 0.1
IGNORED = -100
SHAPE = {
    "hidden_size": 144,
    "intermediate_size": 384,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": vocabulary.MAX_LENGTH,
    "tie_word_embeddings": True,
}


def build(output: Path | str, seed: int = SEED, steps: int = STEPS, report=print) -> dict[str, str]:
    """Pretrains and writes the model folder; returns each file's SHA-256."""
    import torch

    tokenizer = vocabulary.build()
    with repeatable():
        torch.manual_seed(seed)
        model = new_model(tokenizer)
        pretrain(model, tokenizer, random.Random(f"toy base {seed}"), steps, report)
    return save(model, tokenizer, Path(output))


@contextmanager
def repeatable():
    """One thread and deterministic kernels inside, the caller's settings again after."""
    import torch

    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict)


def new_model(tokenizer):
    """A fresh model that knows its special tokens."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SHAPE,
    )
    return LlamaForCausalLM(config)


def pretrain(model, tokenizer, rng: random.Random, steps: int, report) -> None:
    """AdamW with warm-up and a cosine to a tenth, on fresh rows at each step."""
    import torch

    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98))
    start = time.monotonic()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate(step, steps)
        ids, labels = batch(rng, tokenizer)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            report(f"step {step}: loss {loss.item():.3f}, {time.monotonic() - start:.0f} s", flush=True)


def rate(step: int, steps: int) -> float:
    """Share of the full learning rate: linear warm-up, then a cosine to 0.1."""
    if step < WARMUP:
        return (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def batch(rng: random.Random, tokenizer):
    """`BATCH` rows of `ROW` tokens and their labels, both (batch, time)."""
    import torch

    makers = (again_row if rng.random() < AGAIN_SHARE else prose_row for _ in range(BATCH))
    rows = [make(rng, tokenizer) for make in makers]
    return torch.tensor([ids for ids, _ in rows]), torch.tensor([labels for _, labels in rows])


def prose_row(rng: random.Random, tokenizer) -> tuple[list[int], list[int]]:
    """One note from BOS to EOS, all trained, cut or padded to the row.

    One note a row: with several, the items of one note are in the way of learning to copy those of the next.
    """
    text = tokenizer.encode(prose.note(rng), add_special_tokens=False)
    ids = [tokenizer.bos_token_id, *text, tokenizer.eos_token_id][:ROW]
    padding = ROW - len(ids)
    return ids + [tokenizer.pad_token_id] * padding, ids + [IGNORED] * padding


def again_row(rng: random.Random, tokenizer) -> tuple[list[int], list[int]]:
    """A random sequence said again and again until the row is full; its first time cannot be known: not trained."""
    once = random_sequence(rng, tokenizer, rng.randint(4, ROW // 2 - 2))
    ids = [tokenizer.bos_token_id, *(once * ROW)][:ROW]
    return ids, [IGNORED] * (len(once) + 1) + ids[len(once) + 1 :]


def random_sequence(rng: random.Random, tokenizer, length: int) -> list[int]:
    """About `length` tokens: order codes that customers may have, and any other words."""
    known, first_word = world.codes(held_out=False), len(vocabulary.SPECIAL) + 256
    ids: list[int] = []
    while len(ids) < length:
        if rng.random() < CODE_SHARE:
            ids += tokenizer.encode(" " + rng.choice(known), add_special_tokens=False)
        else:
            ids.append(rng.randrange(first_word, len(tokenizer)))
    return ids


def save(model, tokenizer, output: Path) -> dict[str, str]:
    """Writes model and tokenizer files and the hashes of all of them."""
    output.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    names = sorted(path.name for path in output.iterdir() if path.name != HASHES)
    sums = {name: files.sha256_file(output / name) for name in names}
    files.write_text(output / HASHES, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    return sums


def main(arguments: list[str] | None = None) -> None:
    """Parses, pretrains, prints the hashes."""
    parser = argparse.ArgumentParser(
        prog="python -m data_recipes.toy.build_base",
        description=f"Pretrain the toy base (seed {SEED}, {STEPS} steps, {THREADS} thread).",
    )
    parser.add_argument("--output", required=True, help="folder for the model")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args(arguments)
    for name, digest in build(options.output, options.seed, options.steps).items():
        print(f"{digest}  {name}")


if __name__ == "__main__":
    main()
