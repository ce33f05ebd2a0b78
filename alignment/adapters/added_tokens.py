"""Tokens that were added by name: rows for them in a model's embedding matrices, and their training beside an adapter.

PEFT trains single rows (`trainable_token_indices`) and keeps those alone in the adapter's file, not the whole matrices;
`AutoPeftModelForCausalLM` makes room for them by the size of the tokenizer that lies beside the adapter.
"""

from __future__ import annotations

import torch
from peft import PeftConfig, PeftModel

from data_recipes.errors import Refused

ROWS = "token_adapter.trainable_tokens_delta"  # how PEFT names the rows in an adapter's file


def check(session) -> None:
    """Raises Refused where new tokens were asked for and cannot be trained; says what they cost where they can.

    Demonstrations teach a token; pairs would move it from rows that nothing has trained. An adapter that is continued has
    no rows for them, and a quantised base has not been tried with them.
    """
    job, added = session.job, session.preparation.added
    if not session.config.model.add_tokens:
        return
    if job.stage != "sft":
        raise Refused(
            "tokens are added where demonstrations teach them",
            where="model.add_tokens",
            expected="align sft",
            do="Add them there; this stage then takes that run with its tokens. Or name tokens that the tokenizer has.",
        )
    if not added or session.full:
        return
    if job.source.is_adapter and session.config.adapter.on_parent != "merge":
        raise Refused(
            "the parent's adapter, which is continued, has no rows for new tokens",
            where="model.add_tokens",
            expected="a base model, or a fresh adapter on the merged parent",
            do="Say --set adapter.on_parent=merge, or add the tokens in the first stage.",
        )
    if session.config.model.quantisation != "none":
        raise Refused(
            "tokens are not added to a quantised base",
            where="model.add_tokens",
            expected="model.quantisation: none",
            do="Tune without quantisation, or use tokens that the tokenizer has.",
        )
    job.ui.warn(
        f"the adapter carries the {added} new embedding row(s) beside its matrices; vLLM does not take such an adapter as a "
        "LoRA module: serve what `align merge` writes"
    )


def grow(model: torch.nn.Module, size: int) -> None:
    """Makes room for `size` tokens; nothing happens where the matrices have spare rows already.

    New rows are the mean of the old ones, so that no new token is likelier than all others (Hewitt 2021, "Initializing new
    word embeddings for pretrained language models"). No random number is drawn: any process makes the same rows.
    """
    before = model.get_input_embeddings().weight.shape[0]
    if size <= before:
        return
    model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer is not None:
                layer.weight[before:] = layer.weight[:before].float().mean(dim=0).to(layer.weight.dtype)
                if getattr(layer, "bias", None) is not None:
                    layer.bias[before:] = layer.bias[:before].float().mean().to(layer.bias.dtype)


def layers(model: torch.nn.Module, tokens: tuple[int, ...]) -> dict[str, list[int]]:
    """PEFT's `trainable_token_indices`: the input embedding, and the output one where the two are not tied."""
    input_, output = model.get_input_embeddings(), model.get_output_embeddings()
    wanted = [input_] if output is None or output.weight is input_.weight else [input_, output]
    names = {id(module): name for name, module in model.named_modules()}
    return {names[id(module)].rpartition(".")[2]: list(tokens) for module in wanted}


def fit(model: torch.nn.Module, config: PeftConfig) -> None:
    """Prepares a model for an adapter that may carry rows of tokens, and its config for the model.

    A model with a score head has no output matrix: the rows for it are left out of the config.
    """
    carried = getattr(config, "trainable_token_indices", None)
    if not carried:
        return
    if isinstance(carried, dict):
        here = {name.rpartition(".")[2] for name, _ in model.named_modules()}
        carried = {name: ids for name, ids in carried.items() if name in here}
        config.trainable_token_indices = carried
    grow(model, 1 + max(max(ids) for ids in (carried.values() if isinstance(carried, dict) else [carried])))


def without_missing(state: dict[str, torch.Tensor], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """An adapter's tensors less the rows for a matrix that the model has not."""
    here = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    return {
        key: value
        for key, value in state.items()
        if ROWS not in key or key.partition(f".{ROWS}")[0].rpartition(".")[2] in here
    }


def show_bias(model: PeftModel) -> None:
    """Gives PEFT's wrapper of the output matrix the `bias` of what it wraps: TRL's fused head asks for it, and the wrapper
    hands on `weight` alone."""
    head = model.get_base_model().get_output_embeddings()
    wrapped = getattr(head, "token_adapter", None)
    if wrapped is not None:
        head.register_parameter("bias", wrapped.get_base_layer().bias)
