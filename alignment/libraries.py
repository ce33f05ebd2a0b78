"""Loads torch, transformers and PEFT, sparing what they do twice or for nobody. Imported for that effect, before they are.

The imports are most of the time to the first step. Three things in them serve nobody:

- They make some million objects that stay. Python's collector walks them again and again as they grow, which is a fifth of
  the time to the first step, and walks them all in each full collection of the training loop. Here it rests while they
  load, and afterwards counts them as permanent (`gc.freeze`), as the standard library recommends for such objects.
- bitsandbytes, which PEFT loads wherever it is installed, compiles four functions as it is imported, and that alone loads
  TorchInductor (0.6 s). Here `torch.compile` of a plain function waits for its first call.
- transformers reads the sources of all its models to know what they hold, and then reads them again (0.25 s), since its memory
  of 128 folders is smaller than its 500 models. Here the second reading is answered from the first.
"""

import functools
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """No collection inside; what is there at the end is counted as permanent."""
    was_on = gc.isenabled()
    if was_on:
        gc.collect()  # what is garbage now would otherwise be kept for ever
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()


@contextmanager
def compiled_when_called() -> Iterator[None]:
    """Inside, `torch.compile` of a plain function gives one that is compiled when first called; a module is at once."""
    import torch

    real = torch.compile

    def deferred(model: Callable | None = None, **options):
        if model is None:
            return functools.partial(deferred, **options)
        if not isinstance(model, FunctionType):
            return real(model, **options)
        compiled = functools.cache(lambda: real(model, **options))
        return functools.wraps(model)(lambda *args, **kwargs: compiled()(*args, **kwargs))

    torch.compile = deferred
    try:
        yield
    finally:
        torch.compile = real


@contextmanager
def models_read_once() -> Iterator[None]:
    """Inside, what `transformers.models` holds is taken from the list that `import transformers` made and keeps."""
    import transformers
    from transformers.utils import import_utils

    real = import_utils.define_import_structure
    folder = Path(transformers.__file__).parent / "models"

    def remembered(module_path: str, **options):
        if options or Path(module_path) != folder / "__init__.py":
            return real(module_path, **options)
        own, all_names = {}, real(folder, prefix="models")  # the very call that `import transformers` made
        for backends, modules in all_names.items():
            if held := {key.removeprefix("models."): names for key, names in modules.items() if key.startswith("models.")}:
                own[backends] = held
        return own

    import_utils.define_import_structure = remembered
    try:
        yield
    finally:
        import_utils.define_import_structure = real


@contextmanager
def loading() -> Iterator[None]:
    """All three, for the imports inside."""
    with collector_at_rest(), compiled_when_called(), models_read_once():
        yield


with loading():
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401
