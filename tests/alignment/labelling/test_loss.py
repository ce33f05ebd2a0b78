"""Losses of classifiers: by hand, a limit, and numpy in float64."""

import math

import numpy as np
import pytest
import torch

from alignment.labelling.loss import balanced, balanced_labels, class_loss, labels_loss, number_loss

RNG = np.random.default_rng(1)
LOGITS, TARGET, WEIGHTS = RNG.normal(size=(7, 3)), RNG.integers(3, size=7), np.array([0.5, 1.0, 3.0])


def test_class_loss_by_hand():
    assert class_loss(torch.tensor([[0.0, math.log(3)]]), torch.tensor([1])).item() == pytest.approx(-math.log(0.75))
    assert class_loss(torch.zeros(2, 4), torch.tensor([1, -100])).item() == pytest.approx(math.log(4))


def test_weights_of_one_change_nothing_and_smoothing_of_a_flat_guess_neither():
    logits, target = torch.tensor(LOGITS), torch.tensor(TARGET)
    assert class_loss(logits, target, weights_C=torch.ones(3)).item() == pytest.approx(class_loss(logits, target).item())
    assert class_loss(torch.zeros(1, 3), torch.tensor([0]), smoothing=0.3).item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_class_loss_agrees_with_numpy(smoothing):
    log_shares = LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))
    share = np.eye(3)[TARGET] * (1 - smoothing) + smoothing / 3
    expected = -(share * log_shares * WEIGHTS).sum()
    found = class_loss(torch.tensor(LOGITS), torch.tensor(TARGET), weights_C=torch.tensor(WEIGHTS).float(), smoothing=smoothing)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_labels_loss_by_hand_at_a_limit_and_against_numpy():
    assert labels_loss(torch.tensor([[math.log(3)]]), torch.tensor([[1]])).item() == pytest.approx(-math.log(0.75))
    assert labels_loss(torch.zeros(2, 3), torch.zeros(2, 3)).item() == pytest.approx(6 * math.log(2))
    truth = RNG.integers(2, size=(7, 3))
    shares = 1 / (1 + np.exp(-LOGITS))
    expected = -(truth * np.log(shares) * WEIGHTS + (1 - truth) * np.log(1 - shares)).sum()
    found = labels_loss(torch.tensor(LOGITS), torch.tensor(truth), weights_L=torch.tensor(WEIGHTS).float())
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_number_loss_by_hand_and_zero_where_right():
    assert number_loss(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 4.0])).item() == 5
    assert number_loss(torch.tensor(LOGITS[:, 0]), torch.tensor(LOGITS[:, 0])).item() == 0
    assert number_loss(torch.tensor(LOGITS[:, 0]), torch.tensor(LOGITS[:, 1])).item() == pytest.approx(
        ((LOGITS[:, 0] - LOGITS[:, 1]) ** 2).sum(), rel=1e-5)


def test_balanced_weights_give_each_class_the_same_and_keep_the_scale():
    counts = torch.tensor([90, 9, 1])
    weights = balanced(counts)
    assert (weights * counts).tolist() == pytest.approx([100 / 3] * 3)
    assert balanced(torch.tensor([5, 5])).tolist() == [1, 1] and torch.isfinite(balanced(torch.tensor([5, 0]))).all()
    assert balanced_labels(torch.tensor([2, 5]), 10).tolist() == [4, 1]
