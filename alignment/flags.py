"""The command line's flags for settings, written once: the options of a stage and the errors that name them. Light."""

from __future__ import annotations

# Of the short ones: flag, key, what the help calls its value, help. Texts, not numbers: the schema checks them, so that
# --lr 1e-4 and training.learning_rate: 1e-4 meet the same rule.
SHORT_FLAGS: tuple[tuple[str, str, str, str], ...] = (
    ("--lr", "training.learning_rate", "NUMBER", "Peak learning rate; by default the stage's own."),
    ("--epochs", "training.epochs", "NUMBER", "Passes over the training rows."),
    ("--batch-size", "training.batch_size", "N", "Rows an optimizer step, over all devices."),
    ("--max-steps", "training.max_steps", "N", "Stop after so many optimizer steps instead."),
    ("--max-length", "data.max_length", "N", "Longest row in tokens."),
    ("--rank", "adapter.rank", "N", "Rank of the adapter's matrices."),
    ("--seed", "training.seed", "N", "Seed of split, order, adapter and dropout."),
    ("--max-rejected", "data.max_rejected", "SHARE", "Share of bad rows that may be dropped."),
    ("--validation", "data.validation", "FILE", "Held-out rows, instead of a split."),
    ("--max-hours", "hardware.max_hours", "H", "Refuse a run whose first steps say that it takes longer."),
    ("--max-gib", "hardware.max_gib", "N", "Refuse a run that needs more memory a process or GPU."),
)
NOUNS: dict[str, str] = {
    "model.path": "--model",
    "data.train": "--data",
    "ppo.reward": "--reward",
    "ppo.gold": "--gold",
    "classify.task": "--task",
}
FLAGS: dict[str, str] = {**NOUNS, **{key: flag for flag, key, _, _ in SHORT_FLAGS}}
