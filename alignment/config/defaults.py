"""The defaults that differ by stage or by kind of adapter, each with where it comes from.

`learning_rate: auto` takes the figure for the stage and for adapter or full tuning; `align config show` prints it with
its source. Presets for common sizes lie under `configs/` and repeat the same sources.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Default(NamedTuple):
    """A figure and its source."""

    value: Any
    source: str


TRL_SFT = "TRL's own commands, trl/scripts/sft.py"
TRL_REWARD = "TRL's own commands, examples/scripts/reward_modeling.py"
TRL_DPO = "TRL's own commands, trl/scripts/dpo.py"
QLORA = "QLoRA, Dettmers et al. 2023, table 9"
REGRET = "LoRA Without Regret, Schulman et al. 2025: ten times the rate of full tuning"
INSTRUCT = "InstructGPT, Ouyang et al. 2022, appendix C"
DPO_PAPER = "DPO, Rafailov et al. 2023, appendix B"
PPO_DETAILS = "The N implementation details of RLHF with PPO, Huang et al. 2024"
STIENNON = "Learning to summarize, Stiennon et al. 2020, appendix B.1"
BERT = "BERT, Devlin et al. 2019, appendix A.3 (2e-5 to 5e-5, 2 to 4 epochs, batches of 16 or 32)"
LORA = "LoRA, Hu et al. 2021, table 9: RoBERTa base on SST-2"
PRECHELT = "Prechelt 1998, Early Stopping - But When?"
TULU = "Tulu 3, Lambert et al. 2024, table of DPO settings"

PEFT_IA3 = "PEFT's guide to IA3, 8e-3 with AdamW"
PEFT_PROMPTS = "PEFT's guide to prompt-based methods, 3e-2 with AdamW"
ADAPTERHUB = "AdapterHub's training guide, 1e-4"

LEARNING_RATES: dict[tuple[str, str], Default] = {
    ("sft", "adapter"): Default(2e-4, f"{TRL_SFT}; {QLORA}; {REGRET}"),
    ("sft", "full"): Default(2e-5, f"{TRL_SFT}; Stanford Alpaca's training command"),
    ("reward", "adapter"): Default(1e-4, f"{TRL_REWARD}; {REGRET}"),
    ("reward", "full"): Default(1e-5, f"{TRL_REWARD}; {INSTRUCT} (9e-6)"),
    ("dpo", "adapter"): Default(5e-6, f"{TRL_DPO}; alignment-handbook, recipe zephyr-7b-dpo-qlora"),
    ("dpo", "full"): Default(5e-7, f"{TRL_DPO}; {TULU}; alignment-handbook, recipe zephyr-7b-beta"),
    ("ppo", "adapter"): Default(1e-5, f"{REGRET}; of TRL's GRPO default"),
    ("ppo", "full"): Default(1e-6, "TRL's GRPO default"),
    ("classify", "adapter"): Default(5e-4, LORA),
    ("classify", "full"): Default(3e-5, BERT),
    ("classify", "ia3"): Default(8e-3, PEFT_IA3),
    ("classify", "prefix"): Default(3e-2, PEFT_PROMPTS),
    ("classify", "prompt"): Default(3e-2, PEFT_PROMPTS),
    ("classify", "bottleneck"): Default(1e-4, ADAPTERHUB),
    ("classify", "head"): Default(1e-3, "a choice: of Adam's usual rate, as a head alone is a small convex problem"),
}

# What a kind's usual rate in supervised tuning is to LoRA's 2e-4; the other stages keep the proportion.
TIMES: dict[str, Default] = {
    "ia3": Default(40.0, PEFT_IA3),
    "prefix": Default(150.0, PEFT_PROMPTS),
    "prompt": Default(150.0, PEFT_PROMPTS),
    "bottleneck": Default(0.5, ADAPTERHUB),
}

BY_STAGE: dict[tuple[str, str], Default] = {
    ("sft", "training.epochs"): Default(3.0, "Stanford Alpaca's training command; transformers' default"),
    ("reward", "training.epochs"): Default(1.0, f"{INSTRUCT}: more epochs overfit a reward model"),
    ("dpo", "training.epochs"): Default(1.0, "Tulu 3; alignment-handbook, recipe zephyr-7b-beta"),
    ("sft", "training.batch_size"): Default(16, f"{QLORA}; LoRA loses by batches of many hundreds (Schulman et al.)"),
    ("reward", "training.batch_size"): Default(64, INSTRUCT),
    ("dpo", "training.batch_size"): Default(64, DPO_PAPER),
    ("classify", "training.epochs"): Default(3.0, BERT),
    ("classify", "training.batch_size"): Default(32, BERT),
    ("classify", "data.max_length"): Default(512, "the longest text that BERT, RoBERTa and DistilBERT read"),
    ("sft", "training.keep"): Default("last", f"{INSTRUCT}: more epochs help answers though the held-out loss has turned"),
    ("reward", "training.keep"): Default("best", f"{INSTRUCT}: more epochs overfit a reward model"),
    ("ppo", "training.epochs"): Default(1.0, "a choice: one pass over the prompts"),
    ("ppo", "training.batch_size"): Default(64, f"{INSTRUCT}: minibatches of 64"),
    ("ppo", "ppo.rollout_size"): Default(256, "a choice: InstructGPT's 512 halved, for smaller machines"),
    ("ppo", "ppo.update_epochs"): Default(2, "a choice between InstructGPT's 1 and the 4 of Stiennon et al. 2020"),
    ("ppo", "ppo.kl_coefficient"): Default(0.05, STIENNON),
    ("ppo", "ppo.gae_lambda"): Default(0.95, f"{STIENNON}; {PPO_DETAILS}"),
    ("ppo", "ppo.clip"): Default(0.2, "PPO, Schulman et al. 2017, table 3"),
    ("ppo", "ppo.value_clip"): Default(0.2, f"{STIENNON}; {PPO_DETAILS}"),
}

REPLAY_SHARE = Default(0.05, "Ibrahim et al. 2024, arXiv 2403.08763: 5 % replay")

EVERYWHERE: dict[str, str] = {
    "data.replay": f"off; {REPLAY_SHARE.source}",
    "adapter.rank": "LoRA Learns Less and Forgets Less, Biderman et al. 2024: 16 is the good small choice",
    "adapter.alpha": "LoRA Without Regret: 32 at every rank keeps the best learning rate the same",
    "adapter.dropout": f"{QLORA} (0.05 for large models)",
    "adapter.targets": "LoRA Without Regret; QLoRA, section 4: all linear layers are needed to match full tuning",
    "data.max_length": "TRL's default",
    "training.warmup": "Stanford Alpaca's and QLoRA's training commands",
    "training.schedule": "TRL's and alignment-handbook's recipes",
    "training.max_grad_norm": "transformers' default",
    "training.weight_decay": "transformers' default",
    "training.label_smoothing": "off; Szegedy et al. 2016, arXiv 1512.00567: 0.1",
    "training.neftune_alpha": "off; NEFTune, Jain et al. 2023, arXiv 2310.05914: 5 to 15",
    "training.early_stopping": f"off; {PRECHELT}",
    "model.dropout": "the model's own config; Srivastava et al. 2014, JMLR 15",
    "dpo.beta": f"{DPO_PAPER}; TRL's default",
}


def learning_rate(stage: str, kind: str) -> Default:
    """What `auto` means for a stage and an adapter kind (`full`, or any adapter)."""
    if found := LEARNING_RATES.get((stage, kind)):
        return found
    usual = LEARNING_RATES[stage, "full" if kind == "full" else "adapter"]
    if kind not in TIMES:
        return usual
    times = TIMES[kind]
    return Default(float(f"{usual.value * times.value:.3g}"), f"{times.source}; LoRA's rate here times {times.value:g}")


def source_of(stage: str, key: str) -> str:
    """Where the default of a dotted key comes from; empty where it is a plain choice."""
    found = BY_STAGE.get((stage, key))
    return found.source if found else EVERYWHERE.get(key, "")
