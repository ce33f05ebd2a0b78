"""One process or many: who decides, and how the others hear of it.

The first process alone takes the lock, reads what may continue, and writes files; what it decided, an error included, is
sent to the others, so that no process waits for one that has stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from data_recipes.errors import Refused

# How long a process waits for the others. NCCL's own ten minutes are over while the first one still hashes, saves or reads
# back a large model; a process that has died is noticed by the launcher and not by this.
PATIENCE = timedelta(hours=3)
MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}  # accelerate's words
HOW_TO_LAUNCH = "Use configs/accelerate/ddp.yaml (distributed_type MULTI_GPU, and use_cpu: true for CPUs)."


def world() -> int:
    """Number of processes started by a launcher; 1 for a direct run. Light: no torch."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_first() -> bool:
    """Whether this is the process that decides and writes."""
    return int(os.environ.get("RANK", 0)) == 0


def join(device: str) -> None:
    """Connects the processes of a launch. Raises Refused where accelerate's state does not agree with the launcher's.

    A MULTI_CPU configuration starts one process, and a wrong one starts two that never exchange a gradient.
    """
    if world() == 1:
        return
    from accelerate import PartialState

    from alignment.hardware.plan import best_device

    try:
        # accelerate joins processor processes only where it is told that they are; it does not look for itself.
        state = PartialState(cpu=best_device(device).type == "cpu", timeout=PATIENCE, **meeting_place())
    except ValueError as error:
        raise Refused(
            f"the launcher started {world()} processes that cannot join ({error})",
            where="accelerate launch",
            do=HOW_TO_LAUNCH,
        ) from error
    agree(world(), state.num_processes)


def again() -> int:
    """How often the launcher has started its processes anew (`--max_restarts`), since one of them ended with an error."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def meeting_place() -> dict[str, Any]:
    """What a launch that began anew gives to `init_process_group`: a part of the store of its own.

    PyTorch's launcher keeps one store over its restarts, in which the addresses of the processes that have ended still stand:
    the new ones would call there and be refused. DeepSpeed joins by itself and takes no store. Empty for a first launch.
    """
    if not again() or sharded() == "DeepSpeed":
        return {}
    from torch.distributed import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
    return {"store": PrefixStore(f"restart_{again()}", store), "rank": rank, "world_size": size}


def agree(started: int, joined: int) -> None:
    """Raises Refused where some of the processes would train alone."""
    if started != joined:
        raise Refused(
            f"the launcher started {started} processes, but accelerate sees {joined}",
            where="accelerate launch",
            expected="the same number",
            do=HOW_TO_LAUNCH,
        )


def agree_on(precision: str) -> None:
    """Raises Refused where the launch file has another precision than the plan: the Trainer would take that one, unsaid."""
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", MIXED[precision]):
        raise Refused(
            f"the launch file says mixed_precision: {asked}, and this run is planned in {precision}",
            where="accelerate launch",
            expected="mixed_precision: 'no'",
            do="hardware.precision decides; --mixed_precision no overrules the file.",
        )


def sharded() -> str:
    """What spreads a model's weights over the processes of this launch; empty where each process holds them all."""
    asked = {"FSDP": "ACCELERATE_USE_FSDP", "DeepSpeed": "ACCELERATE_USE_DEEPSPEED"}
    return next((name for name, key in asked.items() if os.environ.get(key, "").lower() in {"1", "true", "yes"}), "")


def first_decides(work: Callable[[], Any]) -> Any:
    """Runs `work` in the first process and gives its result, or raises its error, in all."""
    if world() == 1:
        return work()
    from accelerate.utils import broadcast_object_list

    box: list = [None, None]
    if is_first():
        try:
            box[0] = work()
        except Exception as error:  # sent on and raised below, in every process
            box[1] = error
    broadcast_object_list(box)
    if box[1] is not None:
        raise box[1]
    return box[0]


def wait() -> None:
    """All processes meet here."""
    if world() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def leave() -> None:
    """Takes the processes apart after their work: gloo's threads abort an interpreter that ends beneath them."""
    if world() > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()
        PartialState().destroy_process_group()
