"""Supervised instruction tuning: demonstrations in, a policy out.

    align sft --model Qwen/Qwen3-0.6B --data support.jsonl --output runs/sft
    align sft --model google/flan-t5-small --data summaries.jsonl --output runs/t5

Cross entropy on the assistant's tokens (and the stop token of each trained turn), averaged over all trained tokens of an
effective batch, whichever micro-batch or process they are in. `text` rows train every token: continued pretraining. An
encoder-decoder model (told by its config) reads what comes before an answer and is trained on the answer, by transformers'
Seq2SeqTrainer.
"""

from __future__ import annotations

from pathlib import Path

from alignment.job import Job, work

PARENTS = ("sft", "dpo", "ppo", "reward", "classify")
FIGURES = {"loss": ("eval_loss", "lower"), "accuracy": ("eval_mean_token_accuracy", "higher")}


def run(config, output: Path | str, *, restart: bool = False, dry_run: bool = False, ui=None) -> dict:
    """Runs or continues the stage; returns its summary. Raises as `alignment.job.work` does."""
    return work(
        "sft", "demonstrations", _tune, config, output, parents=PARENTS, restart=restart, dry_run=dry_run, ui=ui
    )


def _tune(job: Job) -> dict:
    from alignment import noise, session as desk
    from alignment.data import demonstration_row, target_rows
    from alignment.hardware.stage_plan import plan_hardware
    from alignment.result import finish
    from alignment.tasks import SEQ2SEQ
    from alignment.training import seq2seq
    from alignment.training.best import settle
    from alignment.training.loop import fit
    from alignment.transfer import drop_head

    session = desk.open_session(job, task=None)
    drop_head(session)
    noise.check(session)
    if apart := session.task == SEQ2SEQ:
        seq2seq.check_settings(session)
    train, held_out = desk.render(session, (target_rows if apart else demonstration_row)(session.renderer))
    watch = settle(job.config, len(held_out), FIGURES[job.config.training.watch])
    plan = plan_hardware(session, train, sequences=1)
    if job.dry_run:
        return desk.dry_summary(session, train, held_out, plan)
    make = seq2seq.make_trainer if apart else _trainer
    trainer = fit(session, plan, train, lambda plan: make(session, plan, train, held_out), watch)
    return finish(session, trainer, train)


def _trainer(session, plan, train, held_out):
    """TRL's SFTTrainer on rows that are rendered already, with step 0 checked."""
    from trl import SFTConfig

    from alignment import adapters, invariants
    from alignment.result import probe_rows
    from alignment.session import trainable_model
    from alignment.training.arguments import one_device, owned
    from alignment.training.trainers import SftTrainer

    config = session.config
    regular = {"neftune_noise_alpha": config.training.neftune_alpha}
    arguments = {**owned(session, plan, train, held_out), **regular, **config.trainer}
    if arguments.get("packing"):
        arguments["max_length"] = config.data.max_length  # the length of a pack; rows are cut to it already
    model = trainable_model(session, plan)
    if not session.full and not session.parent_adapter and adapters.kind(session.kind).identity:
        invariants.fresh_adapter_is_identity(model, [row[:64] for row in probe_rows(train)[:2]])
    trainer = SftTrainer(
        model=model,
        args=one_device(SFTConfig(**arguments)),
        train_dataset=train.dataset(),
        eval_dataset=held_out.dataset() if len(held_out) else None,
        processing_class=session.tokenizer,
        label_smoothing=config.training.label_smoothing,
        beside={"replay": session.general.dataset()} if session.general else {},
    )
    invariants.trained_tokens_agree(trainer.train_dataset, train)
    return trainer
