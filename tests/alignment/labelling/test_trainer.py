"""The trainer's contract: a step cut into micro-batches is the whole step, and padding changes nothing."""

import inspect
import math

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from alignment.labelling.encoding import Collator
from alignment.labelling.trainer import class_weights, loss_of, padded_equals_alone
from data_recipes.errors import Failed
from data_recipes.files import write_jsonl
from data_recipes.labels import Problem
from tests.alignment.chains import metrics
from tests.alignment.chains import world as chain_world
from tests.alignment.labelling.worlds import train, world
from tests.tiny_encoders import encoder, sentiment

TWO = Problem("single", ("a", "b"))


@pytest.mark.parametrize("data", ["rows", "spans"])
def test_a_step_in_micro_batches_is_the_whole_step(data, tmp_path):
    files = world(tmp_path)
    seen = []
    for size in (8, 2):
        run = tmp_path / f"micro-{size}"
        train(files["base"], files[data], run, hardware__micro_batch=size, training__max_steps=3, training__learning_rate=1e-3,
              classify__class_weights="balanced", data__validation_share=0.0)
        seen.append([(row["loss"], row["grad_norm"], row["num_tokens"]) for row in metrics(run)])
    for whole, parts in zip(*seen, strict=True):
        assert parts == pytest.approx(whole, rel=1e-4)


def test_transformers_still_counts_items_by_the_switches_that_are_turned_off():
    from transformers import Trainer

    counting, computing = (inspect.getsource(getattr(Trainer, name)) for name in ("_get_num_items_in_batch", "compute_loss"))
    assert "self._loss_shifts_labels" in counting and "self.compute_loss_func is not None" in counting
    assert "if self.model_accepts_loss_kwargs" in computing and "num_items_in_batch=num_items_in_batch" in computing
    assert {"gather_for_metrics", "_total_train_tokens"}.isdisjoint(vars(Trainer))  # the count of tokens is ours alone


def test_the_loss_is_a_mean_over_the_items_of_the_step():
    labels, logits = torch.tensor([0, 1]), torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    compute = loss_of(TWO, None)
    alone = compute({"logits": logits}, labels)
    assert alone.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item())
    parts = [compute({"logits": logits[at : at + 1]}, labels[at : at + 1], num_items_in_batch=2) for at in (0, 1)]
    assert sum(parts).item() == pytest.approx(alone.item())


def test_trained_positions_before_a_text_are_left_out_of_the_loss():
    problem, labels = Problem("token", ("O", "B-X"), "BIO"), torch.tensor([[0, -100]])
    longer = torch.tensor([[[9.0, 0.0], [9.0, 0.0], [0.0, 0.0], [5.0, 5.0]]])
    assert loss_of(problem, None)({"logits": longer}, labels).item() == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_weights_of_classes():
    assert class_weights("none", TWO, [0, 1]) is None
    assert class_weights([1.0, 3.0], TWO, [0, 1]).tolist() == [1, 3]
    assert class_weights("balanced", TWO, [0, 0, 0, 1]).tolist() == pytest.approx([2 / 3, 2])
    several = Problem("multi", ("a", "b"))
    assert class_weights("balanced", several, [(0,), (0, 1), (), ()]).tolist() == [1, 3]


def test_a_model_that_reads_its_padding_is_found_out():
    model = encoder("bert", 60)
    from transformers import BertForSequenceClassification

    scorer = BertForSequenceClassification(model.config)
    rows = [{"input_ids": [2, 20, 21, 3]}, {"input_ids": [2, 3]}]
    assert padded_equals_alone(scorer, Collator(0, TWO), rows) < 1e-5

    class Careless(Collator):
        def __call__(self, batch):
            made = super().__call__(batch)
            made["attention_mask"] = torch.ones_like(made["attention_mask"])
            return made

    with pytest.raises(Failed, match="a padded row differs"):
        padded_equals_alone(scorer, Careless(0, TWO), rows)


def test_a_new_head_on_a_wide_decoder_may_begin_far_above_knowing_nothing(tmp_path):
    # its size lies in the last layer norm; one of 4096 numbers with weights of 1 is enough
    base = chain_world(tmp_path / "world", rows=20)["base"]
    scorer = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    with torch.no_grad():
        scorer.base_model.norm.weight.mul_(300)
    scorer.save_pretrained(base)
    write_jsonl(tmp_path / "rows.jsonl", sentiment(40))
    train(base, tmp_path / "rows.jsonl", tmp_path / "run", training__max_steps=1, training__keep="last")
    assert metrics(tmp_path / "run")[0]["loss"] > math.log(2) + 0.5
