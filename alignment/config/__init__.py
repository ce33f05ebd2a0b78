"""One strict schema a stage: `load`, `schema`, `describe`.

Sections and names are the same in every stage. A key nobody knows is refused with the nearest name, a value of the
wrong kind with what was expected, each with the place where it stands. Nothing here imports torch or TRL.

    >>> load("sft", sets=["training.learning_rate=1e-4"]).training.learning_rate
    0.0001
"""

from alignment.config.describe import describe, schema
from alignment.config.loading import load
from alignment.config.stages import DpoConfig, RewardConfig, SftConfig, StageConfig
from alignment.flags import FLAGS
from alignment.stages import STAGES

__all__ = ["FLAGS", "STAGES", "DpoConfig", "RewardConfig", "SftConfig", "StageConfig", "describe", "load", "schema"]
