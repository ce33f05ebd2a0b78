import pytest
import torch
from transformers import AutoModelForSequenceClassification

from data_recipes.errors import Failed, Refused
from reward.scalar import pad_right, padded_equals_alone, score
from tests import tiny

ROWS = [[5, 6, 7, 2], [9, 2], [4] * 30 + [2], [8, 8, 2]]


def scorer(base, num_labels=1):
    """A scalar head, seeded and far from zero, on the trunk of a tiny model."""
    torch.manual_seed(0)
    base.config.num_labels = num_labels
    model = AutoModelForSequenceClassification.from_config(base.config)
    torch.nn.init.normal_(model.score.weight)
    return model.eval()


@pytest.fixture(scope="module", params=[tiny.llama, tiny.gpt2], ids=["llama", "gpt2"])
def model(request):
    return scorer(request.param())


def test_scores_are_those_at_the_last_real_token(model):
    with torch.no_grad():
        alone = [model.score(trunk(model)(torch.tensor([row])).last_hidden_state)[0, -1, 0].item() for row in ROWS]
    for batch_size in (1, 2, 16):
        assert score(model, ROWS, pad_id=0, batch_size=batch_size) == pytest.approx(alone, abs=1e-5)


def test_order_is_restored_and_mode_kept(model):
    forward, backward = score(model, ROWS, pad_id=0), score(model, ROWS[::-1], pad_id=0)
    assert forward == pytest.approx(backward[::-1], abs=1e-6) and score(model, [], pad_id=0) == []
    model.train()
    score(model, ROWS, pad_id=0)
    assert model.training
    model.eval()


def test_padded_equals_alone(model):
    assert padded_equals_alone(model, ROWS, 1e-5, pad_id=0) <= 1e-5


class SeesPadding(torch.nn.Module):
    """A scorer whose scores depend on the width of the batch."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config = inner, inner.config

    def forward(self, input_ids, attention_mask):
        output = self.inner(input_ids=input_ids, attention_mask=attention_mask)
        output.logits = output.logits + input_ids.shape[1]
        return output


def test_a_scorer_that_sees_the_padding_fails(model):
    with pytest.raises(Failed, match="alone"):
        padded_equals_alone(SeesPadding(model), ROWS, pad_id=0)


def test_padding_is_on_the_right():
    batch = pad_right([[5, 6], [7]], 0)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 0]] and batch["attention_mask"].tolist() == [[1, 1], [1, 0]]


def test_what_cannot_be_scored_is_refused(model):
    for rows, pad_id in (([[]], 0), ([[5, 0]], 0), ([[5]], 3)):
        with pytest.raises(Refused):
            score(model, rows, pad_id=pad_id)
    with pytest.raises(Refused, match="2 labels"):
        score(scorer(tiny.llama(), num_labels=2), ROWS, pad_id=0)


def test_a_score_that_is_not_finite_fails():
    model = scorer(tiny.llama())
    torch.nn.init.constant_(model.score.weight, float("nan"))
    with pytest.raises(Failed, match="row 0: the score is nan"):
        score(model, ROWS, pad_id=0)


def trunk(model):
    return getattr(model, model.base_model_prefix)
