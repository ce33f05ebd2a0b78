"""Precision, checkpointing, threads and micro-batch: decided once from the machine, printed, recorded, overridable."""

from __future__ import annotations

import ctypes
import math
import os
import platform
from dataclasses import asdict, dataclass, field, replace

import torch

from data_recipes.errors import Refused

from alignment.hardware.memory import GIB, ModelShape, estimate
from alignment.training import processes

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHARE = 0.8  # of the free memory that the estimate may fill; the rest is fragmentation and what others take
LIBRARIES = 64 << 20
# glibc's mallopt(3): by default a freed block at the heap's end goes back to the system, and is paged in anew each step
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGEST_ON_HEAP = -1, -3, 32 << 20


@dataclass
class Plan:
    """The decisions, with their reasons, and the memory estimate in bytes by part."""

    device: str
    precision: str
    weights: str
    attention: str
    checkpointing: bool
    threads: int
    world: int
    micro_batch: int
    accumulation: int
    deterministic: bool
    estimate: dict[str, int] = field(default_factory=dict)
    free: int = 0
    reasons: list[str] = field(default_factory=list)
    held: int = 0  # bytes of this process before a model is loaded; on a GPU nothing

    @property
    def total(self) -> int:
        return sum(self.estimate.values())

    def as_dict(self) -> dict:
        return {**asdict(self), "estimate_total": self.total}

    def rows(self) -> list[tuple[str, str]]:
        """What is printed."""
        return [
            (
                "device",
                f"{self.device}, {_count(self.world, 'process', 'es')}, {_count(self.threads, 'thread', 's')} each",
            ),
            ("precision", f"{self.precision}, weights in {self.weights}"),
            ("attention", self.attention),
            ("gradient checkpointing", "on" if self.checkpointing else "off"),
            (
                "batch",
                f"{self.micro_batch} rows x {self.accumulation} accumulated x {self.world} = "
                f"{self.micro_batch * self.accumulation * self.world}",
            ),
            (
                "memory estimate",
                f"{self.total / GIB:.2f} GiB of {self.free / GIB:.1f} GiB free ("
                + ", ".join(f"{name} {size / GIB:.2f}" for name, size in self.estimate.items())
                + ")" + (f", beside {self.held / GIB:.2f} held already" if self.held else ""),
            ),
        ]


def _count(number: int, word: str, plural: str) -> str:
    return f"{number} {word}{plural if number > 1 else ''}"


def best_device(device: str = "auto") -> torch.device:
    """The device asked for; `auto` takes this process's accelerator where there is one and the launch uses it.

    Raises:
        Refused: the device asked for is not here.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present.get(device.partition(":")[0], True):
        raise Refused(
            f"there is no {device} device that torch can use here",
            where="hardware.device",
            expected="auto or cpu",
            do="Install the build of torch for it, or leave the device to be found.",
        )
    if device != "auto":
        return named_device(device)
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() in {"1", "true", "yes"}:  # `use_cpu: true` of a launch file
        return torch.device("cpu")
    if present["cuda"]:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("mps" if present["mps"] else "cpu")


def named_device(name: str) -> torch.device:
    """The device of a name such as `cuda:1`. Raises Refused for a name that torch does not know."""
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise Refused(f"there is no device '{name}'", where="device", expected="auto, cpu, cuda or mps") from error


def inference_dtype(asked: str, device: torch.device) -> str:
    """Weights' dtype for answering and scoring: `auto` is bf16 on a GPU that has it natively, float32 elsewhere."""
    if asked != "auto":
        return asked
    return "bfloat16" if device.type == "cuda" and native_bfloat16(device) else "float32"


def torch_dtype(name: str):
    """The torch dtype of a name; `auto` is float32, the dtype in which nothing is lost. Raises Refused for another name."""
    if name not in ("auto", *DTYPES):
        raise Refused(f"a dtype cannot be '{name}'", where="dtype", expected=f"auto, {', '.join(DTYPES)}")
    return DTYPES.get(name, torch.float32)


def native_bfloat16(device: torch.device) -> bool:
    """Whether bf16 is a native format of the device. On a CPU without it bf16 is 10 to 15 times slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def choose_precision(asked: str, device: torch.device) -> tuple[str, str]:
    """(precision, reason). On a CPU `auto` stays float32 even where bf16 exists: small models gain nothing from it."""
    if asked == "bfloat16" and not native_bfloat16(device):
        raise Refused(
            f"bfloat16 is not native on this {device.type}",
            where="hardware.precision",
            expected="auto or float32",
            do="It would be emulated and many times slower.",
        )
    if asked == "float16" and device.type == "cpu":
        raise Refused("float16 does not train on a CPU", where="hardware.precision", expected="auto or float32")
    if asked != "auto":
        return asked, "asked for"
    if device.type == "cuda" and native_bfloat16(device):
        return "bfloat16", "native on this GPU"
    return "float32", "exact on this device"


def weights_dtype(asked: str, precision: str, *, full: bool) -> str:
    """Dtype of the base's weights: `auto` is bf16 for a frozen base that computes in bf16, else float32."""
    if asked != "auto":
        return asked
    return precision if precision == "bfloat16" and not full else "float32"


def choose_threads(asked: str | int, device: torch.device) -> int:
    """Threads for this process: the cores that it may use, shared among the processes of this machine."""
    if asked != "auto":
        return int(asked)
    if os.environ.get("OMP_NUM_THREADS"):
        return int(os.environ["OMP_NUM_THREADS"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))) if device.type == "cpu" else min(cores, 8)


