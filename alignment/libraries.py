"""Loads torch, transformers and PEFT, sparing what they do for nobody. Imported for that effect, before they are.

The imports are most of the time to the first step. Three things in them serve nobody:

- They make some million objects that stay. Python's collector walks them again and again as they grow, which is a fifth of
  the time to the first step, and walks them all in each full collection of the training loop. Here it rests while they
  load, and afterwards counts them as permanent (`gc.freeze`), as the standard library recommends for such objects. Not in a
  program that had loaded torch before: a trainer of its own would be counted too, and hold its GPU memory to the end.
- bitsandbytes, which PEFT loads wherever it is installed, decorates four functions with `torch.compile`, and that alone loads
  TorchInductor (0.5 s). Here the default backend is one that loads it when it compiles something.
- bitsandbytes warns on some processors that a kernel for 4-bit weights cannot be fetched, whether or not anything has 4 bits.
  Here its logger is silent while it loads, and as before afterwards.
"""

import gc
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


OURS = "torch" not in sys.modules


@contextmanager
def collector_at_rest(keep: bool = OURS) -> Iterator[None]:
    """No collection inside; with `keep` what is there at the end is counted as permanent."""
    was_on = gc.isenabled()
    if was_on and keep:
        gc.collect()  # what is garbage now would otherwise be kept for ever
    gc.disable()
    try:
        yield
    finally:
        if was_on and keep:
            gc.freeze()
        if was_on:
            gc.enable()


@contextmanager
def compiler_when_needed() -> Iterator[None]:
    """Inside, functions that are decorated with `torch.compile` get TorchInductor as ever, but load it at their first call."""
    import torch

    before = torch.compiler.get_default_backend()
    if before == "inductor":
        torch.compiler.set_default_backend(inductor)
    try:
        yield
    finally:
        torch.compiler.set_default_backend(before)


def inductor(graph, inputs: list, *, mode: str | None = None, options: dict | None = None) -> Callable:
    """TorchInductor as a backend of `torch.compile`, loaded here. Arguments as torch gives them to a backend."""
    from torch._inductor import list_mode_options
    from torch._inductor.compile_fx import compile_fx

    return compile_fx(graph, inputs, config_patches={**(list_mode_options(mode) if mode else {}), **(options or {})})


@contextmanager
def without_kernel_notice() -> Iterator[None]:
    """Inside, bitsandbytes says nothing below an error."""
    logger = logging.getLogger("bitsandbytes")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def loading() -> Iterator[None]:
    """All three, for the imports inside."""
    with collector_at_rest(), compiler_when_needed(), without_kernel_notice():
        yield


with loading():
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401
