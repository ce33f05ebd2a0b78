"""What a run takes at its peak, in bytes: weights, training, activations, logits, and what PPO's other roles add.

A transformer's activations are counted by `alignment.hardware.activations`; attention's matrices are among them only where
they are kept until the backward pass, which fused attention never does.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}  # bytes a number


@dataclass(frozen=True)
class ModelShape:
    """What the estimate needs to know of a model: parameters, trained ones, layers, hidden size, vocabulary."""

    parameters: int
    trained: int
    layers: int
    hidden: int
    vocabulary: int
    copies: int = 1  # whole models in memory: 2 where full tuning keeps a separate reference
    attention: str = "auto"  # the code that attention runs in, by transformers' names
    weight_bits: int = 0  # 4 or 8 for a quantised base, else 0
    kept: float = 0.0  # values a token that all layers keep for the backward pass (`activations`); 0: 17 hidden sizes a layer
    pairs: float = 0.0  # values a pair of a row's positions that all layers keep: attention's matrices
    whole_logits: int = 0  # positions of a row whose logits are held whole; 0 where they are made in tiles
    cached: int = 0  # values a token that all layers keep while answers are drawn
    tuned: int = 0  # numbers in the matrices that an adapter is beside
    beside: int = 0  # bytes of other models and adapters that are in memory all the time
    ungraded: int = 0  # bytes of the largest phase without gradients, which gives them back before an update

    @property
    def in_all_layers(self) -> float:
        """Values a token that all layers keep."""
        return self.kept or 17 * self.hidden * self.layers


def estimate(
    shape: ModelShape, *, rows: int, length: int, precision: str, weights: str, checkpointing: bool
) -> dict[str, int]:
    """Peak bytes by part for `rows` sequences of `length` tokens in one micro-batch."""
    tokens, width = rows * length, WIDTHS[precision]
    kept = width * (tokens * shape.in_all_layers + rows * length**2 * shape.pairs)
    if checkpointing:  # each layer's input, and one layer at a time made again
        kept = 2 * width * tokens * shape.hidden * shape.layers + kept / shape.layers
    parts = {
        "weights": int(shape.parameters * weight_bytes(shape, weights)) * shape.copies,
        "training": 12 * shape.trained,
        "activations": int(kept),
        "logits": logits_bytes(shape, rows, length),
    }
    working = parts["activations"] + parts["logits"]
    others = {"other roles": shape.beside, "drawing and scoring": max(0, shape.ungraded - working)}
    return {**parts, **{name: size for name, size in others.items() if size}}


def weight_bytes(shape: ModelShape, weights: str) -> float:
    """Bytes a parameter of the base; a quantised one keeps its scales too."""
    return shape.weight_bits / 8 * 1.1 if shape.weight_bits else WIDTHS[weights]


def logits_bytes(shape: ModelShape, rows: int, length: int) -> int:
    """Scores of tokens with their log-probabilities and gradients, float32: TRL's fused head works in tiles."""
    tile = min(rows * length, 4096) * min(shape.vocabulary, 32768)
    return 3 * 4 * (rows * shape.whole_logits * shape.vocabulary if shape.whole_logits else tile)


def drawing_bytes(shape: ModelShape, *, rows: int, length: int, width: int, folded: bool) -> int:
    """Peak bytes while `rows` answers are drawn: the cache (of one layer twice, while it grows), one layer's values of the
    prompts, the next token's scores four times, and the matrices of before where the adapter is folded into them."""
    tokens = rows * length
    cache = width * tokens * shape.cached * (1 + 1 / shape.layers)
    passing = width * tokens * shape.in_all_layers / shape.layers
    return int(cache + passing) + 4 * 4 * rows * shape.vocabulary + (4 * shape.tuned if folded else 0)


def scoring_bytes(shape: ModelShape, *, rows: int, length: int, width: int, logits: bool) -> int:
    """Peak bytes of a pass without gradients: one layer's values, the last hidden states, a logits' tile."""
    values = rows * length * (shape.in_all_layers / shape.layers + shape.hidden)
    return int(width * values) + (logits_bytes(shape, rows, length) if logits else 0)


def size_text(size: float) -> str:
    """1.25 GiB, 340 MiB, 12 KiB."""
    unit, name = next(((u, n) for u, n in ((GIB, "GiB"), (1 << 20, "MiB")) if size >= u), (1 << 10, "KiB"))
    return f"{size / unit:.2f} {name}" if size < 10 * unit else f"{size / unit:,.0f} {name}"
