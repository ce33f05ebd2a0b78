"""The largest update first: memory that is too small shows before the first answer is drawn, not hours later."""

from __future__ import annotations

from itertools import cycle, islice

from transformers import TrainerCallback

from alignment.ppo.roles import CRITIC, POLICY
from alignment.ppo.rollout import Row, micro_batch


class LongestFirst(TrainerCallback):
    """Probes the longest rows once the Trainer has set the model up (gradient checkpointing is on by then)."""

    def __init__(self, trainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        probe(self.trainer)


def probe(trainer) -> None:
    """The passes of an update over a micro-batch of the longest prompts, each with the longest answer.

    Answers grow while a policy learns, so that the rows of the first rollouts tell nothing. A processor's heap takes its final
    form by it too: what smaller steps left behind has no place for larger blocks. Nothing is kept, no random number is drawn.
    """
    room, pad = trainer.settings.max_new_tokens, trainer.renderer.pad_id
    asked = islice(cycle(sorted((prompt.ids for prompt in trainer.prompts), key=len, reverse=True)), trainer.deal.micro)
    rows = [Row(0, ids, [pad] * room, [True] * room, True, []) for ids in asked]
    batch = micro_batch(rows, list(range(len(rows))), pad, trainer.accelerator.device)
    trainer.model.train()
    logps_BA, entropy_BA = trainer._logps(trainer.roles.module(POLICY), batch)
    loss = logps_BA.sum() + (entropy_BA.sum() if trainer.settings.entropy_coefficient else 0.0)
    if not trainer.roles.own_critic:
        loss = loss + trainer._values_seen(batch).sum()
    trainer.accelerator.backward(loss)
    if trainer.roles.own_critic:
        with trainer.roles.acting(CRITIC):
            trainer.accelerator.backward(trainer._values(CRITIC, batch).sum())
    trainer._forget(trainer.trained_parameters())
