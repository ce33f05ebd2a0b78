"""The label-only head against TRL's own: the same losses, gradients and logged figures; and TRL's seams still there."""

from __future__ import annotations

import inspect

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer
from trl.trainer.utils import FusedCausalLMOutput, add_fused_lm_head

from alignment.training import label_head
from alignment.training.label_head import attach_label_head

from tests import tiny

FIELDS = ("log_probs", "entropy", "is_top1")
BATCHES = {
    "prompts and padding": [[-100, -100, 7, 8, 2, -100], [-100, 9, 2, -100, -100, -100], [-100] * 5 + [4]],
    "every position": [[1, 2, 3, 4], [5, 6, 7, 8]],
    "one row without a label": [[-100] * 4, [-100, 5, 6, 2]],
    "no label at all": [[-100] * 4, [-100] * 4],
}


def adapted(seed: int = 0):
    """A tiny model with TRL's fused head and a LoRA adapter that changes the logits."""
    model = tiny.llama(seed=seed, spread=0.2)
    add_fused_lm_head(model, outputs=FIELDS)
    torch.manual_seed(1)
    return get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False))


def answer(model, labels: list[list[int]]):
    """Output and adapter gradients of one batch."""
    labels = torch.tensor(labels)
    ids = torch.arange(labels.numel()).reshape(labels.shape) % 250 + 3
    output = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, fused_lm_head=True)
    output.loss.backward()
    return output, [p.grad.clone() for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("name", BATCHES)
def test_outputs_and_gradients_are_trls_own(name):
    expected, expected_gradients = answer(adapted(), BATCHES[name])
    model = adapted()
    attach_label_head(model)
    seen, gradients = answer(model, BATCHES[name])
    assert isinstance(seen, FusedCausalLMOutput)
    torch.testing.assert_close(seen.loss, expected.loss, rtol=0, atol=1e-5)
    assert torch.equal(seen.label_mask, expected.label_mask)
    for field in FIELDS:
        torch.testing.assert_close(getattr(seen, field), getattr(expected, field), rtol=0, atol=1e-5)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_only_labelled_positions_reach_the_head(monkeypatch):
    from trl.trainer import utils

    rows, real = [], utils._ChunkedLogProbFunction.apply

    def counted(hidden, *rest):
        rows.append(len(hidden))
        return real(hidden, *rest)

    monkeypatch.setattr(utils._ChunkedLogProbFunction, "apply", counted)
    model = adapted()
    attach_label_head(model)
    answer(model, BATCHES["prompts and padding"])
    assert rows == [6]


def test_an_ordinary_call_is_untouched_even_after_one_that_failed():
    model = adapted()
    ids = torch.tensor([[5, 6, 7, 8]])
    expected = model(input_ids=ids).logits
    attach_label_head(model)
    with pytest.raises(IndexError):
        model(input_ids=ids + 1000, labels=ids, fused_lm_head=True)
    assert torch.equal(model(input_ids=ids).logits, expected)


def test_trl_compacts_by_itself_only_where_we_do_not():
    """Fails first where TRL scores labelled positions on every device, and our hooks can go."""
    source = inspect.getsource(add_fused_lm_head)
    assert "compact = _use_triton(hidden_states.device)" in source
    assert "labels = shift_labels" in source
    assert set(label_head.COMPACT_HERE) & {"cuda", "xpu"} == set()


def logged(trainer_class, config_class, rows, folder, *, ours: bool, **extra) -> list[dict]:
    """What two steps of a TRL trainer log, with or without the hooks."""
    arguments = config_class(
        output_dir=str(folder), per_device_train_batch_size=4, max_steps=2, learning_rate=1e-2, use_cpu=True, bf16=False,
        gradient_checkpointing=False, logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, **extra)
    torch.manual_seed(3)
    trainer = trainer_class(
        model=tiny.llama(spread=0.2), args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tiny.tokenizer(),
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    if ours:
        attach_label_head(trainer.model)
    trainer.train()
    return [row for row in trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize(("trainer_class", "config_class", "rows", "extra"), [
    (SFTTrainer, SFTConfig, tiny.demonstrations(8), {"assistant_only_loss": True}),
    (DPOTrainer, DPOConfig, tiny.comparisons(8), {}),
], ids=["sft", "dpo"])
def test_the_logged_figures_keep_their_meaning(trainer_class, config_class, rows, extra, tmp_path):
    expected, seen = (logged(trainer_class, config_class, rows, tmp_path, ours=ours, **extra) for ours in (False, True))
    for before, after in zip(expected, seen, strict=True):
        assert before.keys() == after.keys()
        for key, value in before.items():
            assert after[key] == pytest.approx(value, abs=1e-4), key
