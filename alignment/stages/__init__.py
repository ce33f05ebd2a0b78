"""The stages: one file each, read from top to bottom. A stage never imports a stage."""

STAGES = ("sft", "reward", "dpo", "ppo", "classify")
