"""PPO with a critic: prompts and a reward in, a policy and its critic out.

    align ppo --model runs/sft --reward runs/reward --data prompts.jsonl --output runs/ppo

Schulman et al. 2017 (arXiv 1707.06347) as it is used on language models by Ziegler et al. 2019 (arXiv 1909.08593) and
Stiennon et al. 2020 (arXiv 2009.01325). It differs from them in that policy, reference, critic and reward model are
adapters on one frozen base, and in what becomes of the result: it is not the last policy but the one that was best on
held-out prompts, by a gold reward or within a budget of KL. At step 0 policy and reference are one model: every ratio is
exactly 1 and every KL exactly 0, and the critic says what the reward model says.
"""

from __future__ import annotations

import math
from pathlib import Path

from data_recipes.errors import Refused

from alignment.job import Job, split_seed, work

PARENTS = ("sft", "dpo", "ppo")
EVALUATIONS = 8  # a run, where training.eval_every does not say


def run(config, output: Path | str, *, restart: bool = False, dry_run: bool = False, ui=None) -> dict:
    """Runs or continues the stage; returns its summary. Raises as `alignment.job.work` does."""
    from alignment.ppo.tools import named_tools
    from alignment.rewards import named

    settings = config.ppo
    rewards = [("reward", named(text, base=config.model.base)) for text in settings.reward]
    gold = [("gold", named(settings.gold, flag="--gold", base=config.model.base))] if settings.gold else []
    tools = named_tools(settings.tools)

    def tune(job: Job) -> dict:
        return _tune(job, [reward for _, reward in rewards], gold[0][1] if gold else None, tools)

    return work("ppo", "prompts", tune, config, output, parents=PARENTS, rewards=rewards + gold, tools=tools,
                restart=restart, dry_run=dry_run, ui=ui)


def _tune(job: Job, rewards: list, gold, tools: list) -> dict:
    from alignment import session as desk
    from alignment.hardware.stage_plan import model_shape, plan_hardware
    from alignment.ppo.account import HEADER, account
    from alignment.ppo.finish import finish
    from alignment.ppo.tools import offer
    from alignment.tasks import CAUSAL
    from alignment.training.loop import fit

    session = desk.open_session(job, task=CAUSAL)
    reader = offer(session, tools)
    prompts: list = []
    train, held_out = desk.render(session, _prompt_row(session, prompts, tools))
    found = account(session, model_shape(session), rewards, gold, length=max(train.columns["length"]))
    plan = plan_hardware(session, train, sequences=1, shape=found.shape)
    job.ui.table("roles", found.rows(plan), HEADER)
    settle(session, plan, len(train), len(held_out))
    if job.dry_run:
        steps = total_steps(session, len(train))
        return {**desk.dry_summary(session, train, held_out, plan, steps=steps), "roles": found.as_dict(plan)}
    job.run.manifest.setdefault("roles", found.as_dict(plan))
    parts = prompts[: len(train)], prompts[len(train) :]
    trainer = fit(session, plan, train, lambda plan: _trainer(session, plan, parts, rewards, gold, reader, tools))
    return finish(session, trainer, train)


def _prompt_row(session, prompts: list, tools: list):
    """Columns of a prompt: its ids, and its length with the room for an answer. Each kept prompt goes to `prompts` too."""
    from alignment.ppo.rewards import RESERVED
    from alignment.ppo.tools import check_known
    from alignment.ppo.trainer import Prompted
    from alignment.session import load_base_config
    from data_recipes.records import BadRow

    renderer, room = session.renderer, session.config.ppo.max_new_tokens
    context = getattr(load_base_config(session).get_text_config(decoder=True), "max_position_embeddings", None)
    limit = session.config.data.max_length
    if context:  # the turn behind a tool's result is drawn at full length before it is cut
        limit = min(limit, context - (room if tools else 0))

    def one(record) -> dict:
        if tools:
            check_known(record.tools, tools)
        ids = renderer.prompt(record.messages, record.tools)
        if len(ids) + room > limit:
            raise BadRow("too-long", f"{len(ids)} tokens and an answer of {room} are more than {limit}")
        if taken := RESERVED & record.extra.keys():
            raise BadRow("reserved-column", f"a column named {', '.join(sorted(taken))} would hide what rewards are given")
        columns = {"tools": record.tools} if record.tools else {}
        messages = [turn.as_dict() for turn in record.messages]
        prompts.append(Prompted(messages, ids, record.where, {**record.extra, **columns}))
        return {"prompt_ids": ids, "length": len(ids) + room, "counts": {"tokens": len(ids)}}

    return one


