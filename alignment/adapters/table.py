"""The table of kinds and stages that the README shows: `python -m alignment.adapters.table` prints it.

What it claims is what `alignment.adapters` refuses or not, and `make kinds` runs every cell of it: trains, saves, reloads to
the same outputs, resumes to the same bytes, feeds the next stage, merges where it says so.
"""

from __future__ import annotations

from alignment.adapters import FULL, HEAD, KINDS, kind, refusal

DECODERS, ENCODERS = ("llama", "qwen2", "gpt2"), ("bert", "roberta", "distilbert")
# transformers' model types of the families that are run for each stage
FAMILIES = {"sft": (*DECODERS, "t5"), "reward": DECODERS, "dpo": DECODERS, "ppo": DECODERS, "classify": (*DECODERS, *ENCODERS)}
ANSWERS = ("yes", "continued", "no")


def claim(stage: str, name: str, model_type: str) -> str:
    """One of `ANSWERS`; continued: a run's adapter of this kind can be trained further, a fresh one cannot."""
    if refusal(stage, name, fresh=False, model_type=model_type):
        return "no"
    return "continued" if refusal(stage, name, fresh=True, model_type=model_type) else "yes"


def cell(stage: str, name: str) -> str:
    """The claims of all families in a word, or the families that it holds for."""
    claims = {family: claim(stage, name, family) for family in FAMILIES[stage]}
    if len(set(claims.values())) == 1:
        return next(iter(claims.values()))
    refused = [family for family, found in claims.items() if found == "no"]
    if len(refused) <= len(claims) // 3:
        return f"not {', '.join(refused)}"
    return ", ".join(family for family in claims if family not in refused)


def merging(name: str) -> str:
    """Whether `align merge` folds it; a tuned model is whole already."""
    return "whole already" if name in (FULL, HEAD) else "yes" if kind(name).folds else "no"


def table() -> str:
    """The table in Markdown."""
    head = ["`adapter.kind`", *(f"`{stage}`" for stage in FAMILIES), "`merge`"]
    rows = [[f"`{name}`", *(cell(stage, name) for stage in FAMILIES), merging(name)] for name in KINDS]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])


if __name__ == "__main__":
    print(table())