def free_memory(device: torch.device) -> int:
    """Free bytes on the device; for a CPU what the system can give without swapping."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available


def own_memory(device: torch.device) -> int:
    """Bytes that this process holds already where it shares the memory with what it loads; 0 on a GPU.

    TRL and the optimizer's code come later; what they take was measured on a model of no size.
    """
    if device.type == "cuda":
        return 0
    import psutil

    return psutil.Process().memory_info().rss + LIBRARIES


def choose_micro_batch(asked: str | int, per_process: int, fits) -> int:
    """The largest divisor of the rows per process that `fits(rows)`; at least 1."""
    if asked != "auto":
        if per_process % int(asked):
            raise Refused(
                f"{asked} rows do not divide the {per_process} rows of one process",
                where="hardware.micro_batch",
                expected="a divisor, so that the effective batch is kept",
            )
        return int(asked)
    divisors = [rows for rows in range(per_process, 0, -1) if per_process % rows == 0]
    return next((rows for rows in divisors if fits(rows)), 1)


def make_plan(
    hardware, shape: ModelShape, *, batch_size: int, length: int, sequences: int, attention: str, weights: str, full: bool
) -> Plan:
    """Decides everything for one run.

    Args:
        hardware: the config's `hardware` section.
        length: tokens of the longest row. sequences: model rows per data row (2 for a pair).
        weights: dtype of the base's weights as configured. full: whether they are trained.
    """
    device = best_device(hardware.device)
    precision, reason = choose_precision(hardware.precision, device)
    weights = weights_dtype(weights, precision, full=full)
    world = processes.world()
    if batch_size % world:
        raise Refused(
            f"{batch_size} rows cannot be shared among {world} processes",
            where="training.batch_size",
            expected=f"a multiple of {world}",
        )
    free, held = free_memory(device), own_memory(device)
    limit = math.inf if hardware.max_gib is None else hardware.max_gib * GIB
    room = min(SHARE * free, limit - held)

    def needs(rows: int, on: bool) -> dict[str, int]:
        return estimate(
            shape, rows=rows * sequences, length=length, precision=precision, weights=weights, checkpointing=on
        )

    on = hardware.checkpointing == "on"
    if hardware.checkpointing == "auto":  # only where one row does not fit without it
        on = sum(needs(1, False).values()) > room
    micro = choose_micro_batch(hardware.micro_batch, batch_size // world, lambda rows: sum(needs(rows, on).values()) <= room)
    plan = Plan(
        device.type,
        precision,
        weights,
        attention,
        on,
        choose_threads(hardware.threads, device),
        world,
        micro,
        batch_size // world // micro,
        hardware.deterministic,
        needs(micro, on),
        free,
        [f"precision: {reason}"],
        held,
    )
    if held + plan.total > limit:
        raise _beyond(plan, hardware.max_gib)
    _remark(plan)
    return plan


def _remark(plan: Plan) -> None:
    """Adds to a plan's reasons what a user might do about it."""
    if plan.device == "cuda" and plan.world == 1 and torch.cuda.device_count() > 1:
        plan.reasons.append(f"{torch.cuda.device_count()} GPUs are in sight and one is used; --gpus N uses more")
    if plan.total > plan.free:
        plan.reasons.append(
            "the estimate is above the free memory: shorten data.max_length or lower hardware.micro_batch"
        )


def _beyond(plan: Plan, gib: float) -> Refused:
    """The refusal of a plan whose estimate is above `hardware.max_gib`."""
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in {"process": plan.held, **plan.estimate}.items())
    ways = [] if plan.micro_batch == 1 else ["--set hardware.micro_batch=1"]
    ways += [] if plan.checkpointing else ["--set hardware.checkpointing=on"]
    return Refused(
        f"by the plan this takes {(plan.held + plan.total) / GIB:.2f} GiB ({parts}), rows at once: {plan.micro_batch}",
        where="hardware.max_gib", expected=f"at most {gib:g} GiB",
        do=f"What needs less: {', '.join([*ways, 'a shorter --max-length', 'model.quantisation=4bit', 'a smaller model'])}.",
    )


def apply(plan: Plan) -> None:
    """Sets threads, the heap and determinism for this process."""
    torch.set_num_threads(plan.threads)
    if plan.device == "cpu":
        keep_heap()
    if plan.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def keep_heap() -> bool:
    """Lets a process that trains on the CPU keep the memory that it frees; whether it could be asked for.

    A step's activations are freed and wanted again by the next step. Handed back in between, each page is cleared and mapped
    again: a third to two thirds of the page faults of a run on glibc, and up to a tenth of its time.
    """
    if platform.libc_ver()[0] != "glibc":  # macOS, Windows and musl have other allocators
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(M_TRIM_THRESHOLD, GIB), mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP)])


def half_micro_batch(plan: Plan) -> Plan:
    """The plan after an out-of-memory: half the micro-batch, twice the accumulation, the same effective batch."""
    micro = next(
        rows for rows in range(plan.micro_batch // 2, 0, -1) if (plan.micro_batch * plan.accumulation) % rows == 0
    )
    accumulation = plan.micro_batch * plan.accumulation // micro
    reasons = [*plan.reasons, f"out of memory: micro-batch {micro}, accumulation {accumulation}"]
    return replace(plan, micro_batch=micro, accumulation=accumulation, reasons=reasons)