def total_steps(session, prompts: int) -> int:
    """Optimizer steps of the whole run: whole rollouts, as many as pass over the prompts `training.epochs` times."""
    training, settings = session.config.training, session.config.ppo
    if training.max_steps:
        return training.max_steps
    rollouts = math.ceil(prompts * settings.samples * training.epochs / settings.rollout_size)
    return rollouts * settings.update_epochs * (settings.rollout_size // training.batch_size)


def settle(session, plan, prompts: int, held_out: int) -> None:
    """Says how often each prompt is answered, and refuses what only shows once rows and machine are known.

    Raises:
        Refused: nothing is held out to choose the best weights by; a warm-up that outlasts the run; a precision or engine whose
            log-probabilities would not be the policy's; weights that are spread over processes.
    """
    from alignment.ppo import engines
    from alignment.training import processes

    config, settings, steps = session.config, session.config.ppo, total_steps(session, prompts)
    each = settings.update_epochs * (settings.rollout_size // config.training.batch_size)
    rollouts = math.ceil(steps / each)
    part = "; the last rollout is used in part" if steps % each else ""
    answers = rollouts * settings.rollout_size
    session.job.ui.say(f"{steps} steps: {rollouts} rollout{'s' * (rollouts > 1)} of {settings.rollout_size} answers, "
                       f"{answers:,} answers to {prompts:,} prompts{part}")
    if not held_out and settings.keep == "best":
        raise Refused("no prompt is held out, so nothing can tell which weights are the best", where="data.validation_share",
                      expected="a share above 0, or --validation FILE", do="Or take the last weights: --set ppo.keep=last.")
    if settings.keep == "best" and not settings.gold and settings.kl_budget is None:
        session.job.ui.warn("the weights with the best reward are kept, however far from the reference: what is trained on can "
                            "be exploited. Name --gold, or --set ppo.kl_budget=NATS an answer")
    if settings.critic_warmup >= rollouts:
        raise Refused(f"the critic warms up for {settings.critic_warmup} rollouts and the run has {rollouts}",
                      where="ppo.critic_warmup", expected="fewer, so that the policy is trained too")
    if spread := processes.sharded():
        raise Refused(f"align ppo does not run under {spread}: its roles take turns on a base that each process holds whole",
                      where="accelerate launch", do="Launch with configs/accelerate/ddp-gpu.yaml, or say --gpus N.")
    if "max_tool_calling_iterations" in config.trainer and not settings.tools:
        raise Refused("there are no tools to call", where="trainer.max_tool_calling_iterations", expected="ppo.tools")
    if plan.precision == "float16":
        raise Refused("a ratio of probabilities loses too much in float16", where="hardware.precision",
                      expected="float32, or bfloat16 where the device has it", do="Say --set hardware.precision=float32.")
    engines.check(session, plan)


def _trainer(session, plan, parts, rewards, gold, reader, tools):
    """The trainer with all roles loaded and what must hold at step 0 checked."""
    from alignment.ppo import casting
    from alignment.ppo.checks import drawn_as_scored, first_rollout
    from alignment.ppo.rewards import AsTrl, Objective
    from alignment.ppo.rollout import Deal
    from alignment.ppo.tools import check_turns
    from alignment.ppo.trainer import PPOTrainer
    from reward.combine import RunningScale

    settings, training = session.config.ppo, session.config.training
    cast = casting.cast(session, plan, rewards, gold)
    casting.once_in_memory(cast.roles)
    probe = [prompt.ids for prompt in parts[0][:4]]
    casting.check_critic(cast, probe)
    casting.check_padding(cast, [prompt.messages for prompt in parts[0][:4]])
    watched = _scales(session, cast, rewards)
    running = RunningScale() if settings.normalise == "running" else None
    objective = Objective(cast.rewards, settings.combine, settings.weights, settings.deviations, running, settings.reward_clip)
    deal = Deal(settings.rollout_size, training.batch_size, plan.micro_batch, settings.update_epochs, training.seed,
                plan.world, training.group_by_length)
    functions = [AsTrl(reward, session.renderer, parts[0], tools=bool(tools)) for reward in cast.rewards]
    trainer = PPOTrainer(
        cast.roles, parts[0], objective, session.renderer, settings, deal, _rates(session),
        reward_functions=functions, args=_arguments(session, plan, len(parts[0])), tokenizer=reader,
        examiner=_examiner(session, cast, parts, watched), tools=[tool.running() for tool in tools] or None,
    )
    if tools:
        check_turns(trainer, session.renderer, tools[0].name)
    _pin(session, cast)
    first_rollout(trainer)
    for note in (trainer.drawing_note, drawn_as_scored(trainer)):
        if note:
            session.job.ui.say(note)
    return trainer


def _scales(session, cast, rewards) -> list:
    """Calibrates the rewards where that was asked for; returns the pairs that are watched."""
    from alignment.ppo import pairs as held
    from alignment.ppo.rewards import calibrate

    by_name, watched = {}, []
    for reward in rewards:
        found, why = held.held_out_pairs(reward.source)
        if reward.source is not None and not found:
            session.job.ui.warn(f"{reward.text}: no held-out pairs are watched, since {why}")
        by_name[reward.text], rest = held.halves(found, split_seed(session.config))
        watched = watched or rest
    recorded = session.job.run.manifest.setdefault("rewards", {})
    if session.config.ppo.normalise == "calibration":
        calibrate(cast.rewards, by_name.get, recorded, session.job.ui)
        if cast.critic_from == "reward":
            scale = next(r.scale for r in cast.rewards if r.role == "reward")
            cast.roles.heads["critic"].rescale(scale.mean, scale.std or 1.0)
    return watched


def _rates(session) -> dict[str, float]:
    training, settings = session.config.training, session.config.ppo
    return {"default": training.learning_rate, "critic": settings.critic_learning_rate or training.learning_rate}


def _arguments(session, plan, prompts: int):
    from alignment.ppo import engines
    from alignment.ppo.trainer import PpoArguments
    from alignment.training.arguments import one_device, owned_of

    settings = session.config.ppo
    steps = total_steps(session, prompts)
    every = session.config.training.eval_every or max(1, steps // EVALUATIONS)
    arguments = {
        **owned_of(session, plan, steps),
        "eval_strategy": "steps",
        "eval_steps": every,
        "max_completion_length": settings.max_new_tokens,
        "temperature": settings.temperature,
        "beta": 0.0,  # the reference is a role of ours
        "disable_dropout": True,
        "chat_template_kwargs": session.renderer.switches,
        **session.config.trainer,
    }
    made = one_device(PpoArguments(**arguments))
    engines.prepare(made, session.renderer.stop_ids, settings.generation_batch)
    return made


def _examiner(session, cast, parts, watched):
    from alignment.models import Loaded
    from alignment.ppo.examiner import Examiner
    from alignment.ppo.kept import Kept
    from alignment.ppo.pairs import rendered

    settings = session.config.ppo
    if not parts[1]:
        session.job.ui.warn("no prompt is held out: proxy and gold are measured on the prompts that are trained on")
    loaded = Loaded(cast.roles.policy, session.tokenizer, session.job.source, session.base, session.preparation)
    pairs = rendered(watched, {tuple(prompt.ids) for prompt in parts[0]}, session.renderer, session.job.ui)
    return Examiner(
        (parts[1] or parts[0])[: settings.eval_rows], cast.gold, pairs, loaded,
        session.config.training.seed, Kept(session.job.run.checkpoints), settings.keep, settings.kl_budget,
        session.job.run.private / "completions.jsonl", held_out=bool(parts[1]),
    )


def _pin(session, cast) -> None:
    """Records the reference's hash; another one than at the run's beginning is refused."""
    from alignment.ppo.casting import reference_hash
    from alignment.runs.reference import same_reference
    from alignment.training import processes

    seen = reference_hash(cast.roles, session)
    same_reference(session, session.job.run.manifest.setdefault("reference", seen), seen)
    if processes.is_first():
        session.job.run.write()
