"""The heavy half of a stage before training: tokenizer and template, rows as tokens, the plan, the model with its adapter.

A stage file calls these in order and adds what is its own. Nothing here knows which stage it serves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from alignment.training import libraries  # noqa: F401  (first: the heavy ones load faster by it)

import torch
import yaml
from peft import prepare_model_for_kbit_training

from data_recipes import hub
from data_recipes.errors import Refused
from data_recipes.seq2seq import AnyRenderer, make_renderer

from alignment import adapters, dropout, tasks
from alignment.adapters import weights as adapter_weights, added_tokens
from alignment.adapters import AdapterChoice
from alignment.data import Rendered, render_part
from alignment.hardware.plan import Plan
from alignment.job import Job
from alignment.merge import MergeRequest, merge
from alignment.models import (
    Loading,
    adapter_folder,
    load_base,
    load_config,
    load_tokenizer,
    quiet_libraries,
    set_special_ids,
)
from alignment.rendering import beyond_context, check_keys, check_template, renderer_options, within_context
from alignment.replay import PART, mixed, replay_counts
from alignment.runs import MERGE_RECORD, MERGED, check_base, describe_base, trained_in
from alignment.runs.opening import in_words
from alignment.sources import Source, base_of, resolve
from alignment.tasks import Task
from alignment.training import processes

INHERITED = ("system", "thinking", "train_on", "prefix")  # keys of the data section, see `rendering.renderer_options`
WITHOUT_DROPOUT = ("reward", "dpo", "ppo")  # whatever the parent's adapter had: TRL turns it off


@dataclass
class Session:
    """A job with its tokenizer, template, base and the adapter it continues."""

    job: Job
    task: Task | None
    tokenizer: object = None
    preparation: object = None
    renderer: AnyRenderer | None = None
    base: Source | None = None
    base_entry: dict = field(default_factory=dict)
    parent_adapter: Path | None = None
    new_head: bool = False  # whether the parent's head is left behind, since it is for other labels
    general: Rendered | None = None  # held-out rows of data.replay

    @property
    def config(self):
        return self.job.config

    @property
    def full(self) -> bool:
        """Whether the model's own weights are tuned, all or some of them."""
        return adapters.tunes_weights(self.config.adapter.kind)

    @property
    def kind(self) -> str:
        """The kind that is trained: the parent's, where its adapter is continued."""
        inherited = self.parent_adapter and not self.config.given("adapter.kind")
        return adapters.kind_of(self.job.source.adapter_config()) if inherited else self.config.adapter.kind

    @property
    def choice(self) -> AdapterChoice:
        section = self.config.adapter
        asked = {key: getattr(section, key) for key in adapters.SHAPING}
        usual = not self.config.given("adapter.targets") and "rank" not in adapters.kind(section.kind).keys
        targets = None if usual else section.targets if isinstance(section.targets, str) else tuple(section.targets)
        return AdapterChoice(**{**asked, "targets": targets, "trainable": tuple(section.trainable)}, tokens=self.new_tokens)

    @property
    def new_tokens(self) -> tuple[int, ...]:
        """Ids of the tokens that this stage adds; the tokenizer puts them at its end."""
        return tuple(range(len(self.tokenizer) - self.preparation.added, len(self.tokenizer)))


