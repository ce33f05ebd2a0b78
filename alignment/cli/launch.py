"""`--gpus N`: the same command line, started by accelerate with one process a GPU."""

from __future__ import annotations

import os
import sys

from data_recipes.errors import Refused


def command(gpus: int, arguments: list[str]) -> list[str]:
    """The command that runs `align ARGUMENTS` in `gpus` processes on this machine.

    Everything accelerate would otherwise take from a config file of the user's is said here.
    """
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
    launcher += ["--num_processes", str(gpus), "--mixed_precision", "no", "--dynamo_backend", "no"]
    # Port 0 takes a free one, so that two launches on a machine do not meet.
    return [*launcher, "--main_process_port", "0", "-m", "alignment", *without_gpus(arguments)]


def without_gpus(arguments: list[str]) -> list[str]:
    """The arguments less `--gpus N` or `--gpus=N`."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip or argument == "--gpus" or argument.startswith("--gpus="):
            skip = argument == "--gpus"
            continue
        kept.append(argument)
    return kept


def check(gpus: int, present: int) -> None:
    """Refuses more GPUs than there are, and a launch inside a launch."""
    if "RANK" in os.environ:
        raise Refused(
            "--gpus starts processes, but this is one of several already",
            where="--gpus",
            do="Leave --gpus out under accelerate launch or torchrun",
        )
    if gpus > present:
        raise Refused(
            f"this machine has {present} GPUs",
            where=f"--gpus {gpus}",
            expected=f"at most {present}",
            do="For processor processes: accelerate launch --config_file configs/accelerate/ddp.yaml -m alignment ...",
        )


def gpus_present() -> int:
    """How many CUDA devices this process sees; imports torch, which the stage needs anyway."""
    import torch

    return torch.cuda.device_count()
