"""What must hold at step 0 and after saving, broken on purpose: each check sees its fault and says what was expected."""

from __future__ import annotations

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification
from trl import DPOConfig, RewardConfig

from alignment import invariants
from alignment.adapters.weights import float_head
from alignment.data import Rendered
from alignment.models import TOLERANCE, check_finite, compare, outputs, save_and_prove, tolerance_of
from alignment.training.trainers import PairDpoTrainer, PairRewardTrainer
from data_recipes.errors import Failed
from tests import tiny

PROBES = [[3, 60, 61, 2], [3, 62, 2]]
PAIRS = {"prompt_ids": [[3, 60], [3, 61, 64]], "chosen_ids": [[70, 2], [71, 72, 2]], "rejected_ids": [[80, 2], [81, 2]],
         "row": [0, 1]}
WHOLE = {"chosen_ids": [[3, 60, 70, 2], [3, 2]], "rejected_ids": [[3, 60, 80, 90, 91, 2], [3, 61, 2]], "row": [0, 1]}
COMMON = {"use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": [], "disable_tqdm": True,
          "remove_unused_columns": False, "max_length": None, "per_device_train_batch_size": 2}


def adapted(**changes):
    settings = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", **changes)
    return get_peft_model(tiny.llama(spread=0.2), settings)


def test_a_fresh_adapter_that_is_no_identity_is_seen():
    assert invariants.fresh_adapter_is_identity(adapted(), PROBES) == 0
    with pytest.raises(Failed, match="fresh adapter changes the model's logits.*at most 1e-05"):
        invariants.fresh_adapter_is_identity(adapted(init_lora_weights=False), PROBES)


def test_tokens_that_the_report_did_not_count_are_seen():
    def rendered(trained):
        return Rendered({}, ["a", "b"], None, {"rows": 2, "tokens": 6, "trained": trained, "truncated": 0})

    dataset = Dataset.from_dict({"labels": [[-100, 5, 2], [-100, -100, 2]]})
    assert invariants.trained_tokens_agree(dataset, rendered(3)) == 3
    with pytest.raises(Failed, match="would train 3 tokens.*4, as reported"):
        invariants.trained_tokens_agree(dataset, rendered(4))
    answers = Dataset.from_dict(PAIRS)
    assert invariants.trained_tokens_agree(answers, rendered(9)) == 9
    whole, rows = Dataset.from_dict(WHOLE), rendered(0)
    rows.counts["tokens"] = 15
    assert invariants.trained_tokens_agree(whole, rows) == 15
    for dataset, made in ((answers.select([0]), rendered(9)), (whole.select([0]), rows)):  # a trainer that leaves one out
        with pytest.raises(Failed, match="as reported"):
            invariants.trained_tokens_agree(dataset, made)


def dpo_trainer(folder, **arguments):
    return PairDpoTrainer(model=adapted(init_lora_weights=False), args=DPOConfig(str(folder), **COMMON, **arguments),
                          train_dataset=Dataset.from_dict(PAIRS), processing_class=tiny.tokenizer())


def test_a_policy_that_is_not_its_reference_is_seen(tmp_path):
    trainer = dpo_trainer(tmp_path)
    assert invariants.margins_are_zero(trainer, 2, plain=True) == pytest.approx(invariants.LN2, abs=1e-6)
    with torch.no_grad():
        next(p for name, p in trainer.model.named_parameters() if ".default." in name).add_(0.1)
    with pytest.raises(Failed, match="the policy is not its reference"):
        invariants.margins_are_zero(trainer, 2, plain=True)


def test_another_loss_than_ln_2_is_seen(tmp_path):
    trainer = dpo_trainer(tmp_path, loss_type=["hinge"])  # 1 where the margin is 0
    assert invariants.margins_are_zero(trainer, 2, plain=False) == pytest.approx(1.0)
    with pytest.raises(Failed, match="the loss is 1.0.*ln 2"):
        invariants.margins_are_zero(trainer, 2, plain=True)


def reward_trainer(folder, make=tiny.llama, rows=WHOLE, *, zero=True):
    base = tiny.save_base(folder / "base", model=make())
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    if zero:
        torch.nn.init.zeros_(model.score.weight)
    return PairRewardTrainer(model=model, args=RewardConfig(str(folder), **COMMON), train_dataset=Dataset.from_dict(rows),
                             processing_class=tiny.tokenizer())


