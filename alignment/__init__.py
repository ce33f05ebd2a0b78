"""Top floor: stages and the command line.

    from alignment import sft, reward_model, dpo, ppo_policy, load_run

The names are looked up when they are used, so that `import alignment` costs nothing. The environment is set here,
before anything imports torch, because OpenMP reads its settings once.
"""

import importlib
import os

from alignment.registering import register_with_peft

# Threads that spin beside a busy neighbour cost 1.5 to 90 times the time; libgomp reads this when torch loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
# TRL's trainers report themselves through huggingface_hub, which reads this one; not a default, telemetry is off.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"

_HOMES = {
    "sft": "alignment.api",
    "reward_model": "alignment.api",
    "dpo": "alignment.api",
    "ppo_policy": "alignment.api",
    "classify": "alignment.api",
    "sweep": "alignment.sweeping",
    "load_run": "alignment.models",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str):
    """Looks a public name up in its home module at first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'alignment' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])


register_with_peft()
