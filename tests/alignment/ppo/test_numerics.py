"""Each formula three times: by hand, by an identity or limit, and against a float64 loop that is written another way."""

import math

import pytest
import torch

from alignment.ppo import numerics as n

ROWS, WIDTH = 4, 6
LENGTHS = [6, 1, 4, 3]


def keep_of(lengths=LENGTHS, width=WIDTH):
    return torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]


def random(seed, shape=(ROWS, WIDTH)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kept(x, keep):
    return [[x[b, t].item() for t in range(x.shape[1]) if keep[b, t]] for b in range(x.shape[0])]


def padded(x, keep, columns=3):
    """The same rows with more padding columns, full of what must not be read."""
    junk = torch.full((x.shape[0], columns), 1e6, dtype=x.dtype)
    return torch.cat([x, junk], 1), torch.cat([keep, torch.zeros(x.shape[0], columns, dtype=torch.bool)], 1)


def close(seen, expected):
    torch.testing.assert_close(torch.as_tensor(seen, dtype=torch.float64), torch.as_tensor(expected, dtype=torch.float64))


# ----------------------------------------------------------------------------------------------- masked mean and variance


def test_masked_mean_by_hand():
    close(n.masked_mean(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[True, True, False]])), 1.5)


def test_masked_mean_ignores_padding_and_of_nothing_is_zero():
    x, keep = random(0), keep_of()
    close(n.masked_mean(*padded(x, keep)), n.masked_mean(x, keep))
    assert n.masked_mean(x, torch.zeros_like(keep)) == 0


def test_masked_mean_against_a_loop():
    x, keep = random(1), keep_of()
    flat = [v for row in kept(x, keep) for v in row]
    close(n.masked_mean(x, keep), sum(flat) / len(flat))


def test_masked_variance_by_hand():
    close(n.masked_variance(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]])), 2.0)


def test_masked_variance_of_one_value_is_zero_and_a_shift_changes_nothing():
    x, keep = random(2), keep_of()
    close(n.masked_variance(x + 5, keep), n.masked_variance(x, keep))
    assert n.masked_variance(torch.tensor([[7.0, 1.0]]), torch.tensor([[True, False]])) == 0


def test_masked_variance_against_a_loop():
    x, keep = random(3), keep_of()
    flat = [v for row in kept(x, keep) for v in row]
    mean = sum(flat) / len(flat)
    close(n.masked_variance(x, keep), sum((v - mean) ** 2 for v in flat) / (len(flat) - 1))


# --------------------------------------------------------------------------------------------------------------- whitening


def test_whiten_by_hand():
    made = n.whiten(torch.tensor([[1.0, 3.0, 9.0]], dtype=torch.float64), torch.tensor([[True, True, False]]))
    close(made, [[-1 / math.sqrt(2), 1 / math.sqrt(2), 0.0]])


@pytest.mark.parametrize("shift", [True, False])
def test_whitened_values_have_deviation_one_and_padding_is_zero(shift):
    x, keep = random(4) * 3 + 2, keep_of()
    made = n.whiten(x, keep, shift_mean=shift)
    close(n.masked_variance(made, keep), 1.0)
    close(n.masked_mean(made, keep), 0.0 if shift else n.masked_mean(x, keep))
    assert (made[~keep] == 0).all()


def test_whiten_against_a_loop():
    x, keep = random(5), keep_of()
    flat = [v for row in kept(x, keep) for v in row]
    mean = sum(flat) / len(flat)
    std = math.sqrt(sum((v - mean) ** 2 for v in flat) / (len(flat) - 1) + 1e-8)
    expected = torch.zeros_like(x)
    for b, row in enumerate(kept(x, keep)):
        for t, v in enumerate(row):
            expected[b, t] = (v - mean) / std
    close(n.whiten(x, keep), expected)


# ------------------------------------------------------------------------------------------------------------- score, KL


def test_scores_stand_at_the_last_action():
    made = n.place_scores(torch.tensor([5.0, 7.0]), keep_of([3, 1], 3))
    close(made, [[0, 0, 5], [7, 0, 0]])


def test_placed_scores_sum_to_the_scores_whatever_the_padding():
    scores, keep = random(6, (ROWS,)), keep_of()
    close(n.place_scores(scores, keep).sum(1), scores)
    wider = torch.cat([keep, torch.zeros_like(keep)], 1)
    close(n.place_scores(scores, wider)[:, :WIDTH], n.place_scores(scores, keep))