def check_head(trainer):
    return invariants.head_starts_at_zero(trainer, float_head(trainer.model), 2)


def test_a_head_that_is_not_zero_is_seen(tmp_path):
    with pytest.raises(Failed, match="does not start at zero"):
        check_head(reward_trainer(tmp_path, zero=False))


def test_a_margin_that_is_lost_on_the_way_and_a_margin_from_nowhere_are_seen(tmp_path):
    trainer = reward_trainer(tmp_path, rows={**WHOLE, "margin": [1.0, 3.0]})
    assert check_head(trainer) == pytest.approx((1.313262 + 3.048587) / 2, abs=1e-5)  # -log sigmoid(-1), and of -3
    collate = trainer.data_collator
    trainer.data_collator = lambda rows: collate([{k: v for k, v in row.items() if k != "margin"} for row in rows])
    with pytest.raises(Failed, match="the loss is 0.6931.*2.1809.* of the rows' margins"):
        check_head(trainer)
    plain = reward_trainer(tmp_path / "plain")
    plain.data_collator = lambda rows: collate([{**row, "margin": 1.0} for row in rows])
    with pytest.raises(Failed, match="the loss is 1.3132.*ln 2"):
        check_head(plain)


def test_a_centering_term_is_nothing_at_a_head_of_zeros(tmp_path):
    trainer = reward_trainer(tmp_path)
    trainer.args.center_rewards_coefficient = 0.5
    assert check_head(trainer) == pytest.approx(invariants.LN2, abs=1e-6)


@pytest.mark.parametrize("make", [tiny.llama, tiny.gpt2], ids=["rms norm", "layer norm"])
def test_a_model_that_sees_the_padding_is_seen_and_the_head_is_zero_again(make, tmp_path):
    trainer = reward_trainer(tmp_path, make)
    assert check_head(trainer) == pytest.approx(invariants.LN2, abs=1e-6) and not trainer.model.score.weight.any()
    blocks = getattr(trainer.model.base_model, "layers", None) or trainer.model.base_model.h
    unlike = torch.linspace(-1, 1, trainer.model.config.hidden_size)
    blocks[0].register_forward_pre_hook(lambda module, inputs: (inputs[0] + inputs[0].shape[1] * unlike, *inputs[1:]))
    with pytest.raises(Failed, match="in the batch and .* alone"):
        check_head(trainer)
    assert not trainer.model.score.weight.any()


def test_what_is_read_back_is_compared_by_the_dtype_and_never_passes_as_nan():
    seen = torch.tensor([[1.0, -4.0]])
    assert compare(seen, seen + 2e-5, tolerance=TOLERANCE[torch.float32], what="it") == pytest.approx(5e-6, rel=0.1)
    for other in (seen + 1e-3, seen * float("nan")):
        with pytest.raises(Failed, match="it differs by"):
            compare(seen, other, tolerance=TOLERANCE[torch.float32], what="it")
    assert tolerance_of(tiny.llama()) == 1e-5 and tolerance_of(tiny.llama().bfloat16()) == 2e-2


def test_another_model_on_the_disk_and_a_weight_that_is_no_number_are_seen(tmp_path):
    model, other = tiny.llama(spread=0.2), tiny.llama(seed=1, spread=0.2)
    assert save_and_prove(model, tiny.tokenizer(), tmp_path / "a", PROBES, lambda folder: outputs(model, PROBES)) == 0
    with pytest.raises(Failed, match="the model read back from disk differs"):
        save_and_prove(model, tiny.tokenizer(), tmp_path / "b", PROBES, lambda folder: outputs(other, PROBES))
    torch.nn.init.constant_(model.model.norm.weight, float("inf"))
    with pytest.raises(Failed, match="'model.norm.weight' is not finite"):
        check_finite(model)
    with pytest.raises(Failed, match="not finite"):
        save_and_prove(model, tiny.tokenizer(), tmp_path / "c", PROBES, lambda folder: outputs(model, PROBES))
    assert not (tmp_path / "c").exists()
