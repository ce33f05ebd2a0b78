"""Losses of reward models as pure tensor functions, one value a pair: for report cards and the held-out loss of training."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def bradley_terry_losses(chosen_B: Tensor, rejected_B: Tensor, margin_B: Tensor | None = None) -> Tensor:
    """L_i = -log sigmoid(r(x_i, chosen_i) - r(x_i, rejected_i) - m_i), shape (B,); training takes their mean.

    Bradley and Terry (1952); Ouyang et al., InstructGPT, arXiv 2203.02155, equation 1 (with one pair a prompt); the
    margin m as in Touvron et al., Llama 2, arXiv 2307.09288, equation 2. Equal scores and no margin give ln 2.

    Args:
        chosen_B: scores of the chosen completions, shape (B,).
        rejected_B: scores of the rejected ones, shape (B,).
        margin_B: how much better the chosen one was said to be, shape (B,), or None.
    """
    _check(chosen_B, rejected_B)
    difference_B = chosen_B - rejected_B
    if margin_B is not None:
        _check(chosen_B, margin_B)
        difference_B = difference_B - margin_B
    return -F.logsigmoid(difference_B)


def centering_penalties(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """P_i = (r(x_i, chosen_i) + r(x_i, rejected_i))^2, shape (B,); weighed by `reward.center_coefficient`.

    Eisenstein et al., Helping or Herding, arXiv 2312.09244, section 2. The Bradley-Terry loss sees only differences,
    so the scores of each prompt may drift by a constant; this pulls their mean to zero.
    """
    _check(chosen_B, rejected_B)
    return (chosen_B + rejected_B).square()


def _check(first_B: Tensor, second_B: Tensor) -> None:
    assert first_B.ndim == 1 and first_B.shape == second_B.shape, (first_B.shape, second_B.shape)
    assert first_B.is_floating_point(), first_B.dtype