def test_place_scores_against_a_loop():
    scores, keep = random(7, (ROWS,)), keep_of()
    expected = torch.zeros(ROWS, WIDTH, dtype=torch.float64)
    for b in range(ROWS):
        last = max(t for t in range(WIDTH) if keep[b, t])
        expected[b, last] = scores[b]
    close(n.place_scores(scores, keep), expected)


def test_a_row_without_an_action_has_no_place_for_a_score():
    with pytest.raises(ValueError, match="no action"):
        n.place_scores(torch.zeros(2), keep_of([2, 0], 2))


def test_a_hole_between_actions_is_refused():
    with pytest.raises(AssertionError, match="packed"):
        n.gae(random(0), random(1), torch.tensor([[True, False, True] * 2] * ROWS), gamma=1.0, lam=1.0)


def test_kl_estimators_by_hand():
    logps, ref = torch.tensor([[-1.0]]), torch.tensor([[-1.5]])
    close(n.kl_estimate(logps, ref, "k1"), [[0.5]])
    close(n.kl_estimate(logps, ref, "k2"), [[0.125]])
    close(n.kl_estimate(logps, ref, "k3"), [[math.exp(-0.5) - 1 + 0.5]])


@pytest.mark.parametrize("kind", n.ESTIMATORS)
def test_kl_is_zero_between_equals_and_k2_and_k3_are_never_negative(kind):
    logps, ref = random(8), random(9)
    assert (n.kl_estimate(logps, logps, kind) == 0).all()
    assert kind == "k1" or (n.kl_estimate(logps, ref, kind) >= 0).all()


def test_k1_and_k3_estimate_the_kl_of_two_known_distributions():
    """Against the sum over the whole distribution: each estimator's expectation under the policy, computed exactly."""
    policy = torch.log_softmax(random(10, (1, 9)), 1)
    ref = torch.log_softmax(random(11, (1, 9)), 1)
    true = (policy.exp() * (policy - ref)).sum()
    for kind in ("k1", "k3"):
        close((policy.exp() * n.kl_estimate(policy, ref, kind)).sum(), true)
    loop = [-(r - p) for p, r in zip(policy[0].tolist(), ref[0].tolist(), strict=True)]
    close(n.kl_estimate(policy, ref, "k1")[0], loop)
    close(n.kl_estimate(policy, ref, "k2")[0], [x * x / 2 for x in loop])
    close(n.kl_estimate(policy, ref, "k3")[0], [math.exp(-x) - 1 + x for x in loop])


def test_the_gradient_of_k2_is_that_of_the_kl_on_policy():
    """E[grad k2] = grad KL where samples come from the policy; k1's has mean 0, which is why a loss refuses it."""
    logits = random(12, (1, 7)).requires_grad_(True)
    ref = torch.log_softmax(random(13, (1, 7)), 1)
    policy = torch.log_softmax(logits, 1)
    exact = torch.autograd.grad((policy.exp() * (policy - ref)).sum(), logits, retain_graph=True)[0]
    weights = policy.exp().detach()
    k2 = torch.autograd.grad((weights * n.kl_estimate(policy, ref, "k2")).sum(), logits, retain_graph=True)[0]
    k1 = torch.autograd.grad((weights * n.kl_estimate(policy, ref, "k1")).sum(), logits)[0]
    close(k2, exact)
    assert k1.abs().max() < 1e-12


def test_shaped_rewards_by_hand():
    made = n.shaped_rewards(torch.tensor([2.0]), torch.tensor([[1.0, 3.0, 9.0]]), keep_of([2], 3), coefficient=0.5)
    close(made, [[-0.5, 0.5, 0.0]])


def test_without_a_coefficient_the_score_stands_alone():
    scores, keep = random(14, (ROWS,)), keep_of()
    close(n.shaped_rewards(scores, random(15), keep, coefficient=0.0), n.place_scores(scores, keep))


def test_shaped_rewards_against_a_loop():
    scores, kl, keep = random(16, (ROWS,)), random(17), keep_of()
    expected = torch.zeros_like(kl)
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            expected[b, t] = -0.3 * kl[b, t] + (scores[b] if t == length - 1 else 0)
    close(n.shaped_rewards(scores, kl, keep, coefficient=0.3), expected)


# --------------------------------------------------------------------------------------------------------------------- GAE


def gae_loop(rewards, values, lengths, gamma, lam):
    """Equation 16 as it is printed: a sum over all later TD errors, each discounted by (gamma lambda)^l."""
    advantages = torch.zeros_like(rewards)
    for b, length in enumerate(lengths):
        v = [values[b, t].item() for t in range(length)] + [0.0]
        delta = [rewards[b, t].item() + gamma * v[t + 1] - v[t] for t in range(length)]
        for t in range(length):
            advantages[b, t] = sum((gamma * lam) ** k * delta[t + k] for k in range(length - t))
    return advantages


