"""How far each policy went from a reference, and what it gained: the plane of reward and KL. Needs torch.

A reward says nothing without the distance that was paid for it (Gao, Schulman and Hilton 2023, arXiv 2210.10760). The KL can
only be estimated from answers drawn from the policy itself at temperature 1, so these are drawn beside those that the
comparison shows.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import numpy as np

from data_recipes.errors import Refused
from data_recipes.intervals import bootstrap_mean, mean_or_share

from alignment.evaluate import held_out
from alignment.evaluate.arms import Arm, finished
from alignment.evaluate.compare import pooled
from alignment.evaluate.policies import Sampling, answer, load_arm_member
from alignment.sources import resolve


def draw(question: Any, compared: list[Arm], prompts: list, ui: Any) -> tuple[dict, dict]:
    """Answers of each arm at temperature 1, and the KL of each arm from `question.kl_from`, shape (members, prompts).

    KL(policy || reference) is estimated by log p(answer) - log p_ref(answer), summed over the answer's tokens.

    Raises:
        Refused: the reference renders prompts to other tokens.
    """
    decoding = replace(question.decoding, temperature=1.0, top_p=1.0, top_k=0)
    sampling = Sampling(decoding, 1, question.batch_size)
    made, nats, rows = {}, {}, {}
    for arm in compared:
        for member in arm.members:
            loaded = load_arm_member(arm, member, question.how)
            drawn = answer(loaded, prompts, sampling)
            tokens = [_row(loaded, record, done[0]) for record, done in zip(prompts, drawn, strict=True)]
            made.setdefault(arm.name, []).append(drawn)
            rows.setdefault(arm.name, []).append(tokens)
            nats.setdefault(arm.name, []).append(_nats(loaded, tokens, question.batch_size))
            del loaded
            gc.collect()
    reference = load_arm_member(Arm("reference", ()), finished(resolve(question.kl_from)), question.how)
    ui.say(f"distance from {question.kl_from}, by answers drawn at temperature 1")
    _same_tokens(reference, prompts[0], rows[compared[0].name][0][0][0], question.kl_from)
    kl = {}
    for name, own in nats.items():
        theirs = [_nats(reference, tokens, question.batch_size) for tokens in rows[name]]
        kl[name] = np.array(theirs) - np.array(own)
    return made, kl


def describe(entries: list[dict], kl: dict, answers: dict, reference: str, seed: int) -> None:
    """Adds `plane` to each arm: KL in nats an answer and the mean of each reward on the same answers, with intervals."""
    for entry in entries:
        name = entry["name"]
        made = answers[name]
        scores = {reward: made.by_prompt(values) for reward, values in made.scores.items()}
        entry["plane"] = {
            "from": reference,
            "kl": bootstrap_mean(pooled(kl[name].mean(axis=0), made.prompts), seed=seed).as_dict(),
            "rewards": {reward: mean_or_share(values, seed=seed).as_dict() for reward, values in scores.items()},
        }


def _row(loaded: Any, record: Any, done: Any) -> tuple[list[int], list[bool]]:
    """Tokens of prompt and answer, and which of them the policy chose."""
    renderer = loaded.renderer(max_length=None)
    prompt = renderer.prompt(record.messages, record.tools)
    chosen = done.ids + ([done.stop] if done.stopped else [])
    return prompt + chosen, [False] * len(prompt) + [True] * len(chosen)


def _nats(loaded: Any, rows: list, batch_size: int) -> np.ndarray:
    pad_id = loaded.renderer(max_length=None).pad_id
    return np.array(held_out.row_losses(loaded.model, rows, pad_id=pad_id, batch_size=batch_size))


def _same_tokens(reference: Any, record: Any, ids: list[int], text: str) -> None:
    prompt = reference.renderer(max_length=None).prompt(record.messages, record.tools)
    if ids[: len(prompt)] != prompt:
        raise Refused(
            "the reference renders a prompt to other tokens than the first model",
            where=f"--kl-from {text}",
            expected="a model with the same tokenizer, template and system prompt",
        )
