"""The work that both arms do: a random base, a tokenizer with a chat template, rows, and the order of rows. From a seed.

    python benchmarks/work.py --stage sft --size M1 --steps 40 --folder build/benchmarks/sft-M1-40

Run in a process of its own, so that what measures stays small.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import string
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

# Marks what the loss is taken on, as TRL's `assistant_only_loss` needs it. Each row ends at the stop token, in both arms.
TEMPLATE = (
    "{% for message in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<pad>", "<|im_end|>", "<|im_start|>"]


@dataclass(frozen=True)
class Size:
    """A base model: vocabulary, width, layers. M0 is all overhead, M1 mostly head, M2 mostly matrix products."""

    vocabulary: int
    width: int
    layers: int


SIZES = {
    "tiny": Size(1000, 32, 2), "M0": Size(2048, 256, 4), "M1": Size(32768, 256, 4), "M2": Size(8192, 512, 12),
    "M50": Size(24576, 512, 12),
}


def vocabulary_and_merges(size: int, seed: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level vocabulary of `size` tokens: bytes, all pairs of letters, and some words of four letters."""
    from tokenizers import pre_tokenizers

    pairs = [(a, b) for a, b in itertools.product(string.ascii_lowercase, repeat=2)]
    tokens = SPECIAL + sorted(pre_tokenizers.ByteLevel.alphabet()) + [a + b for a, b in pairs]
    halves = [a + b for a, b in pairs]
    words = random.Random(seed).sample([(a, b) for a in halves for b in halves], size - len(tokens))
    return {token: index for index, token in enumerate(tokens + [a + b for a, b in words])}, pairs + words


def make_tokenizer(size: int, seed: int):
    """A fast tokenizer and the four-letter words that are one token each."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary, merges = vocabulary_and_merges(size, seed)
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(SPECIAL)
    made = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<|im_end|>")
    made.chat_template = TEMPLATE
    return made, [word for word in vocabulary if len(word) == 4 and word.isascii() and word.isalpha()]


def make_base(folder: Path, size: Size, seed: int) -> list[str]:
    """Writes a Llama-shaped model, random from the seed, and its tokenizer; returns the words to make text of."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=size.vocabulary, hidden_size=size.width, intermediate_size=size.width * 11 // 4,
        num_hidden_layers=size.layers, num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=1024,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )
    LlamaForCausalLM(config).float().save_pretrained(folder)
    tokenizer, words = make_tokenizer(size.vocabulary, seed)
    tokenizer.save_pretrained(folder)
    return words


def text(random_: random.Random, words: list[str], median: int) -> str:
    """Words whose number is log-normal around `median` (sigma 0.6, at most six times the median)."""
    count = min(6 * median, max(2, round(median * math.exp(random_.gauss(0, 0.6)))))
    return " ".join(random_.choices(words, k=count))


def make_rows(stage: str, count: int, words: list[str], seed: int) -> list[dict]:
    """Demonstrations, or preference pairs with a prompt; a word and its space are two tokens."""
    random_, rows = random.Random(seed), []
    for _ in range(count):
        prompt = [{"role": "user", "content": text(random_, words, 20)}]
        answers = [[{"role": "assistant", "content": text(random_, words, 20)}] for _ in range(2)]
        rows.append({"messages": prompt + answers[0]} if stage == "sft" else
                    {"prompt": prompt, "chosen": answers[0], "rejected": answers[1]})
    return rows


def row_lengths(stage: str, rows: list[dict], tokenizer) -> list[tuple[int, int]]:
    """(tokens of the longest sequence of a row, tokens of all its sequences)."""
    def tokens(messages: list[dict]) -> int:
        return len(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False))

    if stage == "sft":
        return [(n, n) for n in (tokens(row["messages"]) for row in rows)]
    pairs = [[tokens(row["prompt"] + row[side]) for side in ("chosen", "rejected")] for row in rows]
    return [(max(pair), sum(pair)) for pair in pairs]


def make_orders(lengths: list[int], batch: int, seed: int) -> dict[str, list[int]]:
    """The row order of an epoch, plain and grouped by length: what `align` will use, written out for the other arm."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from alignment.training.order import epoch_order

    return {name: epoch_order(lengths, batch=batch, seed=seed, epoch=0, grouped=name == "grouped").tolist()
            for name in ("plain", "grouped")}


def make(stage: str, size: str, steps: int, batch: int, seed: int, folder: Path) -> dict:
    """Makes everything under `folder`; returns (and writes) its description."""
    from transformers import AutoTokenizer

    words = make_base(folder / "base", SIZES[size], seed)
    rows = make_rows(stage, steps * batch, words, seed)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lengths = row_lengths(stage, rows, AutoTokenizer.from_pretrained(folder / "base"))
    orders = make_orders([longest for longest, _ in lengths], batch, seed)
    # The first step is start-up; the loop's tokens are those of the steps after it.
    loop = {name: sum(lengths[i][1] for i in order[batch:]) for name, order in orders.items()}
    made = {"stage": stage, "size": {"name": size, **asdict(SIZES[size])}, "steps": steps, "batch": batch, "seed": seed,
            "tokens": sum(total for _, total in lengths), "loop_tokens": loop, "orders": orders}
    (folder / "work.json").write_text(json.dumps(made), encoding="utf-8")
    return made


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=("sft", "reward", "dpo"), required=True)
    parser.add_argument("--size", choices=SIZES, default="M0")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, required=True)
    make(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