def test_gae_by_hand():
    keep = torch.tensor([[True, True]])
    advantages, returns = n.gae(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 1.0]]), keep, gamma=0.9, lam=0.5)
    second = 2.0 - 1.0
    first = (1.0 + 0.9 * 1.0 - 0.5) + 0.9 * 0.5 * second
    close(advantages, [[first, second]])
    close(returns, [[first + 0.5, second + 1.0]])


def test_gae_with_gamma_and_lambda_one_and_no_values_is_the_return():
    rewards, keep = random(18), keep_of()
    rewards = torch.where(keep, rewards, 0.0)
    advantages, returns = n.gae(rewards, torch.zeros_like(rewards), keep, gamma=1.0, lam=1.0)
    to_come = rewards.flip(1).cumsum(1).flip(1)
    close(advantages, torch.where(keep, to_come, 0.0))
    close(returns, advantages)


def test_gae_with_lambda_zero_is_the_td_error():
    rewards, values, keep = torch.where(keep_of(), random(19), 0.0), random(20), keep_of()
    advantages, _ = n.gae(rewards, values, keep, gamma=0.9, lam=0.0)
    after = torch.cat([values[:, 1:] * keep[:, 1:], torch.zeros(ROWS, 1, dtype=torch.float64)], 1)
    close(advantages, torch.where(keep, rewards + 0.9 * after - values, 0.0))


def test_padding_columns_change_nothing_of_gae():
    rewards, values, keep = torch.where(keep_of(), random(21), 0.0), random(22), keep_of()
    plain = n.gae(rewards, values, keep, gamma=0.97, lam=0.9)
    wide_rewards, wide_keep = padded(rewards, keep)
    wide = n.gae(wide_rewards, padded(values, keep)[0], wide_keep, gamma=0.97, lam=0.9)
    for one, other in zip(plain, wide, strict=True):
        close(other[:, :WIDTH], one)
        assert (other[:, WIDTH:] == 0).all()


def test_gae_against_a_loop():
    rewards, values, keep = torch.where(keep_of(), random(23), 0.0), random(24), keep_of()
    advantages, returns = n.gae(rewards, values, keep, gamma=0.95, lam=0.9)
    expected = gae_loop(rewards, values, LENGTHS, 0.95, 0.9)
    close(advantages, expected)
    close(returns, torch.where(keep, expected + values, 0.0))


# ------------------------------------------------------------------------------------------------------------------ losses


def test_policy_loss_by_hand():
    logps = torch.log(torch.tensor([[0.6, 0.1, 0.5]], dtype=torch.float64))
    old = torch.log(torch.tensor([[0.4, 0.4, 0.5]], dtype=torch.float64))
    advantages = torch.tensor([[1.0, -1.0, 9.0]], dtype=torch.float64)
    loss, seen = n.policy_loss(logps, old, advantages, torch.tensor([[True, True, False]]), clip=0.2)
    close(loss, -(1.2 * 1.0) - (0.8 * -1.0))  # 1.5 is cut to 1.2, and -0.25 to the worse -0.8
    assert seen["clipped"] == 2
    close(seen["ratio"], 1.5 + 0.25)


def test_at_the_first_step_the_loss_is_minus_the_advantage_and_its_gradient_the_policy_gradient():
    logps, advantages, keep = random(25).requires_grad_(True), random(26), keep_of()
    loss, seen = n.policy_loss(logps, logps.detach(), advantages, keep, clip=0.2)
    close(loss, -torch.where(keep, advantages, 0.0).sum())
    loss.backward()
    close(logps.grad, -torch.where(keep, advantages, 0.0))
    assert seen["clipped"] == 0 and seen["approx_kl"] == 0 and seen["ratio"] == keep.sum()


def test_policy_loss_against_a_loop():
    logps, old, advantages, weights, keep = random(27), random(28), random(29), random(30).abs(), keep_of()
    total, kl = 0.0, 0.0
    for b in range(ROWS):
        for t in range(LENGTHS[b]):
            ratio = math.exp(logps[b, t] - old[b, t])
            a = advantages[b, t].item()
            total -= min(ratio * a, min(max(ratio, 0.7), 1.3) * a) * weights[b, t].item()
            kl += ratio - 1 - math.log(ratio)
    loss, seen = n.policy_loss(logps, old, advantages, keep, clip=0.3, weights_BT=weights)
    close(loss, total)
    close(seen["approx_kl"], kl)


