"""Policies: answers to held-out prompts, and their scores. Needs torch once a model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alignment.evaluate.arms import Arm
from alignment.evaluate.compare import Answers, prompt_numbers
from alignment.evaluate.evidence import conversation_key
from alignment.generation.decoding import Decoding, row_seed
from alignment.sources import Source


@dataclass(frozen=True)
class Sampling:
    """How prompts are answered. samples: answers a prompt and member."""

    decoding: Decoding
    samples: int = 1
    batch_size: int = 16

    def seeds(self, prompts: int) -> list[int]:
        """A seed for each prompt and sample, the same for every arm: two equal policies answer equally."""
        return [row_seed(self.decoding.seed, i, k) for i in range(prompts) for k in range(self.samples)]


def load_arm_member(arm: Arm, member: Source, how: dict) -> Any:
    """The model; a base arm with the tokenizer and template of the run whose base it is."""
    from alignment.models import load_policy, load_tokenizer

    loaded = load_policy(member, **how)
    if arm.dressed_as is None:
        return loaded
    tokenizer, preparation = load_tokenizer(arm.dressed_as, trust_remote_code=how.get("trust_remote_code", False))
    options = ((arm.dressed_as.manifest or {}).get("template") or {}).get("options") or {}
    return replace(loaded, tokenizer=tokenizer, preparation=preparation, options=options)


def answer(
    loaded: Any, records: Sequence[Any], sampling: Sampling, on_batch: Callable | None = None
) -> list[list[Any]]:
    """Completions by prompt and sample."""
    from alignment.generation.batched import generate, reads_apart

    # an encoder reads inputs that are cut as in training; a decoder's prompt is never cut
    renderer = loaded.renderer() if reads_apart(loaded.model) else loaded.renderer(max_length=None)
    prompts = [renderer.prompt(record.messages, record.tools) for record in records for _ in range(sampling.samples)]
    where = [record.where for record in records for _ in range(sampling.samples)]
    settings = {key: value for key, value in sampling.decoding.as_dict().items() if key != "seed"}
    made = generate(
        loaded,
        prompts,
        **settings,
        seed=sampling.seeds(len(records)),
        batch_size=sampling.batch_size,
        renderer=renderer,
        where=where,
        on_batch=on_batch,
    )
    return [made[start : start + sampling.samples] for start in range(0, len(made), sampling.samples)]


def as_answers(members: list[list[list[Any]]], records: Sequence[Any]) -> Answers:
    """Arrays of shape (M, P, S) from completions by member, prompt and sample; records: the prompts' rows."""

    def array(of: Callable[[Any], float]) -> np.ndarray:
        return np.array([[[of(done) for done in row] for row in member] for member in members], dtype=np.float64)

    return Answers(
        array(lambda done: len(done.text)), array(lambda done: done.tokens), array(lambda done: done.stopped),
        prompts=prompt_numbers([conversation_key(record.messages) for record in records]),
    )


def score_members(scorer: Callable, members: list[list[list[Any]]], records: Sequence[Any]) -> np.ndarray:
    """Scores of shape (M, P, S). The scorer is called once a member with all rows, as TRL calls reward functions."""
    samples = len(members[0][0])
    prompts = [as_messages(record.messages) for record in records for _ in range(samples)]
    columns = columns_of(records, samples)
    scores = []
    for member in members:
        flat = [done for row in member for done in row]
        said = [[{"role": "assistant", "content": done.text}] for done in flat]
        scores.append(scorer(prompts, said, **columns, stopped=[done.stopped for done in flat]))
    return np.array(scores, dtype=np.float64).reshape(len(members), len(records), samples)


def as_messages(messages: Sequence[Any]) -> list[dict]:
    """Messages as plain dictionaries, the form that TRL gives to reward functions."""
    return [dict(turn) if isinstance(turn, dict) else turn.as_dict() for turn in messages]


def columns_of(records: Sequence[Any], samples: int) -> dict[str, list]:
    """The rows' other columns, each as long as the answers; a row without one has None there."""
    names = dict.fromkeys(name for record in records for name in record.extra)
    columns = {name: [record.extra.get(name) for record in records for _ in range(samples)] for name in names}
    if any(record.tools for record in records):
        columns["tools"] = [record.tools for record in records for _ in range(samples)]
    return {name: column for name, column in columns.items() if name not in ("prompts", "completions", "stopped")}


def sample_rows(
    compared: Sequence[Arm], prompts: Sequence[Any], made: dict, answers: dict, own: Sequence[str] = ()
) -> list[dict]:
    """One row a prompt with every answer to it and its scores; `own` are the rows' own answers, where they were looked at."""
    return [
        {
            "prompt": as_messages(record.messages),
            **({"columns": record.extra} if record.extra else {}),
            **({"reference": own[number]} if own else {}),
            "answers": [answer for arm in compared for answer in _answers(arm, number, made, answers)],
        }
        for number, record in enumerate(prompts)
    ]


def _answers(arm: Arm, prompt: int, made: dict, answers: dict) -> list[dict]:
    found = []
    for member, source in enumerate(arm.members):
        for sample, done in enumerate(made[arm.name][member][prompt]):
            scores = {name: float(values[member, prompt, sample]) for name, values in answers[arm.name].scores.items()}
            found.append(
                {
                    "arm": arm.name,
                    "model": source.text,
                    "sample": sample,
                    "text": done.text,
                    "stopped": done.stopped,
                    "tokens": done.tokens,
                    "scores": scores,
                }
            )
    return found
