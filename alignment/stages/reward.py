"""Reward model: preference pairs in, a scalar score head on the same base out.

    align reward --model runs/sft --data pairs.jsonl --output runs/reward

Bradley-Terry: minus the mean of log sigmoid(r(chosen) - r(rejected) - margin) (Christiano et al. 2017, arXiv 1706.03741;
margins as in Llama 2, arXiv 2307.09288, equation 2). The adapter starts from the parent's, the head at zero, so that the
first loss is ln 2; head and adapter are saved together, and scores are taken at the stop token that ends each row.
"""

from __future__ import annotations

from pathlib import Path

from alignment.job import Job, work

PARENTS = ("sft", "dpo", "ppo")
FIGURES = {"loss": ("eval_loss", "lower"), "accuracy": ("eval_accuracy", "higher")}


def run(config, output: Path | str, *, restart: bool = False, dry_run: bool = False, ui=None) -> dict:
    """Runs or continues the stage; returns its summary. Raises as `alignment.job.work` does."""
    return work(
        "reward", "comparisons", _tune, config, output, parents=PARENTS, restart=restart, dry_run=dry_run, ui=ui
    )


def _tune(job: Job) -> dict:
    from alignment import session as desk
    from alignment.data import pair_row, use_margins
    from alignment.hardware.stage_plan import plan_hardware
    from alignment.result import finish
    from alignment.tasks import SCORE
    from alignment.training.best import settle
    from alignment.training.loop import fit

    session = desk.open_session(job, task=SCORE)
    margins = use_margins(job.rows.train + job.rows.validation)
    train, held_out = desk.render(session, pair_row(session.renderer, whole=True, margins=margins))
    watch = settle(job.config, len(held_out), FIGURES[job.config.training.watch])
    plan = plan_hardware(session, train, sequences=2)
    if job.dry_run:
        return desk.dry_summary(session, train, held_out, plan)
    trainer = fit(session, plan, train, lambda plan: _trainer(session, plan, train, held_out), watch)
    return finish(session, trainer, train)


def _trainer(session, plan, train, held_out):
    """TRL's RewardTrainer on rows that are rendered already, with step 0 checked."""
    from trl import RewardConfig

    from alignment import invariants
    from alignment.adapters.weights import float_head
    from alignment.session import trainable_model
    from alignment.training.arguments import one_device, owned
    from alignment.training.trainers import PairRewardTrainer

    config = session.config
    arguments = {
        **owned(session, plan, train, held_out),
        "center_rewards_coefficient": config.reward.center_coefficient or None,
        **config.trainer,
    }
    model = trainable_model(session, plan)
    trainer = PairRewardTrainer(
        model=model,
        args=one_device(RewardConfig(**arguments)),
        train_dataset=train.dataset(),
        eval_dataset=held_out.dataset() if len(held_out) else None,
        processing_class=session.tokenizer,
    )
    invariants.trained_tokens_agree(trainer.train_dataset, train)
    head = float_head(model)
    invariants.head_starts_at_zero(trainer, head, min(len(train), plan.micro_batch, 4))
    return trainer
