"""The model's own dropout (`model.dropout`), by whatever names its architecture has for it. Light until a model is checked.

Srivastava et al. 2014 (JMLR 15). The modules are built with the share and the config gets its own values back: what is saved
says nothing of how it was trained.
"""

from __future__ import annotations

from typing import Any

from data_recipes.errors import Failed, Refused

# Of heads for other uses, of adapters, and of one activation among several: not what is meant by a model's dropout.
OTHERS = ("classifier", "classif", "qa_", "summary", "adapter", "activation")


def fields(config: Any) -> dict[str, float]:
    """The dropout fields of a transformers config with their values: attention_dropout, resid_pdrop, dropout_rate, ..."""
    return {
        name: value
        for name, value in config.to_dict().items()
        if ("dropout" in name or name.endswith("_pdrop"))
        and isinstance(value, (int, float))
        and not any(other in name for other in OTHERS)
    }


def places(config: Any, share: float | None = None) -> set[str]:
    """What a training step drops of: `attention` (its weights), `residual` (what each block adds), `inner` (within the
    feed-forward part). share: of `model.dropout`, in place of the config's own."""
    active = [name for name, value in fields(config).items() if (value if share is None else share)]
    found = {"attention" if name.startswith(("attention", "attn")) else "residual" for name in active}
    return found | ({"attention", "inner"} if "dropout_rate" in active else set())  # T5 has one rate for everything


def fields_to_set(config: Any) -> dict[str, float]:
    """The same, where one is there at least. Raises Refused where the architecture has no dropout of its own."""
    found = fields(config)
    if not found:
        raise Refused(
            f"the architecture {config.model_type} has no dropout of its own", where="model.dropout",
            do="An adapter has one: --set adapter.dropout=0.1.",
        )
    return found


def restore(config: Any, before: dict[str, float]) -> None:
    """Gives a config its own values back, once the modules are built."""
    for name, value in before.items():
        setattr(config, name, value)


def has_effect(model: Any, share: float | None) -> None:
    """Two passes in training mode differ: the share has reached the modules. Draws from a copy of the random state.

    Raises:
        Failed: they do not, so that nothing would be dropped.
    """
    import torch

    if not share:
        return
    device, before = next(model.parameters()).device, model.training
    ids = torch.arange(8, device=device).unsqueeze(0)
    inputs = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    model.train()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.no_grad():
        first, second = (_last_hidden(model(input_ids=ids, **inputs, output_hidden_states=True)) for _ in range(2))
    model.train(before)
    if torch.equal(first, second):
        raise Failed(f"the model's dropout of {share} has no effect", where="model.dropout",
                     do="Leave it out; the adapter's dropout works with every architecture.")


def _last_hidden(output: Any) -> Any:
    """The last layer's outputs: a new score head is zero and would hide what is below it."""
    return (getattr(output, "decoder_hidden_states", None) or output.hidden_states)[-1]
