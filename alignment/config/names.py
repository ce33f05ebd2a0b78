"""Which name somebody meant: nearest names, and the words other programs use for our keys."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What TRL, transformers, PEFT, axolotl and LLaMA-Factory call these settings, where a nearest name would not find it.
ELSEWHERE: dict[str, str] = {
    "lr": "training.learning_rate",
    "num_epochs": "training.epochs",
    "num_train_epochs": "training.epochs",
    "per_device_train_batch_size": "training.batch_size",
    "micro_batch_size": "hardware.micro_batch",
    "gradient_accumulation_steps": "training.batch_size",
    "warmup_ratio": "training.warmup",
    "warmup_steps": "training.warmup",
    "lr_scheduler": "training.schedule",
    "lr_scheduler_type": "training.schedule",
    "save_steps": "training.save_every",
    "eval_steps": "training.eval_every",
    "save_total_limit": "training.keep_checkpoints",
    "r": "adapter.rank",
    "lora_r": "adapter.rank",
    "lora_rank": "adapter.rank",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "lora_target": "adapter.targets",
    "lora_target_modules": "adapter.targets",
    "target_modules": "adapter.targets",
    "finetuning_type": "adapter.kind",
    "base_model": "model.path",
    "model_name": "model.path",
    "model_name_or_path": "model.path",
    "model_revision": "model.revision",
    "torch_dtype": "model.dtype",
    "load_in_4bit": "model.quantisation",
    "load_in_8bit": "model.quantisation",
    "quantization": "model.quantisation",
    "attn_implementation": "model.attention",
    "dataset": "data.train",
    "datasets": "data.train",
    "dataset_name": "data.train",
    "val_set_size": "data.validation_share",
    "cutoff_len": "data.max_length",
    "sequence_len": "data.max_length",
    "max_seq_length": "data.max_length",
    "neftune_noise_alpha": "training.neftune_alpha",
    "label_smoothing_factor": "training.label_smoothing",
    "early_stopping_patience": "training.early_stopping",
    "load_best_model_at_end": "training.keep",
    "metric_for_best_model": "training.watch",
    "hidden_dropout_prob": "model.dropout",
    "resid_pdrop": "model.dropout",
    "bf16": "hardware.precision",
    "fp16": "hardware.precision",
    "gradient_checkpointing": "hardware.checkpointing",
    "pref_beta": "dpo.beta",
    "dpo_beta": "dpo.beta",
    "rl_beta": "dpo.beta",
    "pref_loss": "dpo.loss_type",
    "center_rewards_coefficient": "reward.center_coefficient",
    "precompute_ref_log_probs": "dpo.precompute_reference",
}


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The closest of `names` by spelling, or None where nothing is close."""
    lowered = {candidate.lower(): candidate for candidate in names}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def meant(key: str, keys: Iterable[str]) -> str | None:
    """The dotted key out of `keys` that somebody who wrote `key` most likely meant; sections may be wrong too."""
    keys = list(keys)
    section, _, leaf = key.rpartition(".")
    if ELSEWHERE.get(leaf) in keys:
        return ELSEWHERE[leaf]
    beside = {other.rpartition(".")[2]: other for other in keys if other.rpartition(".")[0] == section}
    anywhere = {other.rpartition(".")[2]: other for other in keys}
    if leaf in anywhere:
        return anywhere[leaf]
    for group in (beside, anywhere):
        if found := nearest(leaf, group):
            return group[found]
    return nearest(key, keys)
