"""The `trainer:` section: TRL's own argument names, checked without importing TRL.

The names and types of TRL's configs lie in `trainer_fields.json`, written by
`python -m alignment.config.trainer_table`; a test compares the file with the TRL that is installed. `OWNED` lists the
arguments the suite sets itself, each with the key (or the reason) that stands in its place.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from alignment.config.names import nearest
from data_recipes.errors import Refused

TABLE = Path(__file__).with_name("trainer_fields.json")

_RENDERED = "rows are read, rendered and cut by the suite itself; see the data: section"
_KEPT = "see training.keep, training.watch and training.early_stopping"
_SAVED = "checkpoints are written whole and hashed by the suite; see training.save_every and keep_checkpoints"
_SHOWN = "progress goes to the terminal and metrics.jsonl; see report_to"
_LAUNCHED = "launching is accelerate's: accelerate launch --config_file configs/accelerate/... -m alignment ..."
_PUBLISHED = "nothing is pushed while training; see align export"
_EVALUATED = "see training.eval_every, data.validation and align eval"

OWNED: dict[str, str] = {
    "output_dir": "--output",
    "per_device_train_batch_size": "training.batch_size (effective) and hardware.micro_batch",
    "per_device_eval_batch_size": "hardware.micro_batch",
    "gradient_accumulation_steps": "training.batch_size (effective) and hardware.micro_batch",
    "auto_find_batch_size": "hardware.micro_batch",
    "num_train_epochs": "training.epochs",
    "max_steps": "training.max_steps",
    "learning_rate": "training.learning_rate",
    "lr_scheduler_type": "training.schedule",
    "warmup_steps": "training.warmup",
    "warmup_ratio": "training.warmup",
    "weight_decay": "training.weight_decay",
    "max_grad_norm": "training.max_grad_norm",
    "seed": "training.seed",
    "data_seed": "training.seed",
    "full_determinism": "hardware.deterministic",
    "train_sampling_strategy": "training.group_by_length",
    "length_column_name": "training.group_by_length",
    "shuffle_dataset": "training.seed",
    "dataloader_drop_last": "training.batch_size; the smaller last step of an epoch is trained too",
    "bf16": "hardware.precision",
    "fp16": "hardware.precision",
    "bf16_full_eval": "hardware.precision",
    "fp16_full_eval": "hardware.precision",
    "gradient_checkpointing": "hardware.checkpointing",
    "gradient_checkpointing_kwargs": "hardware.checkpointing",
    "activation_checkpointing": "hardware.checkpointing",
    "activation_checkpointing_kwargs": "hardware.checkpointing",
    "use_cpu": "hardware.device",
    "use_cache": "hardware.checkpointing",
    "model_init_kwargs": "the model: section",
    "trust_remote_code": "model.trust_remote_code",
    "max_length": "data.max_length",
    "truncation_mode": _RENDERED,
    "chat_template_path": _RENDERED,
    "dataset_text_field": _RENDERED,
    "dataset_kwargs": _RENDERED,
    "dataset_num_proc": _RENDERED,
    "completion_only_loss": "data.train_on",
    "assistant_only_loss": "data.train_on",
    "eos_token": _RENDERED,
    "pad_token": _RENDERED,
    "remove_unused_columns": _RENDERED,
    "label_names": _RENDERED,
    "beta": "dpo.beta",
    "label_smoothing": "dpo.label_smoothing",
    "loss_weights": "dpo.loss_weights",
    "precompute_ref_log_probs": "dpo.precompute_reference",
    "sync_ref_model": "the reference is the parent policy, pinned by its hash",
    "ref_model_mixup_alpha": "the reference is the parent policy, pinned by its hash",
    "ref_model_sync_steps": "the reference is the parent policy, pinned by its hash",
    "center_rewards_coefficient": "reward.center_coefficient",
    "report_to": "the top-level key report_to",
    "neftune_noise_alpha": "training.neftune_alpha",
    "label_smoothing_factor": "training.label_smoothing",
    **dict.fromkeys(
        ["save_strategy", "save_steps", "save_total_limit", "save_only_model", "save_on_each_node", "ignore_data_skip",
         "enable_jit_checkpoint", "resume_from_checkpoint", "restore_callback_states_from_checkpoint"], _SAVED),
    **dict.fromkeys(["load_best_model_at_end", "metric_for_best_model", "greater_is_better"], _KEPT),
    **dict.fromkeys(
        ["logging_strategy", "logging_steps", "logging_first_step", "logging_nan_inf_filter", "log_on_each_node",
         "log_level", "log_level_replica", "disable_tqdm", "include_num_input_tokens_seen", "skip_memory_metrics"],
        _SHOWN),
    **dict.fromkeys(
        ["push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push",
         "hub_revision"], _PUBLISHED),
    **dict.fromkeys(
        ["eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "prediction_loss_only", "batch_eval_metrics",
         "include_for_metrics", "eval_do_concat_batches", "eval_use_gather_object", "do_train", "do_eval",
         "do_predict"], _EVALUATED),
    **dict.fromkeys(["fsdp", "fsdp_config", "deepspeed", "accelerator_config", "parallelism_config", "local_rank"],
                    _LAUNCHED),
}
# DPO's loss has a key of its own; supervised tuning's (nll, dft, chunked_nll) passes through.
_GROUPS = "align ppo has a critic in place of GRPO's groups; see the ppo: section"
_SAMPLED = "answers are drawn from the very distribution that is scored; only ppo.temperature changes both"
OWNED_BY_STAGE: dict[tuple[str, str], str] = {
    ("dpo", "loss_type"): "dpo.loss_type",
    ("classify", "label_smoothing_factor"): "training.label_smoothing",
    **{("ppo", name): instead for name, instead in {
        "num_generations": "ppo.samples",
        "num_generations_eval": "ppo.samples",
        "max_completion_length": "ppo.max_new_tokens",
        "generation_batch_size": "ppo.rollout_size",
        "steps_per_generation": "ppo.rollout_size",
        "num_iterations": "ppo.update_epochs",
        "temperature": "ppo.temperature",
        "beta": "ppo.kl_coefficient",
        "epsilon": "ppo.clip",
        "entropy_coef": "ppo.entropy_coefficient",
        "reward_weights": "ppo.weights",
        "disable_dropout": "dropout is off in every role: the first ratio is exactly 1 only so",
        "chat_template_kwargs": _RENDERED,
        "log_completions": "answers of each evaluation are in private/completions.jsonl",
        **dict.fromkeys(["top_p", "top_k", "min_p", "repetition_penalty", "generation_kwargs", "vllm_structured_outputs_regex"],
                        _SAMPLED),
        "cast_lm_head_to_fp32": "hardware.precision",
        "torch_empty_cache_steps": "hardware.micro_batch",
        "vllm_importance_sampling_correction": "it stays on: vLLM's probabilities are never quite those that are scored",
        **dict.fromkeys(
            ["epsilon_high", "delta", "sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos", "vespo_lambda_pos",
             "vespo_k_neg", "vespo_lambda_neg", "importance_sampling_level", "multi_objective_aggregation",
             "scale_rewards", "loss_type", "mask_truncated_completions", "top_entropy_quantile",
             "use_adaptive_entropy", "entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target",
             "off_policy_mask_threshold", "use_bias_correction_kl", "router_aux_loss_coef", "log_multimodal",
             "num_completions_to_print", "log_unique_prompts", "log_completions_hub_repo",
             "use_transformers_paged", "vllm_importance_sampling_cap", "use_liger_kernel", "liger_kernel_config"], _GROUPS),
    }.items()},
}

KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "int": (int,), "float": (float, int), "str": (str,), "dict": (dict,), "list": (list,),
    "null": (type(None),),
}


@functools.cache
def fields(stage: str) -> dict[str, dict[str, Any]]:
    """TRL's arguments for a stage: name -> {types, choices?, default?}."""
    return json.loads(TABLE.read_text(encoding="utf-8"))["stages"][stage]


