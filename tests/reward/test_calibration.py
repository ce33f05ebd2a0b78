import math

import numpy as np
import pytest

from reward.calibration import (
    Scale, expected_calibration_error, fit_temperature, log_loss, pairwise_confidence, reliability, sigmoid,
)


def test_confidence_by_hand():
    confidence, correct = pairwise_confidence([math.log(3), -math.log(3), 0.0])
    assert confidence == pytest.approx([0.75, 0.75, 0.5]) and correct.tolist() == [1.0, 0.0, 0.5]


def test_ece_by_hand():
    # Two bins of ten: at 0.75 one of two right (gap 0.25), at 0.95 two of two right (gap 0.05): half of each.
    assert expected_calibration_error([0.75, 0.75, 0.95, 0.95], [1, 0, 1, 1]) == pytest.approx(0.15)


def test_ece_is_zero_for_a_calibrated_model_and_half_for_a_sure_and_wrong_one():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, size=100_000)
    assert expected_calibration_error(confidence, rng.uniform(size=100_000) < confidence) < 0.01
    assert expected_calibration_error([1.0] * 10, [0, 1] * 5) == pytest.approx(0.5)


def test_ece_agrees_with_a_loop():
    rng = np.random.default_rng(3)
    confidence, correct = rng.uniform(0.5, 1, size=300), rng.integers(2, size=300)
    total = 0.0
    for bin_number in range(10):
        inside = [
            (c, y) for c, y in zip(confidence, correct, strict=True) if min(int((c - 0.5) / 0.05), 9) == bin_number
        ]
        if inside:
            total += abs(sum(y - c for c, y in inside)) / 300
    assert expected_calibration_error(confidence, correct) == pytest.approx(total)


def test_reliability_counts_every_row_once():
    parts = reliability([0.5, 0.6, 1.0], [1, 0, 1])
    assert sum(part["count"] for part in parts) == 3 and parts[-1]["to"] == 1.0


def test_sigmoid_does_not_overflow():
    assert sigmoid([-1000.0, 0.0, 1000.0]).tolist() == [0.0, 0.5, 1.0]
    assert sigmoid(0.7) == pytest.approx(1 / (1 + math.exp(-0.7)))


def test_scale():
    scale = Scale.of([1.0, 3.0])
    assert (scale.mean, scale.std) == (2.0, 1.0) and scale.normalise([1.0, 3.0]).tolist() == [-1.0, 1.0]
    assert Scale.of([5.0, 5.0]).normalise([5.0]).tolist() == [0.0]


def drawn(temperature: float, rows: int = 20_000):
    """Logits whose probabilities at `temperature` are the true ones, and classes drawn from them."""
    rng = np.random.default_rng(7)
    logits = 3 * rng.normal(size=(rows, 3))
    shares = np.exp(logits / temperature) / np.exp(logits / temperature).sum(1, keepdims=True)
    return logits, (rng.random(rows)[:, None] > shares.cumsum(1)).sum(1)


def test_log_loss_by_hand_and_at_a_temperature_without_end():
    assert log_loss([[0.0, math.log(3)]], [1]) == pytest.approx(-math.log(0.75))
    assert log_loss([[5.0, -3.0, 1.0]], [0], temperature=1e9) == pytest.approx(math.log(3))


def test_log_loss_and_temperature_agree_with_torch():
    import torch

    logits, truth = drawn(2.0, 400)
    assert log_loss(logits, truth, 1.7) == pytest.approx(
        torch.nn.functional.cross_entropy(torch.tensor(logits) / 1.7, torch.tensor(truth)).item())
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([log_t], max_iter=200, tolerance_grad=1e-12)

    def loss():
        solver.zero_grad()
        value = torch.nn.functional.cross_entropy(torch.tensor(logits) / log_t.exp(), torch.tensor(truth))
        value.backward()
        return value

    solver.step(loss)
    assert fit_temperature(logits, truth) == pytest.approx(log_t.exp().item(), rel=1e-4)


def test_a_temperature_that_was_planted_is_found_and_two_rows_have_one_by_hand():
    assert fit_temperature(*drawn(2.5)) == pytest.approx(2.5, rel=0.03)
    assert fit_temperature(*drawn(1.0)) == pytest.approx(1.0, rel=0.03)
    # three of four rows right with a lead of 4: sigmoid(4 / T) = 3/4, so T = 4 / ln 3
    assert fit_temperature([[4.0, 0.0]] * 4, [0, 0, 0, 1]) == pytest.approx(4 / math.log(3), rel=1e-5)
