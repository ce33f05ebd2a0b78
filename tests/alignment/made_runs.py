"""Finished runs without training: random adapters on a saved base, with the manifest that a stage writes."""

from __future__ import annotations

from pathlib import Path

from alignment.runs import Run, content_hash, describe_base, versions
from alignment.sources import resolve
from tests.tiny import llama, tokenizer


def policy_run(folder: Path, base: Path, *, seed: int = 0, scale: float = 0.5, **lora) -> Path:
    """A completed `sft` run whose LoRA adapter changes the base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **lora}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(init_lora_weights=False, **settings))
    _shrink(model, scale)
    return _write(model, folder, base, "sft")


def reward_run(folder: Path, base: Path, *, seed: int = 0, scale: float = 0.5) -> Path:
    """A completed `reward` run: adapter and score head saved together."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    model.config.pad_token_id = tokenizer().pad_token_id
    config = LoraConfig(
        r=4, target_modules="all-linear", task_type="SEQ_CLS", modules_to_save=["score"], init_lora_weights=False
    )
    model = get_peft_model(model, config)
    _shrink(model, scale)
    return _write(model, folder, base, "reward")


def full_run(folder: Path, base: Path, *, seed: int = 5) -> Path:
    """A completed `sft` run whose whole model was tuned."""
    return _write(llama(seed=seed), folder, base, "sft")


def _shrink(model, scale: float) -> None:
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data *= scale


def _write(model, folder: Path, base: Path, stage: str) -> Path:
    from data_recipes.render import Renderer, prepare_tokenizer

    tokens = tokenizer()
    preparation = prepare_tokenizer(tokens)
    model.save_pretrained(folder, **({"save_embedding_layers": False} if hasattr(model, "peft_config") else {}))
    tokens.save_pretrained(folder)
    renderer = Renderer(tokens)
    run = Run(folder, {"format": 1, "stage": stage, "parents": [], "created": "2026-01-01T00:00:00+00:00"})
    run.write(
        state="completed",
        base=describe_base(resolve(base), folder),
        content_hash=content_hash(folder),
        versions=versions(),
        template={
            "fingerprint": renderer.fingerprint,
            "stop_ids": list(preparation.stop_ids),
            "options": renderer.options,
        },
        metrics={"loss": 1.5},
        config={"model": {"path": str(base), "quantisation": "none"}, "data": {"train": "secret.jsonl"}},
        data={
            "train": {
                "read": 3,
                "kept": 3,
                "rejected": {},
                "notes": ["secret.jsonl is odd"],
                "sources": [{"path": "secret.jsonl", "sha256": "0" * 64, "format": "messages"}],
            }
        },
    )
    return folder