def open_session(job: Job, *, task: Task | None) -> Session:
    """Loads tokenizer and template and settles base and adapter lineage.

    task: what the model is made to do; None where it stays the kind of language model that its base is.

    Raises:
        Refused: the base changed, the template is not the parent's, or another adapter than the parent's is asked for
            without saying `adapter.on_parent: merge`.
    """
    quiet_libraries()
    session, model = Session(job, task), job.config.model
    session.base = base_of(job.source, base=model.base)
    check_base(job.source, session.base)
    if (task or tasks.language(load_base_config(session))) == tasks.CAUSAL:  # before an encoder's tokenizer lacks a template
        tasks.check_direction(load_base_config(session), session.base.name)
    session.tokenizer, session.preparation = load_tokenizer(
        job.source,
        trust_remote_code=model.trust_remote_code,
        add_tokens=tuple(model.add_tokens),
        task=task,
    )
    added_tokens.check(session)
    for note in session.preparation.notes:
        job.ui.say(note)
    check_template(job.source, session.preparation, adding=bool(model.add_tokens))
    if not (task and task.has_labels):  # a classifier reads plain text
        check_keys(job.config, encoder_decoder=session.preparation.encoder_decoder)
        options, base = renderer_options(job.source, job.config), load_base_config(session)
        options = within_context(options, base, job.ui.warn, taken=taken_positions(session))
        session.renderer = make_renderer(session.tokenizer, session.preparation, options)
        session.tokenizer.chat_template = session.renderer.template_to_save
    if job.source.is_adapter:
        settle_adapter(session)
    pin_base(session)
    if task is None:
        session.task = tasks.language(load_base_config(session))
    return session


def settle_adapter(session: Session) -> None:
    """Decides whether the parent's adapter is continued or merged into a new base."""
    job, section = session.job, session.config.adapter
    if section.on_parent == "merge":
        session.base = merged_base(session)
        return
    explicit = {key for key in adapters.SHAPING if job.config.given(f"adapter.{key}")}
    parent = job.source.adapter_config()
    if differing := adapters.conflicts(parent, session.choice, explicit, lambda targets: _layers(session, targets)):
        raise Refused(
            f"the parent's adapter is another one ({'; '.join(differing)})",
            where=job.source.text,
            expected="the parent's kind, rank and layers, which are continued without being named",
            do="To start a fresh adapter on the merged model say --set adapter.on_parent=merge.",
        )
    session.parent_adapter = adapter_folder(job.source)
    before = trained_in(job.source)
    if before != "none" == session.config.model.quantisation and not job.config.given("model.quantisation"):
        job.ui.warn(
            f"the parent was trained on its base in {before.replace('bit', ' bits')}, and this stage takes the base whole: "
            f"--set model.quantisation={before} goes on as before"
        )


def _layers(session: Session, targets: Any) -> set[str]:
    """Names of the base's layers that targets mean for the parent's adapter; found on the meta device."""
    base = load_base_config(session)
    task = session.task or tasks.language(base)
    base.update(task.settings())
    with torch.device("meta"):
        model = task.auto_class().from_config(base, trust_remote_code=session.config.model.trust_remote_code)
        return adapter_weights.layers_of(model, adapter_folder(session.job.source), targets, task=task)


def merged_base(session: Session) -> Source:
    """The parent's adapter folded into its base, as `align merge` does it, under the run; an altered one is refused."""
    job, model = session.job, session.config.model
    folder = job.run.path / MERGED
    if job.dry_run:
        return resolve(folder) if job.run.manifest and (folder / MERGE_RECORD).is_file() else session.base
    how = {"trust_remote_code": model.trust_remote_code}
    request = MergeRequest(model=job.source.text, output=folder, base=model.base, how=how)
    processes.first_decides(lambda: merge(request, job.ui))
    return resolve(folder)


def pin_base(session: Session) -> None:
    """Names the commit of a hub base, and refuses another base than the one that an interrupted run began with."""
    job = session.job
    if session.base.kind == "hub":
        commit = getattr(load_base_config(session), "_commit_hash", None)
        session.base = replace(session.base, revision=commit or session.base.revision)
        place = f", from the cache: {hub.closed()}" if hub.closed() else ""
        job.ui.say(f"base: hub model {session.base.hub_id} at {session.base.revision or 'its newest revision'}{place}")
    session.base_entry = describe_base(session.base, job.run.path)
    recorded = job.run.manifest.get("base")
    same = {"id", "revision", "hash"}
    if recorded and {key: recorded.get(key) for key in same} != {key: session.base_entry.get(key) for key in same}:
        raise Refused(
            "the base model is not the one this run began with",
            where=session.base.name,
            expected=f"{recorded.get('hash') or recorded.get('revision')}",
            do="Restore it, or start anew with --restart (the old run is kept beside).",
        )


