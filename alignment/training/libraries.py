"""Loads the libraries of a stage with the garbage collector at rest. Imported for that effect, before they are.

The imports make some million objects that stay. Python's collector walks them again and again as they grow, which is a
fifth of the time to the first step, and walks them all in each full collection of the training loop. Here it rests while
they load, and afterwards counts them as permanent (`gc.freeze`), as the standard library recommends for such objects.
"""

import gc

_was_on = gc.isenabled()
if _was_on:
    gc.collect()  # what is garbage now would otherwise be kept for ever
gc.disable()
try:
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401
    from transformers import Trainer  # noqa: F401
    from trl import SFTTrainer  # noqa: F401
finally:
    if _was_on:
        gc.freeze()
        gc.enable()
