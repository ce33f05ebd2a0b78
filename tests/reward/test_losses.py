import math

import numpy as np
import pytest
import torch

from reward.losses import bradley_terry_loss, centering_penalty


def test_bradley_terry_by_hand():
    # One pair with margin ln 3: -ln(3/4).
    assert bradley_terry_loss(torch.tensor([math.log(3)]), torch.zeros(1)).item() == pytest.approx(-math.log(0.75))


def test_bradley_terry_is_ln_2_where_nothing_is_known_and_vanishes_where_all_is():
    zeros = torch.zeros(3)
    assert bradley_terry_loss(zeros, zeros).item() == pytest.approx(math.log(2))
    assert bradley_terry_loss(zeros + 100, zeros).item() == pytest.approx(0, abs=1e-30)
    margin = torch.tensor([0.3, 1.0, 2.0])
    assert bradley_terry_loss(margin, zeros, margin).item() == pytest.approx(math.log(2))


def test_bradley_terry_agrees_with_float64():
    rng = np.random.default_rng(0)
    chosen, rejected, margin = rng.normal(size=(3, 50))
    expected = np.mean([math.log1p(math.exp(-(c - r - m))) for c, r, m in zip(chosen, rejected, margin, strict=True)])
    found = bradley_terry_loss(*(torch.tensor(x) for x in (chosen, rejected, margin)))
    assert found.item() == pytest.approx(expected, abs=1e-12)


def test_centering_by_hand_identity_and_float64():
    assert centering_penalty(torch.tensor([1.0, 2.0]), torch.tensor([1.0, -2.0])).item() == 2.0
    scores = torch.randn(9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert centering_penalty(scores, -scores).item() == 0
    assert centering_penalty(scores, scores).item() == pytest.approx(4 * np.mean(scores.numpy() ** 2))


def test_shapes_are_asserted():
    with pytest.raises(AssertionError):
        bradley_terry_loss(torch.zeros(2), torch.zeros(3))
    with pytest.raises(AssertionError):
        centering_penalty(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(AssertionError):
        bradley_terry_loss(torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long))
