"""How answers are decoded: one set of settings for generation, evaluation and chat. Light: no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from data_recipes.augment.generator import Sampling
from data_recipes.errors import Refused
from data_recipes.seeds import row_seed

__all__ = ["Decoding", "row_seed"]


@dataclass(frozen=True)
class Decoding(Sampling):
    """Settings of one decoding, greedy unless said; with a seed, which a recipe's requests have one each of.

    max_new_tokens: tokens at most, stop token included.
    temperature: 0 is greedy; else the logits are divided by it.
    top_p: the smallest set of tokens whose probability reaches it (nucleus sampling, Holtzman et al. 2020); 1 is off.
    top_k: the k most probable tokens; 0 is off.
    seed: the random numbers of each row come from it and the row's key, never from the batch.

    A folder's `generation_config.json` is not read: what is printed here is all that is applied.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seed < 0:
            raise Refused(f"seed cannot be {self.seed}", where="seed", expected="0 or more")

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0

    def check_samples(self, samples: int) -> None:
        """Raises Refused where several answers to one prompt would all be the same."""
        if samples > 1 and self.greedy:
            raise Refused(
                "several samples at temperature 0 would be the same answer",
                where="--samples",
                expected="a --temperature above 0",
                do="Take one sample, or sample.",
            )

    def as_dict(self) -> dict:
        """JSON-able settings, as recorded."""
        return asdict(self)

    def describe(self) -> str:
        """One line that says all settings."""
        if self.greedy:
            return f"greedy, at most {self.max_new_tokens} new tokens"
        return (
            f"sampling at temperature {self.temperature:g}, top_p {self.top_p:g}, top_k {self.top_k or 'off'}, "
            f"seed {self.seed}, at most {self.max_new_tokens} new tokens"
        )
