"""Every kind of adapter on real sentiment rows: accuracy with intervals beside the majority class, on one thread in minutes.

    python benchmarks/classify_sst2.py --data FOLDER --output build/benchmarks/classify_sst2.json

FOLDER holds `sst2_train_3000.tsv` and `sst2_dev_400.tsv`: a sentence, a tab and 0 or 1 a line, from SST-2's training and
development rows (Socher et al. 2013).

A BERT-shaped encoder (two layers, 64 wide) is pretrained on the spot by masked-language modelling (Devlin et al. 2019, 3.1)
on the training sentences themselves, labels unseen; then `align classify` tunes it by each kind on 2,700 rows of SST-2, keeps
the weights that are best on 300 others, and `align classify predict` labels 400 rows that nothing was chosen by.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from alignment import classify
from data_recipes.files import write_json, write_jsonl
from data_recipes.intervals import paired_difference, wilson

# Learning rate of each kind, tried on the 300 rows that choose the weights too; alpha and the rest are the defaults.
KINDS = {
    "head": 3e-3, "lora": 1e-3, "rslora": 1e-3, "dora": 3e-3, "ia3": 2e-2, "bottleneck": 3e-3, "prefix": 3e-2, "prompt": 3e-2,
    "full": 1e-3,
}  # fmt: skip
VOCABULARY, LAYERS, HEADS, LENGTH = 3000, 2, 4, 48
MASKED, BATCH, RATE = 0.15, 64, 1e-3
PREFIX = 20  # positions that adapter.kind prefix and prompt take


def read_rows(file: Path) -> list[dict]:
    """Sentence, tab, label; the table has no line of names."""
    pairs = [line.rsplit("\t", 1) for line in file.read_text(encoding="utf-8").splitlines() if line]
    return [{"text": text, "label": {"0": "negative", "1": "positive"}[label]} for text, label in pairs]


def pretrain(folder: Path, texts: list[str], steps: int, width: int) -> float:
    """Writes an encoder that was trained to guess masked words of the texts; returns its last mean loss in nats."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast, DataCollatorForLanguageModeling

    torch.manual_seed(0)
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(texts, vocab_size=VOCABULARY, min_frequency=2, show_progress=False)
    tokens = BertTokenizerFast(vocab=pieces.get_vocab(), model_max_length=LENGTH)
    config = BertConfig(
        vocab_size=len(tokens), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, max_position_embeddings=LENGTH + PREFIX, pad_token_id=tokens.pad_token_id,
    )  # fmt: skip
    model = BertForMaskedLM(config).train()
    rows = [tokens(text, truncation=True, max_length=LENGTH) for text in texts]
    counts = np.bincount([token for row in rows for token in row["input_ids"]], minlength=len(tokens))
    with torch.no_grad():  # begin with how common each word is: a short training could hardly learn that first
        model.cls.predictions.bias.copy_(torch.tensor(np.log(counts + 0.5) - np.log((counts + 0.5).sum())))
    collate = DataCollatorForLanguageModeling(tokens, mlm_probability=MASKED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    order, losses = np.random.default_rng(0), []
    for _ in range(steps):
        batch = collate([rows[at] for at in order.integers(len(rows), size=BATCH)])
        masked_BT = (labels_BT := batch.pop("labels")) != -100
        logits_NV = model.cls(model.bert(**batch).last_hidden_state[masked_BT])  # only masked words go through the vocabulary
        loss = torch.nn.functional.cross_entropy(logits_NV, labels_BT[masked_BT])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.save_pretrained(folder)
    tokens.save_pretrained(folder)
    return float(np.mean(losses[-50:]))


def train(kind: str, rate: float, base: Path, rows: Path, output: Path, epochs: float) -> dict:
    """Tunes by one kind; returns its share of the parameters and its seconds."""
    started = time.perf_counter()
    settings = {"adapter.kind": kind, "training.learning_rate": rate, "training.epochs": epochs, "hardware.threads": 1,
                "hardware.device": "cpu", "training.keep_checkpoints": 0, "data.max_length": LENGTH}
    classify(model=base, data=rows, output=output, settings=settings)
    tuned = json.loads((output / "align.json").read_text(encoding="utf-8"))["tuned"]
    return {"kind": kind, "learning_rate": rate, "trained": tuned["parameters"], "of": tuned["of"],
            "seconds": round(time.perf_counter() - started, 1)}


def right(run: Path, rows: Path, output: Path, labels: list[str]) -> np.ndarray:
    """1 where `align classify predict` says the true label, else 0; (rows,)."""
    from alignment.cli.progress import Ui
    from alignment.labelling.predicting import Request, predict

    predict(Request(str(run), str(rows), output, overwrite=True), Ui(quiet=True))
    said = [json.loads(line)["label"] for line in output.read_text(encoding="utf-8").splitlines()]
    return np.array([one == other for one, other in zip(said, labels, strict=True)], dtype=float)


def compare(data: Path, folder: Path, kinds: list[str], steps: int, epochs: float, width: int) -> dict:
    """All figures. folder: a place for base and runs. steps, width: of the encoder's pretraining, and its hidden size."""
    rows, test = read_rows(data / "sst2_train_3000.tsv"), read_rows(data / "sst2_dev_400.tsv")
    write_jsonl(folder / "train.jsonl", rows)
    write_jsonl(folder / "test.jsonl", [{"text": row["text"]} for row in test])
    labels = [row["label"] for row in test]
    started = time.perf_counter()
    loss = pretrain(folder / "base", [row["text"] for row in rows], steps, width)
    print(f"pretrained: {steps} steps, loss {loss:.2f}, {time.perf_counter() - started:.0f} s", flush=True)
    commonest = max(set(labels), key=[row["label"] for row in rows].count)
    found, hits = [], {}
    for kind in kinds:
        made = train(kind, KINDS[kind], folder / "base", folder / "train.jsonl", folder / kind, epochs)
        hits[kind] = right(folder / kind, folder / "test.jsonl", folder / "said.jsonl", labels)
        made["accuracy"] = wilson(hits[kind].sum(), len(labels)).as_dict()
        found.append(made)
        print(f"{kind:11} {100 * made['accuracy']['value']:.1f} % [{100 * made['accuracy']['low']:.1f}, "
              f"{100 * made['accuracy']['high']:.1f}], {made['trained']:,} trained, {made['seconds']} s", flush=True)
    result = {"rows": len(rows), "test": len(labels), "pretraining_loss": loss, "kinds": found,
              "majority": wilson(labels.count(commonest), len(labels)).as_dict()}
    if {"full", "head"} <= hits.keys():
        result["full_minus_head"] = paired_difference(hits["full"], hits["head"]).as_dict()
    return result


def main() -> None:
    """Parses, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the two tables")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks/classify_sst2.json"))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--steps", type=int, default=3000, help="of pretraining")
    parser.add_argument("--width", type=int, default=64, help="hidden size of the encoder")
    parser.add_argument("--epochs", type=float, default=10.0)
    chosen = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result = compare(chosen.data, Path(folder), chosen.kinds, chosen.steps, chosen.epochs, chosen.width)
    majority = result["majority"]
    print(f"{'majority':11} {100 * majority['value']:.1f} % [{100 * majority['low']:.1f}, {100 * majority['high']:.1f}]")
    if "full_minus_head" in result:
        gap = result["full_minus_head"]
        print(f"full - head {100 * gap['value']:+.1f} points [{100 * gap['low']:.1f}, {100 * gap['high']:.1f}]")
    write_json(chosen.output, result)


if __name__ == "__main__":
    main()
