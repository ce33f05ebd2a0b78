"""The hardware plan of a stage: what the model will be, counted on the meta device, and how the machine takes it."""

from __future__ import annotations

from dataclasses import replace

import torch

from alignment import dropout
from alignment.adapters import weights as adapter_weights, added_tokens
from alignment.data import Rendered
from alignment.hardware.activations import cached_values, kept_pairs, kept_values, tuned_layers
from alignment.hardware.memory import ModelShape
from alignment.hardware.plan import Plan, best_device, make_plan
from alignment.session import WITHOUT_DROPOUT, Session, load_base_config
from alignment.training import processes
from alignment.training.checkpoints import asked_for


def keep_plan(session: Session, plan: Plan) -> Plan:
    """A run that continues keeps the plan it began with: another micro-batch or precision would not be exact."""
    before = session.job.run.manifest.get("hardware")
    if not before or before["world"] != plan.world:
        return plan
    before = {**before, **asked_for(session.job.run.checkpoints, plan.world)}
    kept = ("precision", "weights", "checkpointing", "micro_batch", "accumulation")
    changed = [f"{key} {before[key]}" for key in kept if before[key] != getattr(plan, key)]
    if changed:
        plan.reasons.append(f"kept from the run's beginning: {', '.join(changed)}")
    return replace(plan, **{key: before[key] for key in kept})


def plan_hardware(
    session: Session, train: Rendered, *, sequences: int, copies: int = 1, shape: ModelShape | None = None
) -> Plan:
    """The hardware plan for this base, adapter and the longest row; printed.

    sequences: of the model a row. copies: whole models in memory. shape: where a stage has more in memory than these.

    Raises:
        Refused: the model does not fit, or the launch file has another precision.
    """
    config, shape = session.config, shape or model_shape(session, copies)
    if session.preparation.encoder_decoder:
        shape = replace(shape, whole_logits=max(map(len, train.columns["labels"])))
    plan = make_plan(
        config.hardware,
        shape,
        batch_size=config.training.batch_size,
        length=max(train.columns["length"]),
        sequences=sequences,
        attention=shape.attention,
        weights=config.model.dtype,
        full=session.full,
    )
    plan = keep_plan(session, plan)
    processes.agree_on(plan.precision)
    session.job.ui.table("hardware", plan.rows())
    for reason in plan.reasons:
        session.job.ui.say(reason)
    return plan


def model_shape(session: Session, copies: int = 1) -> ModelShape:
    """Counts parameters on the meta device: no weight is loaded."""
    config, base = session.config, load_base_config(session)
    base.update(session.task.settings())
    with torch.device("meta"):
        model = session.task.auto_class().from_config(base, trust_remote_code=config.model.trust_remote_code)
        if session.preparation.added:
            added_tokens.grow(model, len(session.tokenizer))
        total = sum(p.numel() for p in model.parameters())
        model = _tuned(session, model)
        trained = adapter_weights.tuned(model)["parameters"]
    text, device = base.get_text_config(), best_device(config.hardware.device).type
    layers = max(text.num_hidden_layers, getattr(text, "num_decoder_layers", None) or 0)  # a token goes through one stack
    code = model.config._attn_implementation if config.model.attention == "auto" else config.model.attention
    at = {"device": device, "layers": layers, "dropped": _dropped(session, base)}
    return ModelShape(
        total, trained, layers, text.hidden_size, text.vocab_size, copies, code or "auto",
        weight_bits={"4bit": 4, "8bit": 8}.get(config.model.quantisation, 0),
        kept=kept_values(model, text, all_weights=session.full, dropout=bool(config.adapter.dropout), **at),
        pairs=kept_pairs(model, text, attention=code, **at),
        cached=cached_values(text),
        tuned=sum(layer.in_features * layer.out_features for _, layer in tuned_layers(model)),
    )


def _dropped(session: Session, base) -> set[str]:
    """Where the model drops values in a training step: nowhere in the stages whose trainer turns dropout off."""
    off = session.job.stage in WITHOUT_DROPOUT and session.config.trainer.get("disable_dropout", True)
    return set() if off else dropout.places(base, session.config.model.dropout)


def _tuned(session: Session, model):
    """The model with what will be trained, on the meta device: weights that are chosen, or an adapter."""
    if session.full:
        return adapter_weights.unfreeze(model, session.choice, session.task)
    if session.parent_adapter:
        return adapter_weights.like_parent(model, session.parent_adapter, task=session.task)
    return adapter_weights.new_adapter(model, session.choice, task=session.task, seed=0)
