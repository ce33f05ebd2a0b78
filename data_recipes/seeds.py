"""Random numbers of a row that depend on the row alone, never on its neighbours, on batches or on what ran before."""

from __future__ import annotations

import hashlib


def row_seed(seed: int, *key: object) -> int:
    """A seed for one row from the run's seed and the row's key (its index, the sample's number).

    53 bits: larger numbers are rounded by JSON readers that keep numbers as doubles.
    """
    text = "/".join(map(str, (seed, *key)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11
