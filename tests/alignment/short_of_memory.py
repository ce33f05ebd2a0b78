"""`python -m tests.alignment.short_of_memory ROWS PASSES sft ...`: align, with little memory in the second process of a launch.

After PASSES passes in training it raises torch's own error wherever more than ROWS rows come in at once.
"""

import os
import sys

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from alignment.cli import main

rows, passes = int(sys.argv[1]), int(sys.argv[2])
seen = 0


def refuse(module, inputs):
    """Called before each module: an embedding is the first that a batch meets."""
    global seen
    if not (isinstance(module, torch.nn.Embedding) and module.training and torch.is_grad_enabled()):
        return
    seen += 1
    if seen > passes and inputs[0].shape[0] > rows:
        raise torch.OutOfMemoryError("no memory")


if os.environ.get("RANK") == "1":
    register_module_forward_pre_hook(refuse)
sys.argv[1:3] = []
main()
