import math

import numpy as np
import pytest
import torch

from alignment.evaluate import held_out
from alignment.evaluate.held_out import RowLosses, describe, row_losses
from data_recipes.errors import Failed
from tests import tiny

ROWS = [([5, 6, 7, 2], [False, False, True, True]), ([9] * 20 + [2], [True] * 21), ([4, 2], [False, True])]


@pytest.mark.parametrize("model", [tiny.llama(), tiny.gpt2()], ids=["llama", "gpt2"])
def test_agrees_with_a_float64_loop(model):
    expected = []
    with torch.no_grad():
        for ids, trained in ROWS:
            logps = model.double().eval()(torch.tensor([ids])).logits[0].log_softmax(-1)
            expected.append(-sum(logps[t - 1, ids[t]].item() for t in range(1, len(ids)) if trained[t]))
    model.float().train()
    for batch_size in (1, 3):
        assert row_losses(model, ROWS, pad_id=0, batch_size=batch_size) == pytest.approx(expected, abs=1e-4)


def test_a_head_of_zeros_knows_nothing():
    model = tiny.llama(tied=False)
    torch.nn.init.zeros_(model.lm_head.weight)
    nats = row_losses(model, ROWS, pad_id=0, batch_size=2)
    assert nats == pytest.approx([2 * math.log(260), 20 * math.log(260), math.log(260)], rel=1e-5)


def test_small_budgets_change_nothing(monkeypatch):
    model = tiny.llama()
    whole = row_losses(model, ROWS, pad_id=0, batch_size=3)
    monkeypatch.setattr(held_out, "LOGIT_CELLS", 1)
    assert row_losses(model, ROWS, pad_id=0, batch_size=3) == pytest.approx(whole, abs=1e-5)


def test_a_loss_that_is_not_finite_fails():
    model = tiny.llama()
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    with pytest.raises(Failed, match="row 2"):
        row_losses(model, ROWS, pad_id=0, batch_size=1)


def losses(nats, tokens):
    return RowLosses(np.array(nats, dtype=float), np.array(tokens), np.array(tokens) * 2)


def test_describe_by_hand():
    first, second = losses([2, 4], [1, 2]), losses([1, 2], [1, 2])
    alone = describe([first], None, seed=0)
    assert alone["loss"] == 2 and alone["tokens"] == 3 and alone["difference"] is None
    assert alone["bits_per_byte"]["value"] == pytest.approx(1 / math.log(2))
    assert describe([second], [first], seed=0)["difference"]["value"] == -1
    seeds = describe([first, second], [first], seed=0)
    assert seeds["loss"] == 1.5 and seeds["spread"]["members"] == [2.0, 1.0] and seeds["difference"]["value"] == -0.5


def test_other_tokens_are_not_compared():
    assert describe([losses([1, 2], [1, 3])], [losses([1, 2], [1, 2])], seed=0)["difference"] is None
