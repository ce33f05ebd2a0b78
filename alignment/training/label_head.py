"""Only positions with a label go through the language-model head, on devices where TRL scores them all.

TRL's fused head (`trl.trainer.utils.add_fused_lm_head`) leaves prompts and padding out on Triton devices only; elsewhere it
multiplies every position with the vocabulary and then masks. Here forward hooks, which torch offers for this, hand it the
labelled positions as one row of already shifted labels, which it takes as under context parallelism, and put its answers
back to their places. The values are the same up to the rounding of another matrix shape.
"""

from __future__ import annotations

import dataclasses

import torch
from peft import PeftModel

from alignment.data import IGNORED

COMPACT_HERE = ("cpu", "mps")  # cuda and xpu compact in Triton; others recompile for each new shape


class LabelHead:
    """Hooks on a model with TRL's fused head. `attach` keeps them for the life of the model.

    A call without `fused_lm_head=True`, or with labels that were shifted by the caller, goes through untouched.
    """

    def __init__(self) -> None:
        self.kept_BT: torch.Tensor | None = None  # true where the next token has a label; set during a call only

    def attach(self, model: torch.nn.Module, backbone: torch.nn.Module) -> None:
        """`model` is called by the trainer (a PeftModel calls what it wraps without hooks); `backbone` gives hidden states."""
        model.register_forward_pre_hook(self.shift, with_kwargs=True)
        backbone.register_forward_hook(self.gather)
        model.register_forward_hook(self.scatter, with_kwargs=True)

    def shift(self, model, args, kwargs):
        """Labels of shape (B, T+1) become the labelled ones alone, shape (1, N)."""
        self.kept_BT, labels = None, kwargs.get("labels")
        if not kwargs.get("fused_lm_head") or labels is None or kwargs.get("shift_labels") is not None:
            return None
        if labels.device.type not in COMPACT_HERE:
            return None
        following = labels[:, 1:]
        self.kept_BT = following != IGNORED
        return args, {**kwargs, "shift_labels": following[self.kept_BT].unsqueeze(0)}

    def gather(self, backbone, args, output):
        """Hidden states of shape (B, T+1, H) become those that predict a label, shape (1, N, H)."""
        if self.kept_BT is not None:
            output.last_hidden_state = output.last_hidden_state[:, :-1][self.kept_BT].unsqueeze(0)
        return output

    def scatter(self, model, args, kwargs, output):
        """Per-token answers of shape (1, N) go back to (B, T), zero where there is no label."""
        kept_BT, self.kept_BT = self.kept_BT, None
        if kept_BT is None:
            return output
        for field in dataclasses.fields(output):
            value = getattr(output, field.name)
            if isinstance(value, torch.Tensor) and value.dim() == 2:
                # masked_scatter keeps a batch without any label connected to the model, as TRL's own does
                setattr(output, field.name, value.new_zeros(kept_BT.shape).masked_scatter(kept_BT, value))
        return output


def attach_label_head(model: torch.nn.Module) -> None:
    """Attaches the hooks to a trainer's model, after TRL has given it the fused head.

    Not where PEFT puts virtual tokens before a row: the positions of hidden states and labels then differ.
    """
    if isinstance(model, PeftModel) and model.active_peft_config.is_prompt_learning:
        return
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    if causal.base_model is not causal:  # transformers' answer where a class names no backbone
        LabelHead().attach(model, causal.base_model)
