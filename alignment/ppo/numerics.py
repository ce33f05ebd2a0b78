"""The arithmetic of PPO as pure tensor functions: no config, no device, no logger.

Shapes: B rows (one completion each), T actions (tokens that the policy chose, packed to the left), `keep_BT` true where
there is an action. Tokens that a tool wrote are no actions and are left out before the tensors are made.

Of "The N implementation details of RLHF with PPO" (Huang et al., ICLR blog 2024) these are kept: the score at the last token
and the penalty for an answer without a stop token; the penalty of KL per token inside the reward, with a coefficient that
may be steered to a target; GAE over tokens without discount; whitened advantages over real tokens alone, and whitened
rewards without shifting the mean on request; clipped ratio and clipped value; dropout off everywhere, so that the first
ratio is exactly 1; log-probabilities at the sampling temperature. Not kept: Adam with TensorFlow's epsilon (torch's
AdamW is used), reward gain and bias fitted before the start (a reward run's own held-out scores give the scale), a value
head of random weights (it starts from the reward head or at zero), prompts padded to one length (rows are packed to the
right, so positions are those of a row alone), and a loss averaged by padded length (all means are over actions).
"""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-8
ESTIMATORS = ("k1", "k2", "k3")


def masked_mean(x_BT: Tensor, keep_BT: Tensor) -> Tensor:
    """mean = sum(x * keep) / sum(keep), a scalar; 0 where nothing is kept."""
    _same_shape(x_BT, keep_BT)
    return torch.where(keep_BT, x_BT, 0.0).sum() / keep_BT.sum().clamp(min=1)


def masked_variance(x_BT: Tensor, keep_BT: Tensor) -> Tensor:
    """var = sum((x - mean)^2 * keep) / (sum(keep) - 1), the sample's variance; 0 where one or no value is kept."""
    _same_shape(x_BT, keep_BT)
    deviation_BT = torch.where(keep_BT, x_BT - masked_mean(x_BT, keep_BT), 0.0)
    return deviation_BT.square().sum() / (keep_BT.sum() - 1).clamp(min=1)


def whiten(x_BT: Tensor, keep_BT: Tensor, *, shift_mean: bool = True) -> Tensor:
    """(x - mean) / sqrt(var + 1e-8) over kept values; without `shift_mean` the mean is added again. Others become 0.

    Ziegler et al. 2019 (arXiv 1909.08593) whiten advantages so, and rewards without shifting their mean.
    """
    mean = masked_mean(x_BT, keep_BT)
    whitened_BT = (x_BT - mean) * torch.rsqrt(masked_variance(x_BT, keep_BT) + EPSILON)
    return torch.where(keep_BT, whitened_BT if shift_mean else whitened_BT + mean, 0.0)


def place_scores(scores_B: Tensor, keep_BT: Tensor) -> Tensor:
    """Each row's score at its last action, 0 elsewhere; shape (B, T). Stiennon et al. 2020 (arXiv 2009.01325).

    Raises:
        ValueError: a row without any action; its score would have no place.
    """
    _packed_left(keep_BT)
    if not keep_BT.any(dim=1).all():
        raise ValueError("a row has no action, so its score has no place")
    assert scores_B.shape == keep_BT.shape[:1], (scores_B.shape, keep_BT.shape)
    last_B1 = keep_BT.sum(dim=1, keepdim=True) - 1
    return torch.zeros(keep_BT.shape, dtype=scores_B.dtype, device=scores_B.device).scatter(1, last_B1, scores_B[:, None])


def kl_estimate(logps_BT: Tensor, ref_logps_BT: Tensor, kind: str) -> Tensor:
    """Estimates of KL(policy || reference) at each action sampled from the policy; shape (B, T).

    With x = log p_ref - log p (Schulman, Approximating KL divergence, 2020):
        k1 = -x                unbiased, may be negative;
        k2 = x^2 / 2           biased, low variance, its gradient is that of the KL;
        k3 = exp(x) - 1 - x    unbiased, never negative.
    """
    _same_shape(logps_BT, ref_logps_BT)
    x_BT = ref_logps_BT - logps_BT
    if kind == "k1":
        return -x_BT
    if kind == "k2":
        return x_BT.square() / 2
    if kind == "k3":
        return torch.expm1(x_BT) - x_BT
    raise ValueError(f"no estimator '{kind}'; one of {', '.join(ESTIMATORS)}")


def shaped_rewards(scores_B: Tensor, kl_BT: Tensor, keep_BT: Tensor, *, coefficient: float) -> Tensor:
    """r_t = score at the last action - coefficient * kl_t; shape (B, T).

    Ziegler et al. 2019 (arXiv 1909.08593), equation 2; a coefficient of 0 leaves the score alone.
    """
    _same_shape(kl_BT, keep_BT)
    return torch.where(keep_BT, place_scores(scores_B, keep_BT) - coefficient * kl_BT, 0.0)


