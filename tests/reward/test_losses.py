import math

import numpy as np
import pytest
import torch

from reward.losses import bradley_terry_losses, centering_penalties


def test_bradley_terry_by_hand():
    # One pair with margin ln 3: -ln(3/4).
    assert bradley_terry_losses(torch.tensor([math.log(3)]), torch.zeros(1)).item() == pytest.approx(-math.log(0.75))


def test_bradley_terry_is_ln_2_where_nothing_is_known_and_vanishes_where_all_is():
    zeros = torch.zeros(3)
    assert bradley_terry_losses(zeros, zeros).tolist() == pytest.approx([math.log(2)] * 3)
    assert bradley_terry_losses(zeros + 100, zeros).tolist() == pytest.approx([0] * 3, abs=1e-30)
    margin = torch.tensor([0.3, 1.0, 2.0])
    assert bradley_terry_losses(margin, zeros, margin).tolist() == pytest.approx([math.log(2)] * 3)


def test_bradley_terry_agrees_with_float64():
    rng = np.random.default_rng(0)
    chosen, rejected, margin = rng.normal(size=(3, 50))
    expected = [math.log1p(math.exp(-(c - r - m))) for c, r, m in zip(chosen, rejected, margin, strict=True)]
    found = bradley_terry_losses(*(torch.tensor(x) for x in (chosen, rejected, margin)))
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_centering_by_hand_identity_and_float64():
    assert centering_penalties(torch.tensor([1.0, 2.0]), torch.tensor([1.0, -2.0])).tolist() == [4.0, 0.0]
    scores = torch.randn(9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert centering_penalties(scores, -scores).tolist() == [0.0] * 9
    assert centering_penalties(scores, scores).tolist() == pytest.approx((4 * scores.numpy() ** 2).tolist())


def test_shapes_are_asserted():
    with pytest.raises(AssertionError):
        bradley_terry_losses(torch.zeros(2), torch.zeros(3))
    with pytest.raises(AssertionError):
        centering_penalties(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(AssertionError):
        bradley_terry_losses(torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long))
