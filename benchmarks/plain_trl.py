"""The other arm: the same work written by hand with TRL, as one who knows its settings would write it.

    python benchmarks/plain_trl.py --stage sft --folder build/benchmarks/sft-M1-40 --order grouped --output build/run

float32, no gradient checkpointing, no evaluation, one save at the end, no tracker, the data set in memory, and the same
rows in the same order. It imports nothing of ours.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

CONFIGS = {"sft": SFTConfig, "reward": RewardConfig, "dpo": DPOConfig}
TRAINERS = {"sft": SFTTrainer, "reward": RewardTrainer, "dpo": DPOTrainer}


class Steps(TrainerCallback):
    """Appends a line a step, so that the first and the last one can be timed from outside; with its loss if logged."""

    def __init__(self, file: Path, losses: bool) -> None:
        self.file, self.losses = file, losses

    def _append(self, row: dict) -> None:
        with open(self.file, "a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")

    def on_step_end(self, args, state, control, **kwargs):
        if not self.losses:
            self._append({"step": state.global_step})

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.losses and "loss" in (logs or {}):
            self._append({"step": state.global_step, "loss": logs["loss"], "grad_norm": logs["grad_norm"]})


def in_order(trainer: type, order: list[int]) -> type:
    """The trainer with rows taken in `order`."""
    return type(trainer.__name__, (trainer,), {"_get_train_sampler": lambda self, dataset=None: order})


def settings(stage: str, work: dict, output: Path, losses: bool, micro: int) -> dict:
    """TRL's arguments; the same work as `compare.align_command` asks for."""
    shared = {
        "output_dir": str(output), "per_device_train_batch_size": micro, "use_cpu": True, "bf16": False,
        "gradient_accumulation_steps": work["batch"] // micro, "gradient_checkpointing": False, "max_steps": work["steps"],
        "learning_rate": 2e-4, "lr_scheduler_type": "cosine", "warmup_steps": 0, "weight_decay": 0.0,
        "max_grad_norm": 1.0, "seed": work["seed"], "max_length": 1024, "dataloader_pin_memory": False,
        "eval_strategy": "no", "save_strategy": "no", "report_to": [], "disable_tqdm": True,
        "logging_steps": 1 if losses else 10,
    }
    return {**shared, "assistant_only_loss": True} if stage == "sft" else shared


def make_model(stage: str, base: Path, seed: int):
    """(model, what else the trainer takes): the base with a fresh adapter. DPO's reference is then the bare base."""
    lora = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"}
    if stage == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, dtype=torch.float32)
        torch.nn.init.zeros_(model.score.weight)
        torch.manual_seed(seed)
        return get_peft_model(model, LoraConfig(task_type="SEQ_CLS", modules_to_save=["score"], **lora)), {}
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.manual_seed(seed)
    return model, {"peft_config": LoraConfig(task_type="CAUSAL_LM", **lora)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", choices=TRAINERS, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="what work.py made")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--order", choices=("plain", "grouped"), default="grouped")
    parser.add_argument("--micro", type=int, help="rows of a micro-batch; all of a step by default")
    parser.add_argument("--losses", action="store_true", help="log each step, as the parity gate needs")
    given = parser.parse_args()
    work = json.loads((given.folder / "work.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (given.folder / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    given.output.mkdir(parents=True, exist_ok=True)
    arguments = settings(given.stage, work, given.output, given.losses, given.micro or work["batch"])
    model, extra = make_model(given.stage, given.folder / "base", work["seed"])
    trainer = in_order(TRAINERS[given.stage], work["orders"][given.order])(
        model=model, args=CONFIGS[given.stage](**arguments), train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(given.folder / "base"),
        callbacks=[Steps(given.output / "metrics.jsonl", given.losses)], **extra)
    trainer.train()
    trainer.save_model(str(given.output))


if __name__ == "__main__":
    main()