def taken_positions(session: Session) -> int:
    """Positions of the model that virtual tokens, the parent's or fresh ones, take in front of each row."""
    source, section = session.job.source, session.config.adapter
    if source.is_adapter and section.on_parent == "continue":
        return source.adapter_config().get("num_virtual_tokens") or 0
    return section.virtual_tokens if "virtual_tokens" in adapters.kind(section.kind).keys else 0


def load_base_config(session: Session):
    """The transformers config of the base."""
    return load_config(session.base, trust_remote_code=session.config.model.trust_remote_code)


# ------------------------------------------------------------------------------------------------------------ rows, steps


def render(session: Session, one: Callable[[object], dict]) -> tuple[Rendered, Rendered]:
    """Renders training and held-out rows, prints the counts and the first row, and stops where rows are lost."""
    job, rows = session.job, session.job.rows
    train = render_part(rows.train, one, rows.ledgers["train"])
    if rows.replay:
        general = render_part(rows.replay, one, rows.ledgers[PART])
        session.general = render_part(rows.replay_held_out, one, rows.ledgers[PART])
        train = mixed(train, general, job.config.data.replay.share)
    held_out = render_part(rows.validation, one, rows.ledgers.get("validation", rows.ledgers["train"]))
    for ledger in rows.ledgers.values():
        ledger.check(job.config.data.max_rejected, None if job.dry_run else job.run.private)
    for note in rows.notes:
        job.ui.warn(note)
    parts = [train, held_out, *([session.general] if session.general else [])]
    if said := beyond_context(load_base_config(session), parts, taken=taken_positions(session)):
        job.ui.warn(said)
    show_data(session, train, held_out)
    return train, held_out


def show_data(session: Session, train: Rendered, held_out: Rendered) -> None:
    """One table of counts, and the first row by what is trained."""
    from data_recipes.show import counts_table, row_text

    job = session.job
    for ledger in job.rows.ledgers.values():
        for source in ledger.sources:
            job.ui.say(f"{source['path']}: {source['format']} ({source['why']})")
        for note in ledger.notes:
            job.ui.say(note)
    general = {}
    if train.general:
        general[f"general ({train.drawn} an epoch)"] = replay_counts(train)
        general["general, held out"] = session.general.counts
    job.ui.text(counts_table({"train": train.counts, "held out": held_out.counts, **general}, _rejected(job)))
    for remark in session.renderer.remarks():
        job.ui.warn(remark)
    job.ui.text(row_text(session.renderer, train.first))


def _rejected(job: Job) -> dict[str, int]:
    total: dict[str, int] = {}
    for ledger in job.rows.ledgers.values():
        for reason, count in ledger.rejected.items():
            total[reason] = total.get(reason, 0) + count
    return total


def total_steps(session: Session, rows: int) -> int:
    """Optimizer steps of the whole run, as the Trainer counts them."""
    training = session.config.training
    return training.max_steps or math.ceil(steps_per_epoch(session, rows) * training.epochs)


def steps_per_epoch(session: Session, rows: int) -> int:
    return math.ceil(rows / session.config.training.batch_size)


def dry_summary(session: Session, train: Rendered, held_out: Rendered, plan: Plan, *, steps: int | None = None) -> dict:
    """What `--dry-run` says; nothing was written. steps: of a stage that counts its own."""
    job, steps = session.job, steps or total_steps(session, train.an_epoch)
    parents = ", ".join(f"{parent['path']} ({parent['stage']})" for parent in job.parents) or "none"
    job.ui.say(yaml.safe_dump(as_it_ran(session), sort_keys=False, allow_unicode=True))
    packed = session.config.trainer.get("packing") and not session.config.training.max_steps
    shown = f"at most {steps}: packed rows are fewer" if packed else steps
    output = job.opening.as_dict()
    told = f"{output['path']}: {in_words(output)}"
    job.ui.table(
        "dry run: nothing was written",
        [("output", told), ("steps", shown), ("parents", parents), ("base", session.base.name)],
    )
    return {
        "dry_run": True,
        "stage": session.job.stage,
        "output": output,
        "config": as_it_ran(session),
        "parents": session.job.parents,
        "data": {"train": train.counts, "validation": held_out.counts, "ledgers": session.job.rows.totals()},
        "steps": steps,
        "hardware": plan.as_dict(),
    }


