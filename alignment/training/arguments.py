"""TRL's training arguments from our config and the hardware plan: what the suite owns, in one place."""

from __future__ import annotations

from alignment.data import Rendered
from alignment.hardware.plan import Plan
from alignment.session import Session, total_steps


def owned(session: Session, plan: Plan, train: Rendered, held_out: Rendered) -> dict:
    """Keyword arguments that every stage's TRL config gets; the user's `trainer:` section may not name them."""
    config, training = session.config, session.config.training
    evaluation = {"eval_strategy": "no"}  # or at each epoch's end: see EpochCallback
    if len(held_out) and training.eval_every is not None:
        evaluation = {"eval_strategy": "steps", "eval_steps": training.eval_every}
    return {
        **owned_of(session, plan, None if config.trainer.get("packing") else total_steps(session, train.an_epoch)),
        "max_steps": training.max_steps or -1,
        "max_length": None,
        **evaluation,
    }


def owned_of(session: Session, plan: Plan, steps: int | None) -> dict:
    """Those of a stage that counts its own steps; None where only the trainer will know them (packing)."""
    config, training = session.config, session.config.training
    return {
        "output_dir": str(session.job.run.checkpoints),
        "per_device_train_batch_size": plan.micro_batch,
        "per_device_eval_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "learning_rate": training.learning_rate,
        "num_train_epochs": training.epochs,
        "max_steps": steps or -1,
        "warmup_steps": warmup_steps(training.warmup, steps),
        "lr_scheduler_type": training.schedule,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "seed": training.seed,
        "data_seed": training.seed,
        "bf16": plan.precision == "bfloat16",
        "fp16": plan.precision == "float16",
        "gradient_checkpointing": plan.checkpointing,
        "use_cpu": plan.device == "cpu",
        "dataloader_pin_memory": plan.device == "cuda",
        "full_determinism": False,
        # Every step is logged: a mean over several steps is not the same after a resume in their middle.
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": list(config.report_to),
        "run_name": session.job.run.path.name,  # by which trackers tell runs apart
        # Rotation is ours, after the seal (see checkpoints.py).
        "save_strategy": "steps",
        "save_steps": training.save_every,
        "save_total_limit": None,
        "ddp_find_unused_parameters": False,  # every trained weight takes part in each step
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "push_to_hub": False,
    }


def warmup_steps(warmup: float, steps: int | None) -> float:
    """Warm-up in whole steps. transformers rounds a share up and begins at a rate of 0: a short run would train nothing
    in its first step, and a run of one step nothing at all. A share of less than two steps is therefore no warm-up."""
    if warmup >= 1:
        return int(warmup)
    if steps is None:  # packing: the trainer alone will know, and takes the share
        return warmup
    return whole if (whole := int(warmup * steps)) > 1 else 0


def one_device(arguments):
    """TRL's config, using one device in a direct run. With several GPUs in sight the Trainer would wrap the model in
    `nn.DataParallel`, which TRL refuses; several processes are asked for by `--gpus` or a launcher."""
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments
