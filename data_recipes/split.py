"""Held-out rows by prompt: rows with the same prompt are always on the same side.

Which side a prompt is on depends on its text and the seed alone, so rows that are added later move no other row.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_recipes import files
from data_recipes.records import Comparison, Message, Record, Text

SCALE = 1 << 64


def by_prompt(records: Sequence[Record], share: float, seed: int) -> tuple[list, list]:
    """Splits rows into (train, held out), both in their given order.

    Args:
        share: of the prompts to hold out, 0 to 1. The count is right on average only; from two different prompts on,
            both sides get one at least. With a single prompt nothing is held out.

    Raises:
        ValueError: a share outside of [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share must be at least 0 and below 1, not {share}")
    keys = [prompt_key(record) for record in records]
    held = _held_out(set(keys), share, seed)
    train = [record for record, key in zip(records, keys, strict=True) if key not in held]
    return train, [record for record, key in zip(records, keys, strict=True) if key in held]


def prompt_key(record: Record) -> str:
    """What two rows share if their prompts are the same: a hash, the same in every process.

    The prompt is what stands before the assistant's first turn, so two conversations that begin alike stay together
    though they go on differently. Spaces are levelled. Of a `Text` row the prompt is its text.
    """
    if isinstance(record, Text):
        return files.sha256_json([["text", _levelled(record.text)]])
    opening = record.prompt if isinstance(record, Comparison) else record.messages
    return files.sha256_json([[turn.role, _levelled(turn.content)] for turn in _before_answer(opening)])


def _held_out(keys: set[str], share: float, seed: int) -> set[str]:
    if share == 0 or len(keys) < 2:
        return set()
    drawn = {key: int(files.sha256_text(f"{seed}:{key}")[:16], 16) / SCALE for key in keys}
    held = {key for key, number in drawn.items() if number < share}
    in_order = sorted(keys, key=lambda key: (drawn[key], key))
    if not held:
        return {in_order[0]}
    return held - {in_order[-1]} if len(held) == len(keys) else held


def _before_answer(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    end = next((number for number, turn in enumerate(messages) if turn.role == "assistant"), len(messages))
    return messages[:end]


def _levelled(text: str) -> str:
    return " ".join(text.split())
