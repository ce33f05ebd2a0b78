"""Noise on the input embeddings while training (`training.neftune_alpha`): where it can be added. Light.

NEFTune, Jain et al. 2023 (arXiv 2310.05914): uniform noise of size alpha / sqrt(L d) for L tokens of width d. transformers adds
it by a hook on the embeddings, in training mode only, and takes the hook away at the end.
"""

from __future__ import annotations

from data_recipes.errors import Refused

VIRTUAL = ("prefix", "prompt")


def check(session) -> None:
    """Raises Refused where transformers would not find the embeddings: PEFT puts no tuner around what it only prompts."""
    if session.config.training.neftune_alpha and session.kind in VIRTUAL:
        raise Refused(
            "transformers does not find a model's embeddings beneath virtual tokens, so that it could add no noise",
            where=session.config.origin("training.neftune_alpha") or "training.neftune_alpha",
            do="Leave training.neftune_alpha out, or take another adapter.kind.",
        )