def test_padding_changes_nothing_of_the_losses():
    logps, old, advantages, keep = random(31), random(32), random(33), keep_of()
    wide_keep = padded(logps, keep)[1]
    wide = [padded(x, keep)[0] for x in (logps, old, advantages)]
    close(n.policy_loss(*wide, wide_keep, clip=0.2)[0], n.policy_loss(logps, old, advantages, keep, clip=0.2)[0])
    close(n.value_loss(*wide, wide_keep, clip=0.2)[0], n.value_loss(logps, old, advantages, keep, clip=0.2)[0])


def test_value_loss_by_hand():
    values, old = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])
    returns, keep = torch.tensor([[2.0, 9.0]]), torch.tensor([[True, False]])
    loss, seen = n.value_loss(values, old, returns, keep, clip=0.2)
    close(loss, 0.5 * (0.7 - 2.0) ** 2)  # 1.0 is cut to 0.7, which is further from 2: the worse counts
    assert seen["clipped"] == 1


def test_value_loss_without_a_clip_is_half_the_squared_error():
    values, returns, keep = random(34), random(35), keep_of()
    half = 0.5 * torch.where(keep, (values - returns) ** 2, 0.0).sum()
    close(n.value_loss(values, random(36), returns, keep, clip=None)[0], half)
    close(n.value_loss(values, values, returns, keep, clip=0.1)[0], half)


def test_value_loss_against_a_loop():
    values, old, returns, keep = random(37), random(38), random(39), keep_of()
    total = 0.0
    for b in range(ROWS):
        for t in range(LENGTHS[b]):
            v, o, r = (x[b, t].item() for x in (values, old, returns))
            total += 0.5 * max((v - r) ** 2, (min(max(v, o - 0.3), o + 0.3) - r) ** 2)
    close(n.value_loss(values, old, returns, keep, clip=0.3)[0], total)


# ------------------------------------------------------------------------------------- explained variance, ends, steering


def test_explained_variance_by_hand():
    returns, values = torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 2.0]])
    close(n.explained_variance(values, returns, torch.tensor([[True, True]])), 1 - 0.5 / 2.0)


def test_a_perfect_critic_explains_all_one_that_knows_the_mean_nothing_and_constant_returns_cannot_be_explained():
    returns, keep = random(40), keep_of()
    close(n.explained_variance(returns, returns, keep), 1.0)
    close(n.explained_variance(torch.full_like(returns, 3.0), returns, keep), 0.0)
    assert torch.isnan(n.explained_variance(returns, torch.ones_like(returns), keep))


def test_explained_variance_against_a_loop():
    returns, values, keep = random(41), random(42), keep_of()
    flat = [(r, v) for rr, vv in zip(kept(returns, keep), kept(values, keep), strict=True) for r, v in zip(rr, vv, strict=True)]

    def variance(numbers):
        mean = sum(numbers) / len(numbers)
        return sum((x - mean) ** 2 for x in numbers) / (len(numbers) - 1)

    close(n.explained_variance(values, returns, keep), 1 - variance([r - v for r, v in flat]) / variance([r for r, _ in flat]))


@pytest.mark.parametrize(("how", "expected"), [("none", [1.0, 2.0]), ("subtract", [1.0, -1.0]), ("replace", [1.0, 3.0])])
def test_scores_of_answers_that_ran_into_the_limit(how, expected):
    close(n.end_scores(torch.tensor([1.0, 2.0]), torch.tensor([True, False]), how=how, value=3.0), expected)


def test_an_answer_that_stopped_is_never_touched():
    scores = random(43, (8,))
    for how in ("none", "subtract", "replace"):
        close(n.end_scores(scores, torch.ones(8, dtype=torch.bool), how=how, value=5.0), scores)
    with pytest.raises(ValueError, match="missing_stop"):
        n.end_scores(scores, torch.ones(8, dtype=torch.bool), how="ignore", value=0.0)


def test_the_coefficient_is_steered_by_at_most_a_fifth():
    close(n.steered(0.1, 12.0, target=10.0, horizon=100.0, rows=50), 0.1 * (1 + 0.2 * 0.5))
    close(n.steered(0.1, 10.0, target=10.0, horizon=100.0, rows=50), 0.1)
    close(n.steered(0.1, 100.0, target=10.0, horizon=100.0, rows=50), n.steered(0.1, 12.0, target=10.0, horizon=100.0, rows=50))
    close(n.steered(0.1, 0.0, target=10.0, horizon=100.0, rows=50), 0.1 * (1 - 0.2 * 0.5))