def gae(rewards_BT: Tensor, values_BT: Tensor, keep_BT: Tensor, *, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantages and the returns that the critic learns; (advantages_BT, returns_BT), 0 beyond a row's end.

        delta_t = r_t + gamma * V_{t+1} - V_t,  V = 0 after the last action
        A_t = delta_t + gamma * lam * A_{t+1};  return_t = A_t + V_t

    Schulman et al. 2015 (arXiv 1506.02438), equation 16. An answer that was cut at its limit ends there too: the policy
    cannot write further, and its score was given.
    """
    _same_shape(rewards_BT, values_BT, keep_BT)
    _packed_left(keep_BT)
    values_BT = torch.where(keep_BT, values_BT, 0.0)
    after_BT = torch.cat([values_BT[:, 1:], torch.zeros_like(values_BT[:, :1])], dim=1)
    delta_BT = torch.where(keep_BT, rewards_BT + gamma * after_BT - values_BT, 0.0)
    advantages_BT = torch.zeros_like(delta_BT)
    following_B = torch.zeros_like(delta_BT[:, 0])
    for t in range(delta_BT.shape[1] - 1, -1, -1):
        following_B = delta_BT[:, t] + gamma * lam * following_B
        advantages_BT[:, t] = following_B
    return advantages_BT, torch.where(keep_BT, advantages_BT + values_BT, 0.0)


def policy_loss(logps_BT: Tensor, old_logps_BT: Tensor, advantages_BT: Tensor, keep_BT: Tensor, *, clip: float,
                weights_BT: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Clipped surrogate as a sum over actions, and sums for the log; the caller divides by the number of actions.

        ratio = exp(log p - log p_old);  loss = -min(ratio * A, clamp(ratio, 1 - clip, 1 + clip) * A)

    Schulman et al. 2017 (arXiv 1707.06347), equation 7. `weights_BT` corrects for a sampler whose distribution is not
    quite the scored one (truncated importance sampling); None is 1.

    Returns:
        (loss, {"clipped": actions whose gradient the clip cut, "approx_kl": sum of k3 from old to new, "ratio": sum}).
    """
    _same_shape(logps_BT, old_logps_BT, advantages_BT, keep_BT)
    log_ratio_BT = torch.where(keep_BT, logps_BT - old_logps_BT, 0.0)
    ratio_BT = log_ratio_BT.exp()
    plain_BT, cut_BT = ratio_BT * advantages_BT, ratio_BT.clamp(1 - clip, 1 + clip) * advantages_BT
    each_BT = -torch.minimum(plain_BT, cut_BT)
    each_BT = each_BT if weights_BT is None else each_BT * weights_BT
    with torch.no_grad():
        seen = {
            "clipped": (keep_BT & (cut_BT < plain_BT)).sum(),
            "approx_kl": torch.where(keep_BT, torch.expm1(log_ratio_BT) - log_ratio_BT, 0.0).sum(),
            "ratio": torch.where(keep_BT, ratio_BT, 0.0).sum(),
        }
    return torch.where(keep_BT, each_BT, 0.0).sum(), seen


def value_loss(values_BT: Tensor, old_values_BT: Tensor, returns_BT: Tensor, keep_BT: Tensor, *,
               clip: float | None) -> tuple[Tensor, dict[str, Tensor]]:
    """Half the squared error as a sum over actions, clipped around the rollout's values; and sums for the log.

        loss = 1/2 * max((V - R)^2, (clamp(V, V_old - clip, V_old + clip) - R)^2)

    Schulman et al. 2017, as in the authors' code (detail 9 of "The 37 implementation details of PPO"). None: unclipped.
    """
    _same_shape(values_BT, old_values_BT, returns_BT, keep_BT)
    plain_BT = (values_BT - returns_BT).square()
    if clip is None:
        worst_BT, cut_BT = plain_BT, torch.zeros_like(keep_BT)
    else:
        near_BT = torch.clamp(values_BT, old_values_BT - clip, old_values_BT + clip)
        clipped_BT = (near_BT - returns_BT).square()
        worst_BT, cut_BT = torch.maximum(plain_BT, clipped_BT), clipped_BT > plain_BT
    with torch.no_grad():
        seen = {"clipped": (keep_BT & cut_BT).sum(), "value": torch.where(keep_BT, values_BT, 0.0).sum()}
    return 0.5 * torch.where(keep_BT, worst_BT, 0.0).sum(), seen


def explained_variance(values_BT: Tensor, returns_BT: Tensor, keep_BT: Tensor) -> Tensor:
    """1 - Var(return - V) / Var(return) over actions: 1 is a perfect critic, 0 one that knows the mean alone.

    NaN where the returns do not vary, since nothing is there to be explained.
    """
    _same_shape(values_BT, returns_BT, keep_BT)
    total = masked_variance(returns_BT, keep_BT)
    return torch.where(total > 0, 1 - masked_variance(returns_BT - values_BT, keep_BT) / total, torch.nan)


def end_scores(scores_B: Tensor, stopped_B: Tensor, *, how: str, value: float) -> Tensor:
    """Scores of answers that ran into the limit: `none` leaves them, `subtract` takes `value` off, `replace` puts it there.

    Detail 5 of "The N implementation details": an answer without its stop token has no honest score.
    """
    assert scores_B.shape == stopped_B.shape, (scores_B.shape, stopped_B.shape)
    if how == "none":
        return scores_B
    if how == "subtract":
        return torch.where(stopped_B, scores_B, scores_B - value)
    if how == "replace":
        return torch.where(stopped_B, scores_B, value)
    raise ValueError(f"missing_stop '{how}'; one of none, subtract, replace")


def steered(coefficient: float, kl: float, *, target: float, horizon: float, rows: int) -> float:
    """The KL coefficient of the next rollout.

        error = clamp(kl / target - 1, -0.2, 0.2);  next = coefficient * (1 + error * rows / horizon)

    Ziegler et al. 2019, section 2.2; `kl` is the mean over rows of a row's summed KL, `horizon` in rows.
    """
    error = min(0.2, max(-0.2, kl / target - 1))
    return coefficient * (1 + error * rows / horizon)


def _same_shape(*tensors: Tensor) -> None:
    shapes = [tuple(tensor.shape) for tensor in tensors]
    assert len(shapes[0]) == 2 and len(set(shapes)) == 1, shapes


def _packed_left(keep_BT: Tensor) -> None:
    """Actions come first in each row: a hole would break the chain of GAE."""
    assert keep_BT.dtype == torch.bool, keep_BT.dtype
    assert not (keep_BT[:, 1:] & ~keep_BT[:, :-1]).any(), "actions are not packed to the left"
