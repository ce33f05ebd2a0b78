"""Label smoothing through TRL's fused head: a target that leaves a share of its weight to all tokens of the vocabulary.

Szegedy et al. 2016, arXiv 1512.00567, section 7:  (1 - e) * -log p(y) + e * mean over v of -log p(v), for trained tokens only.

With logits z = s * (h W^T + b) this is -log p(y) + e * (z_y - mean over v of z_v), and the mean of the logits is the product
of the hidden state with the mean row of W. So the fused head stays as it is, no logits are made, and no second forward pass
(TRL's own way, which it has deprecated). Evaluation is not smoothed: its loss stays comparable.
"""

from __future__ import annotations

import torch
from peft import PeftModel

from data_recipes.errors import Refused

from alignment.data import IGNORED


def smoothing_term(hidden_NH, labels_N, weight_VH, bias_V=None, *, scale: float = 1.0) -> torch.Tensor:
    """z_y - mean over v of z_v for each position, shape (N,), float32; z = scale * (hidden weight^T + bias).

    By e times this label smoothing with weight e is more than the negative log-likelihood.
    """
    weight_NH = weight_VH[labels_N].float() - weight_VH.float().mean(0)
    term_N = (hidden_NH.float() * weight_NH).sum(-1)
    if bias_V is not None:
        term_N = term_N + bias_V[labels_N].float() - bias_V.float().mean()
    return scale * term_N


class SmoothedLabels:
    """Hooks that add `share` times the term to a trainer's per-token losses while the model is in training mode."""

    def __init__(self, share: float, head: torch.nn.Module, scale: float) -> None:
        self.share, self.head, self.scale = share, head, scale
        self.labels_BT: torch.Tensor | None = None  # set during a call in training only
        self.term_N: torch.Tensor | None = None

    def attach(self, model: torch.nn.Module, backbone: torch.nn.Module) -> None:
        """After the label head's hooks, which put answers back to their places, but before they take hidden states apart."""
        model.register_forward_pre_hook(self.remember, with_kwargs=True)
        backbone.register_forward_hook(self.measure, prepend=True)
        model.register_forward_hook(self.add)

    def remember(self, model, args, kwargs):
        labels = kwargs.get("labels")
        self.labels_BT = labels[:, 1:] if model.training and kwargs.get("fused_lm_head") and labels is not None else None

    def measure(self, backbone, args, output):
        if self.labels_BT is None:
            return
        kept_BT = self.labels_BT != IGNORED
        # from the right: a soft prompt's positions stand before the row's own
        hidden_BTH = output.last_hidden_state[:, -kept_BT.size(1) - 1 : -1]
        self.term_N = smoothing_term(
            hidden_BTH[kept_BT], self.labels_BT[kept_BT], self.head.weight, self.head.bias, scale=self.scale
        )

    def add(self, model, args, output):
        labels_BT, self.labels_BT = self.labels_BT, None
        if labels_BT is None:
            return output
        kept_BT, term_N, self.term_N = labels_BT != IGNORED, self.term_N, None
        added_BT = term_N.new_zeros(kept_BT.shape).masked_scatter(kept_BT, term_N)
        added_BT = torch.nn.functional.pad(added_BT, (output.log_probs.size(1) - added_BT.size(1), 0))
        output.log_probs = output.log_probs - self.share * added_BT
        return output


def attach_smoothing(model: torch.nn.Module, share: float) -> None:
    """Attaches the hooks to a trainer's model that has TRL's fused head.

    Raises:
        Refused: the logits of this architecture are no linear function of the hidden states.
    """
    causal = model.get_base_model() if isinstance(model, PeftModel) else model
    config = causal.config.get_text_config()
    if getattr(config, "final_logit_softcapping", None):
        raise Refused(f"label smoothing does not fit {config.model_type}: it caps its logits", where="training.label_smoothing",
                      do="Leave it at 0.")
    SmoothedLabels(share, causal.get_output_embeddings(), logit_scale(config)).attach(model, causal.base_model)


def logit_scale(config) -> float:
    """What an architecture multiplies its logits with, as TRL's fused head reads it from the config."""
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if getattr(config, name, None) is not None:
            return float(getattr(config, name))
    scaling = getattr(config, "logits_scaling", None)
    return 1.0 if scaling is None else float(scaling) if config.model_type == "hyperclovax" else 1.0 / scaling
