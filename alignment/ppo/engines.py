"""TRL's own engines, by `trainer:` keys: what they need so that answers come from the very policy that is scored.

    use_vllm                              vLLM in the trainer's process, or a server of it
    use_transformers_continuous_batching  transformers' paged generation

vLLM holds a second copy of the base and is sent the policy's weights with its adapter folded in, before each rollout.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from peft import PeftModel

from data_recipes.errors import Refused

from alignment import adapters
from alignment.ppo.drawing import tuned_layers

VLLM, BATCHING = "use_vllm", "use_transformers_continuous_batching"
CACHE = "transformers_continuous_batching_config"


def check(session, plan) -> None:
    """Refuses engines that could not draw from the policy, before anything heavy is loaded.

    Raises:
        Refused: vLLM is not here, or cannot be sent this policy's weights; continuous batching in a precision in which it would
            change every role's weights.
    """
    asked = session.config.trainer
    if asked.get(VLLM):
        if importlib.util.find_spec("vllm") is None:
            raise Refused("vLLM is not installed", where=f"trainer.{VLLM}", expected="an installation of it on this machine",
                          do="pip install 'trl[vllm]', or leave it out: ppo.fast_rollout draws without it.")
        if why := _not_sent(session):
            raise Refused(f"vLLM is sent the policy's weights with its adapter folded in, and {why}", where=f"trainer.{VLLM}",
                          do="Leave it out: ppo.fast_rollout draws without it.")
    if asked.get(BATCHING):
        _check_batching(asked, plan)


def _check_batching(asked: dict, plan) -> None:
    """Adapters in their own dtype, and on a processor a cache of a size that somebody chose."""
    if plan.precision == "bfloat16":
        raise Refused("TRL's continuous batching casts every adapter to bfloat16 for good, the reference too",
                      where=f"trainer.{BATCHING}", do="Leave it out, or use trainer.use_vllm.")
    size = asked.get(CACHE) or {}
    if plan.device == "cpu" and "max_memory_percent" not in size and "num_blocks" not in size:
        raise Refused("on a processor continuous batching fills half of the machine's memory with its cache",
                      where=f"trainer.{BATCHING}", expected=f'a size for it, as trainer.{CACHE}={{"max_memory_percent": 0.05}}',
                      do="Or leave it out: ppo.fast_rollout draws without it.")


def _not_sent(session) -> str:
    """Why this policy's weights cannot be sent as a plain model's; empty where they can."""
    if session.config.model.quantisation != "none":
        return "each time that would round a quantised base anew"
    if session.full:
        return ""
    if not adapters.kind(session.kind).folds:
        return f"a {session.kind} does not fold"
    if session.parent_adapter and session.job.source.adapter_config().get("trainable_token_indices"):
        return "it carries embedding rows of added tokens, which vLLM's copy of the base has not"
    return ""


def prepare(arguments, stops: Sequence[int], rows: int) -> None:
    """Sets what TRL hands to vLLM: the policy's stop tokens and no others, and as many answers at once as are asked for.

    vLLM knows the end tokens of the base's folder alone; an answer would go on behind the chat template's. TRL lets it draw
    `per_device_train_batch_size * steps_per_generation` answers at once.
    """
    if arguments.use_vllm:
        arguments.generation_kwargs = {"stop_token_ids": list(stops), "ignore_eos": True}
        arguments.steps_per_generation = math.ceil(rows / arguments.per_device_train_batch_size)


@contextmanager
def lent(model) -> Iterator[None]:
    """Copies of the tuned layers' weights for a while; the very tensors of before are put back.

    To send them TRL adds the adapter to the base's weights and subtracts it again, which in bfloat16 leaves others behind at
    each rollout: under policy, reference, critic and reward alike, and nothing would say so.
    """
    layers = tuned_layers(model) if isinstance(model, PeftModel) else []
    held = [(p, p.data) for layer in layers for p in layer.get_base_layer().parameters(recurse=False)]
    try:
        for parameter, data in held:
            parameter.data = data.clone()
        yield
    finally:
        for parameter, data in held:
            parameter.data = data
        for layer in layers:
            layer.merged_adapters.clear()
