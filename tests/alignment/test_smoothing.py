"""Label smoothing by one more product: the formula, and that the trainer's loss is it in training and not in evaluation."""

from __future__ import annotations

import math

import pytest
import torch

from alignment.training.smoothing import attach_smoothing, smoothing_term
from data_recipes.errors import Refused
from tests import tiny


def plain(logits_NV, labels_N, share):
    """(1 - e) * -log p(y) + e * mean of -log p(v), in float64."""
    logp = torch.log_softmax(logits_NV.double(), -1)
    return -(1 - share) * logp.gather(1, labels_N[:, None])[:, 0] - share * logp.mean(-1)


def test_the_term_by_hand():
    hidden, weight = torch.tensor([[2.0]]), torch.tensor([[1.0], [-1.0]])  # logits 2 and -2
    assert smoothing_term(hidden, torch.tensor([0]), weight).item() == 2.0
    # -log p(0) = log(1 + e^-4); smoothed by 0.1: 0.95 of it and 0.05 of -log p(1), which is larger by 4
    assert plain(torch.tensor([[2.0, -2.0]]), torch.tensor([0]), 0.1).item() == pytest.approx(math.log1p(math.exp(-4)) + 0.2)


def test_a_head_that_knows_nothing_is_not_smoothed_and_a_bias_counts():
    hidden, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    assert smoothing_term(hidden, labels, torch.zeros(4, 3)).abs().max() == 0
    bias = torch.tensor([0.0, 4.0, 0.0, 0.0])
    assert torch.equal(smoothing_term(hidden, labels, torch.zeros(4, 3), bias), torch.tensor([-1.0, 3.0, -1.0, -1.0, 3.0]))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.7])
def test_with_the_log_likelihood_it_is_the_papers_loss_and_torchs(share):
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(7, 5), torch.randn(11, 5), torch.randn(11)
    labels, scale = torch.randint(11, (7,)), 0.5
    logits = scale * (hidden @ weight.T + bias)
    nll = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    ours = nll + share * smoothing_term(hidden, labels, weight, bias, scale=scale)
    theirs = torch.nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=share)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.allclose(ours.double(), plain(logits, labels, share), atol=1e-5)


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2])
def test_the_trainers_loss_and_gradient_are_smoothed_in_training_only(make):
    from trl.trainer.utils import add_fused_lm_head

    from alignment.training.label_head import attach_label_head

    torch.manual_seed(0)
    model, reference = make(), make()
    for name, p in reference.named_parameters():
        torch.nn.init.normal_(p, std=0.2)
        model.get_parameter(name).data.copy_(p)
    for one in (model, reference):
        for module in one.modules():
            module.p = 0.0 if isinstance(module, torch.nn.Dropout) else getattr(module, "p", None)
    add_fused_lm_head(model)
    attach_label_head(model)
    attach_smoothing(model, 0.2)
    ids = torch.randint(4, 200, (2, 9))
    labels = ids.clone()
    labels[0, :4], labels[1, 6:] = -100, -100
    expected = torch.nn.functional.cross_entropy(
        reference(ids).logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), label_smoothing=0.2, reduction="sum")
    expected.backward()
    model.train()
    found = -model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs.sum()
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, p in reference.named_parameters():
        assert torch.allclose(model.get_parameter(name).grad, p.grad, atol=1e-4), name
    model.eval()
    unsmoothed = torch.nn.functional.cross_entropy(
        reference(ids).logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    assert -model(input_ids=ids, labels=labels, fused_lm_head=True).log_probs.sum().item() == pytest.approx(
        unsmoothed.item(), rel=1e-5)


def test_capped_logits_are_refused():
    model = tiny.llama()
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(Refused, match="caps its logits"):
        attach_smoothing(model, 0.1)