# ------------------------------------------------------------------------------------------------------------------ model


def loading(session: Session, plan: Plan) -> Loading:
    """How the base is loaded for training."""
    model = session.config.model
    return Loading(
        dtype=plan.weights,
        quantisation=model.quantisation,
        attention=model.attention,
        device=plan.device if plan.world == 1 else "auto" if plan.device == "cuda" else plan.device,
        trust_remote_code=model.trust_remote_code,
        base=model.base,
        dropout=model.dropout,
    )


def trainable_model(session: Session, plan: Plan) -> torch.nn.Module:
    """The base with the adapter to train (a copy of the parent's, or a fresh one), or the whole model."""
    if session.task.labels:
        torch.manual_seed(session.config.training.seed)  # of a head that is new
    model = load_base(session.base, loading(session, plan), task=session.task)
    if session.preparation.added:
        added_tokens.grow(model, len(session.tokenizer))
    set_special_ids(model, session.tokenizer, session.preparation)
    if session.new_head:
        adapter_weights.reset_head(model)
    dropout.has_effect(model, session.config.model.dropout)
    if session.full:
        return adapter_weights.unfreeze(model, session.choice, session.task)
    if session.config.model.quantisation != "none":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=plan.checkpointing)
        keep_gradients(model)
    if session.parent_adapter:
        share = session.config.adapter.dropout if session.config.given("adapter.dropout") else None
        return adapter_weights.continued_adapter(
            model, session.parent_adapter, task=session.task, dropout=share, new_head=session.new_head
        )
    return adapter_weights.new_adapter(model, session.choice, task=session.task, seed=session.config.training.seed)


def keep_gradients(model: torch.nn.Module) -> None:
    """Keeps 4-bit layers in the layout that has a backward pass.

    On processors with AVX512-BF16, bitsandbytes repacks a layer's weights the first time that it is asked without training
    (a check at step 0, an evaluation), and the repacked layer lets no gradient through: whatever lies below would silently
    stand still. The switch is an attribute of each layer.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def as_it_ran(session: Session) -> dict:
    """The settings with what came from the parent, so that as `--config` they make the same run again.

    What a file names overrules the parent: with the defaults written in place of what was inherited, a child made from this
    file would lose its parent's system prompt, or be refused for another rank than the parent's.
    """
    made, config = session.config.resolved(), session.config
    options = session.renderer.options if session.renderer else {}
    made["data"].update({key: options[key] for key in INHERITED if key in options and key in made["data"]})
    if options.get("tools") and not made["data"]["tools"]:
        del made["data"]["tools"]  # the parent's, of which there is no file: named as null they would be left out
    if session.parent_adapter:
        own = set(adapters.kind(session.kind).keys)
        if config.given("adapter.dropout") or config.stage in WITHOUT_DROPOUT:
            own -= {"dropout"}
        parent = adapters.describe(session.job.source.adapter_config())
        made["adapter"].update({key: parent[key] for key in own & parent.keys()}, kind=session.kind)
    return made


def facts(session: Session, plan: Plan) -> dict:
    """What the manifest says of base, template, data and machine from the first moment on."""
    job, preparation = session.job, session.preparation
    return {
        "config": as_it_ran(session),
        "base": session.base_entry,
        "task": session.task.entry(),
        "hardware": plan.as_dict(),
        "template": {
            "fingerprint": preparation.template_fingerprint,
            "rendering": session.renderer.fingerprint if session.renderer else None,
            "stop_ids": list(preparation.stop_ids),
            "options": session.renderer.options if session.renderer else {},
        },
        "special_tokens": preparation.special_tokens,
        "data": job.rows.totals(job.run.path),
        "seeds": {"training": session.config.training.seed},
        "versions": job.request["versions"],
    }