def owner(stage: str, name: str) -> str | None:
    """The key to use instead of one of TRL's names, or None where the name passes through."""
    return OWNED_BY_STAGE.get((stage, name)) or OWNED.get(name)


def allowed(stage: str) -> list[str]:
    """The names that pass through for a stage."""
    return [name for name in fields(stage) if owner(stage, name) is None]


def check(stage: str, name: str, value: Any, where: str) -> None:
    """Refuses an unknown name, an owned one, and a value of a wrong type."""
    if instead := owner(stage, name):
        raise Refused(f"trainer.{name} is set by the suite", where=where, do=f"Use instead: {instead}")
    known = fields(stage)
    if name not in known:
        close = nearest(name, allowed(stage))
        raise Refused(f"TRL's config for {stage} has no argument {name!r}", where=where,
                      do=f"Did you mean trainer.{close}?" if close else "`align config show` lists the names")
    _check_value(name, value, known[name], where)


def _check_value(name: str, value: Any, field: dict[str, Any], where: str) -> None:
    kinds = field["types"]
    fits = any(isinstance(value, KINDS[kind]) and (kind == "bool" or value is not True and value is not False)
               for kind in kinds)
    choices = field.get("choices")
    if fits and (not choices or value in choices or value is None):
        return
    expected = "one of " + ", ".join(choices) if choices else " or ".join(kinds)
    raise Refused(f"trainer.{name} cannot be {value!r}", where=where, expected=expected)
