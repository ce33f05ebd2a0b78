"""Direct preference optimisation: preference pairs in, a policy out.

    align dpo --model runs/sft --data pairs.jsonl --output runs/dpo

Rafailov et al. 2023, arXiv 2305.18290, equation 7, and the other losses that TRL offers by `dpo.loss_type`. The reference is
the parent policy: a frozen copy of its adapter (or of the whole model where the parent was tuned as a whole), pinned in the
manifest by hash, so that neither a resume nor a moved folder can change it. At step 0 policy and reference are one model:
every margin is 0, and the sigmoid loss is ln 2.
"""

from __future__ import annotations

from pathlib import Path

from alignment.job import Job, work

PARENTS = ("sft", "dpo", "ppo")
FIGURES = {"loss": ("eval_loss", "lower"), "accuracy": ("eval_rewards/accuracies", "higher")}


def run(config, output: Path | str, *, restart: bool = False, dry_run: bool = False, ui=None) -> dict:
    """Runs or continues the stage; returns its summary. Raises as `alignment.job.work` does."""
    return work("dpo", "comparisons", _tune, config, output, parents=PARENTS, restart=restart, dry_run=dry_run, ui=ui)


def _tune(job: Job) -> dict:
    from alignment import session as desk
    from alignment.data import pair_row
    from alignment.hardware.stage_plan import plan_hardware
    from alignment.result import finish
    from alignment.tasks import CAUSAL
    from alignment.training.best import settle
    from alignment.training.loop import fit

    session = desk.open_session(job, task=CAUSAL)
    train, held_out = desk.render(session, pair_row(session.renderer, whole=False, margins=False))
    watch = settle(job.config, len(held_out), FIGURES[job.config.training.watch])
    plan = plan_hardware(session, train, sequences=2, copies=2 if session.full else 1)
    if job.dry_run:
        return desk.dry_summary(session, train, held_out, plan)
    trainer = fit(session, plan, train, lambda plan: _trainer(session, plan, train, held_out), watch)
    _check_pinned(session, trainer)
    return finish(session, trainer, train)


def _trainer(session, plan, train, held_out):
    """TRL's DPOTrainer on rows that are rendered already, with the reference pinned and step 0 checked."""
    from trl import DPOConfig

    from alignment import invariants
    from data_recipes.errors import Refused
    from alignment.models import load_base
    from alignment.session import loading, trainable_model
    from alignment.training.arguments import one_device, owned
    from alignment.training.trainers import PairDpoTrainer

    config = session.config
    section = config.dpo
    arguments = {
        **owned(session, plan, train, held_out),
        "beta": section.beta,
        "loss_type": list(section.loss_type),
        "loss_weights": section.loss_weights,
        "label_smoothing": section.label_smoothing,
        "precompute_ref_log_probs": section.precompute_reference,
        **config.trainer,
    }
    if section.precompute_reference and plan.world > 1:
        raise Refused(
            "the reference can be scored beforehand in one process only",
            where="dpo.precompute_reference",
            do="Leave it out; it is then scored beside the policy, step by step.",
        )
    reference = load_base(session.base, loading(session, plan)).requires_grad_(False).eval() if session.full else None
    trainer = PairDpoTrainer(
        model=trainable_model(session, plan),
        ref_model=reference,
        args=one_device(DPOConfig(**arguments)),
        train_dataset=train.dataset(),
        eval_dataset=held_out.dataset() if len(held_out) else None,
        processing_class=session.tokenizer,
    )
    invariants.trained_tokens_agree(trainer.train_dataset, train)
    _pin(session, trainer)
    plain = (
        list(section.loss_type) == ["sigmoid"]
        and section.loss_weights in (None, [1.0])
        and not (config.trainer.get("use_weighting") or trainer.aux_loss_enabled)
    )
    invariants.margins_are_zero(trainer, min(len(train), plan.micro_batch, 4), plain=plain)
    return trainer


def _pin(session, trainer) -> None:
    """Makes the reference an exact copy of the parent and records its hash; another one than before is refused."""
    from alignment.adapters.weights import pin_reference
    from alignment.runs.reference import same_reference
    from alignment.training import processes

    if session.full:
        seen = {"kind": "model", "hash": session.base_entry["hash"] or f"{session.base.hub_id}@{session.base.revision}"}
    else:
        seen = {"kind": "adapter", "hash": pin_reference(trainer.accelerator.unwrap_model(trainer.model))}
    recorded = session.job.run.manifest.setdefault("reference", seen)
    same_reference(session, recorded, seen)
    if processes.is_first():
        session.job.run.write()


def _check_pinned(session, trainer) -> None:
    """The reference at the end is the one of the beginning: neither training nor a resume touched it."""
    from alignment.adapters.weights import adapter_state, state_hash
    from alignment.runs.reference import same_reference

    if not session.full:
        state = adapter_state(trainer.accelerator.unwrap_model(trainer.model), "ref")
        same_reference(session, session.job.run.manifest["reference"], {"kind": "adapter", "hash": state_hash(state)})
