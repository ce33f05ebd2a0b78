"""Classification: labelled texts in, a model with a label head out; one class, several, a number, or a class for each word.

    align classify --model bert-base-uncased --data reviews.csv --output runs/sentiment
    align classify predict runs/sentiment --data new.csv --output labels.csv

A linear head on an encoder's pooled output or on a decoder's last token (Devlin et al. 2019; Radford et al. 2018), trained by
cross-entropy, by one yes-or-no loss a label, or by squared error. Unlike the papers it keeps the weights that were best on
held-out rows, split so that each class gives its share, and scales the logits by one temperature that was fitted there
(Guo et al. 2017, arXiv 1706.04599).
"""

from __future__ import annotations

from pathlib import Path

from alignment.job import Job, work

PARENTS = ("sft", "reward", "dpo", "ppo", "classify")


def run(config, output: Path | str, *, restart: bool = False, dry_run: bool = False, ui=None) -> dict:
    """Runs or continues the stage; returns its summary. Raises as `alignment.job.work` does."""
    return work(
        "classify", "labelled", _tune, config, output, parents=PARENTS, read=_read, restart=restart, dry_run=dry_run, ui=ui
    )


def _read(config, source, private):
    """The rows with what they are asked for; refused here is what no training could mend."""
    from alignment.labelling.checks import check_asked, known_labels
    from alignment.labelling.reading import read_labelled

    rows = read_labelled(config, private, known=known_labels(source))
    check_asked(config, rows.problem)
    return rows


def _tune(job: Job) -> dict:
    from alignment import session as desk
    from alignment.hardware.stage_plan import plan_hardware
    from alignment.labelling import rows as labelled
    from alignment.labelling.heads import settle_head, task_of_problem
    from alignment.labelling.outcome import Outcome
    from alignment.labelling.watching import figure_of
    from alignment.result import finish
    from alignment.training.best import settle
    from alignment.training.loop import fit

    problem, config = job.rows.problem, job.config
    session = desk.open_session(job, task=task_of_problem(problem))
    settle_head(session)
    made = labelled.encode(session, problem)
    plan = plan_hardware(session, made.train, sequences=1)
    if job.dry_run:
        return {**desk.dry_summary(session, made.train, made.held_out, plan), "classify": problem.as_dict()}
    watch = settle(config, len(made.held_out), figure_of(config.classify.metric, problem))
    trainer = fit(session, plan, made.train, lambda plan: _trainer(session, plan, made), watch)
    return finish(session, trainer, made.train, Outcome(session, made).conclude)


def _trainer(session, plan, made):
    """transformers' Trainer on encoded rows, with step 0 checked."""
    from transformers import TrainingArguments

    from alignment.labelling.checks import check_start
    from alignment.labelling.encoding import Collator
    from alignment.labelling.trainer import LabelTrainer, class_weights, float_heads, loss_of
    from alignment.labelling.watching import evaluated, only_logits
    from alignment.session import trainable_model
    from alignment.training.arguments import one_device, owned

    config, problem = session.config, made.problem
    arguments = {**owned(session, plan, made.train, made.held_out), "label_names": ["labels"], **config.trainer}
    del arguments["max_length"]  # of TRL's trainers
    weights = class_weights(config.classify.class_weights, problem, [one.target for one in made.examples])
    model = trainable_model(session, plan)
    float_heads(model)
    trainer = LabelTrainer(
        model=model,
        args=one_device(TrainingArguments(**arguments)),
        data_collator=Collator(session.tokenizer.pad_token_id, problem),
        train_dataset=made.train.dataset(),
        eval_dataset=made.held_out.dataset() if len(made.held_out) else None,
        processing_class=session.tokenizer,
        compute_loss_func=loss_of(problem, weights, config.training.label_smoothing),
        compute_metrics=evaluated(problem, made.scale),
        preprocess_logits_for_metrics=only_logits,
    )
    check_start(trainer, min(len(made.train), plan.micro_batch, 4))
    return trainer
