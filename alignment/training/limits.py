"""Beyond `hardware.max_hours` or `hardware.max_gib` a run is refused by its own first steps, with what was found and what
would fit. What the plan alone can tell is refused by `alignment.hardware.plan`, before anything is loaded.
"""

from __future__ import annotations

import math

import torch

from data_recipes.errors import Refused

from alignment import adapters
from alignment.cli.progress import duration
from alignment.hardware.memory import GIB
from alignment.hardware.plan import Plan
from alignment.runs import REFUSED
from alignment.session import Session
from alignment.training import processes
from alignment.training.checkpoints import sealed
from alignment.training.measure import (
    MeasureCallback,
    Schedule,
    Timing,
    as_facts,
    forward_share,
    peak_memory,
    step_units,
)


def measuring(session: Session, plan: Plan, trainer, start: int, total: int) -> MeasureCallback:
    """The callback that measures the first steps of this process, tells the person and holds the limits."""
    hours, gib, found = session.config.hardware.max_hours, session.config.hardware.max_gib, {}

    def on_memory(peak: int) -> None:
        found["peak"] = peak
        if gib is not None and peak > gib * GIB:
            _stop(session, too_much_memory(plan, peak, gib, session.full))

    def on_timing(timing: Timing) -> None:
        on_memory(int(agree(peak_memory(plan.device))))
        facts = {"steps": total, **as_facts(timing, found["peak"], plan.held + plan.total)}
        if processes.is_first():
            session.job.run.write(hardware={**plan.as_dict(), "measured": facts})
        session.job.ui.say(words(timing, found["peak"], plan))
        if hours is not None and agree(timing.hours) > hours:  # all processes stop, or none
            _stop(session, too_long(timing, start, total, hours))
        session.job.ui.measured(facts)

    def on_end(seconds: float) -> None:
        if processes.is_first():
            ended = {"took": round(seconds, 4), "peak_bytes_at_end": peak_memory(plan.device)}
            session.job.run.manifest["hardware"]["measured"].update(ended)

    def agree(value: float) -> float:
        if plan.world == 1:
            return value
        shared = torch.tensor([value], device=trainer.args.device, dtype=torch.float64)
        torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
        return float(shared.item())

    schedule = schedule_of(session, plan, trainer, start, total)
    return MeasureCallback(schedule, lambda: peak_memory(plan.device), on_memory, on_timing, on_end, agree)


def schedule_of(session: Session, plan: Plan, trainer, start: int, total: int) -> Schedule:
    """What the run has to do, in tokens where the suite orders the rows, else in steps."""
    import numpy as np

    every, period = trainer.args.eval_steps, 1
    if trainer.own_clock:
        return Schedule(np.ones(total), start, trainer.deal.steps, lambda step: step % every == 0 or step == total)
    units, held_out = step_units(trainer.order, total, plan.micro_batch), _held_out(session, plan, trainer)
    each = session.config.training.eval_every or math.ceil(len(trainer.order) / trainer.order.batch)
    # the last step is followed by an evaluation whatever the rhythm
    evaluates = (lambda step: step % each == 0 or step == total) if held_out else (lambda step: False)
    return Schedule(units, start, period, evaluates, held_out)


def _held_out(session: Session, plan: Plan, trainer) -> float:
    """Work of one evaluation in units of a training step, which count all processes; 0 where nothing is held out."""
    from alignment.training.loop import row_lengths

    if trainer.eval_dataset is None or not len(trainer.eval_dataset):
        return 0.0
    share = forward_share(all_weights=adapters.tunes_weights(session.config.adapter.kind), checkpointing=plan.checkpointing)
    return share * sum(row_lengths(trainer.eval_dataset))


def words(timing: Timing, peak: int, plan: Plan) -> str:
    """The estimate in one line."""
    each = f"{timing.seconds_per_evaluation:.2g} s"
    tests = f", {timing.evaluations} evaluation{'s' * (timing.evaluations != 1)} of {each}" if timing.evaluations else ""
    steps = f"{timing.counted} step" + "s" * (timing.counted != 1)
    return (f"measured over {steps}: {timing.seconds_per_step:.3g} s a step{tests}, about "
            f"{duration(timing.left)} left; peak memory {peak / GIB:.2f} GiB ({_planned(plan)})")


def _planned(plan: Plan) -> str:
    return f"planned {(plan.held + plan.total) / GIB:.2f}"


def too_long(timing: Timing, start: int, total: int, hours: float) -> Refused:
    """The refusal of a run that would take longer than `hours`."""
    per_step = timing.seconds_per_step + timing.evaluations * timing.seconds_per_evaluation / max(1, total - start)
    steps = start + int(hours * 3600 / per_step)
    return Refused(
        f"this run would take about {timing.hours:.3g} hours: {total - start} steps of {timing.seconds_per_step:.3g} s, by "
        f"{timing.counted} that were measured, and {timing.evaluations} evaluations of {timing.seconds_per_evaluation:.2g} s",
        where="hardware.max_hours", expected=f"at most {hours:g}",
        do=(f"About {steps} steps would fit (--max-steps {steps}). " if steps else "")
        + "Fewer epochs, a shorter --max-length or more devices (--gpus) shorten it too.",
    )


def too_much_memory(plan: Plan, peak: int, gib: float, full: bool) -> Refused:
    """The refusal of a run whose first step held more than `gib`."""
    fixed = plan.held + plan.estimate["weights"] + plan.estimate["training"]
    per_row = max(peak - fixed, 0) / plan.micro_batch
    rows = int((gib * GIB - fixed) / per_row) if per_row else 0
    per_process = plan.micro_batch * plan.accumulation
    rows = next((n for n in range(min(rows, plan.micro_batch - 1), 0, -1) if per_process % n == 0), 0)
    return Refused(
        f"the first step, which holds the longest row, took {peak / GIB:.2f} GiB ({_planned(plan)})",
        where="hardware.max_gib", expected=f"at most {gib:g} GiB", do=_smaller(plan, rows, full),
    )


def _smaller(plan: Plan, rows: int, full: bool) -> str:
    """What needs less memory, the mildest first."""
    if rows:
        return f"About {rows} rows at once would fit (--set hardware.micro_batch={rows}); the effective batch stays as it is."
    ways = [] if plan.checkpointing else ["--set hardware.checkpointing=on"]
    ways += ["a shorter --max-length", "adapter.kind=lora" if full else "model.quantisation=4bit", "a smaller model"]
    return f"What needs less: {', '.join(ways)}."


def _stop(session: Session, error: Refused) -> None:
    """Raises a refusal. A run of which nothing is kept may begin anew from anything; another one goes on later."""
    run = session.job.run
    if processes.is_first():
        run.write(state="interrupted" if sealed(run.checkpoints) else REFUSED, stopped_by=error.what)
    raise error
