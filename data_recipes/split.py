"""Held-out rows by prompt: rows with the same prompt are always on the same side.

Which side a prompt is on depends on its text and the seed alone, so rows that are added later move no other row.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from data_recipes import files
from data_recipes.records import Comparison, Labelled, Record, Tagged, Text, Unpaired

SCALE = 1 << 64
TRAIN = "train"


def by_prompt(records: Sequence[Record], share: float, seed: int) -> tuple[list, list]:
    """Splits rows into (train, held out), both in their given order.

    Args:
        share: of the prompts to hold out, 0 to 1. The count is right on average only; from two different prompts on,
            both sides get one at least. With a single prompt nothing is held out.

    Raises:
        ValueError: a share outside of [0, 1).
    """
    keys = [prompt_key(record) for record in records]
    part = assign(set(keys), {"held out": share}, seed)
    train = [record for record, key in zip(records, keys, strict=True) if part[key] == TRAIN]
    return train, [record for record, key in zip(records, keys, strict=True) if part[key] != TRAIN]


def assign(keys: set[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The part of each key: one of `shares`, or "train" for the rest.

    Each key draws a number by its text and the seed. The shares are right on average only; where there are keys enough,
    every part with a share gets one at least, and train too.

    Raises:
        ValueError: a share outside of [0, 1), or shares that leave nothing to train on.
    """
    if any(not 0 <= share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        raise ValueError(f"each share must be at least 0 and their sum below 1, not {dict(shares)}")
    wanted = [part for part, share in shares.items() if share]
    drawn = {key: int(files.sha256_text(f"{seed}:{key}")[:16], 16) / SCALE for key in keys}
    ordered = sorted(keys, key=lambda key: (drawn[key], key))
    if len(keys) <= len(wanted) or not wanted:
        return dict.fromkeys(keys, TRAIN)
    parts = {key: _part(drawn[key], shares) for key in ordered}
    for part in (*wanted, TRAIN):
        if part not in parts.values():
            ((donor, _),) = Counter(parts.values()).most_common(1)
            given = [key for key in ordered if parts[key] == donor]
            parts[given[-1] if part == TRAIN else given[0]] = part
    return parts


def stratified(records: Sequence[Record], strata: Sequence[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Splits rows into places (train, held out) so that each stratum gives its share; the same text is on one side only.

    Args:
        strata: of each row, its class say; a text that lies in several counts in that of its first row.
        share: of the texts of each stratum to hold out; from two texts on, each stratum is on both sides.

    Raises:
        ValueError: a share outside of [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"the share must be at least 0 and below 1, not {share}")
    keys = [prompt_key(record) for record in records]
    first = dict(zip(reversed(keys), reversed(strata), strict=True))  # of several rows with a text the first one's
    drawn: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key, stratum in first.items():
        drawn[stratum].append((files.sha256_text(f"{seed}:{key}"), key))
    held: set[str] = set()
    for inside in drawn.values():
        count = min(max(1, round(share * len(inside))), len(inside) - 1) if share else 0
        held.update(key for _, key in sorted(inside)[:count])
    return ([at for at, key in enumerate(keys) if key not in held], [at for at, key in enumerate(keys) if key in held])


def joined(groups: Iterable[Iterable[str]]) -> dict[str, str]:
    """Each key with the smallest of those that it may not be parted from, directly or over others.

    Args:
        groups: keys that belong together, one at least in each: the several prompts of one row, near-duplicate prompts.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for group in groups:
        first, *others = group
        for other in [first, *others]:
            one, two = sorted((root(first), root(other)))
            parent[two] = one
    return {key: root(key) for key in parent}


def prompt_key(record: Record) -> str:
    """What two rows share if their prompts are the same: a hash, the same in every process.

    The prompt is what stands before the assistant's first turn, so two conversations that begin alike stay together
    though they go on differently. Spaces are levelled. Of a `Text` row, and of a
    labelled one, the prompt is its text.
    """
    return files.sha256_json([[role, _levelled(text)] for role, text in _opening(record)])


def prompt_text(record: Record) -> str:
    """The words of the prompt, by which near ones are told; without a system message, which many rows share."""
    return "\n".join(text for role, text in _opening(record) if role != "system")


def _part(drawn: float, shares: Mapping[str, float]) -> str:
    bound = 0.0
    for part, share in shares.items():
        bound += share
        if drawn < bound:
            return part
    return TRAIN


def _opening(record: Record) -> list[tuple[str, str]]:
    """(role, text) of all that stands before the assistant's first turn."""
    if isinstance(record, (Text, Labelled, Tagged)):
        second = record.pair if isinstance(record, Labelled) else None
        return [("text", text) for text in (record.text, second) if text]
    messages = record.prompt if isinstance(record, (Comparison, Unpaired)) else record.messages
    end = next((number for number, turn in enumerate(messages) if turn.role == "assistant"), len(messages))
    return [(turn.role, turn.content) for turn in messages[:end]]


def _levelled(text: str) -> str:
    return " ".join(text.split())
