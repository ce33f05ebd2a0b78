"""What the suite leans on in TRL, transformers and PEFT. These fail first when one of them moves."""

import inspect

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainerCallback
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

from alignment.training.trainers import PairDpoTrainer, PairRewardTrainer, SftTrainer
from tests import tiny

ROWS = {"input_ids": [[3, 60, 61, 2], [3, 62, 2]], "labels": [[-100, -100, 61, 2], [-100, 62, 2]], "row": [0, 1]}
PAIRS = {
    "prompt_ids": [[3, 60], [3, 61]],
    "chosen_ids": [[70, 2], [71, 2]],
    "rejected_ids": [[80, 2], [81, 2]],
    "row": [0, 1],
}
WHOLE = {"chosen_ids": [[3, 60, 70, 2], [3, 2]], "rejected_ids": [[3, 60, 80, 2], [3, 61, 2]], "row": [0, 1]}
COMMON = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": [],
    "disable_tqdm": True,
    "remove_unused_columns": False,
    "max_length": None,
    "logging_steps": 1,
    "max_steps": 1,
    "save_strategy": "no",
    "per_device_train_batch_size": 2,
}


def adapter_model(**changes):
    return get_peft_model(tiny.llama(), LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", **changes))


def sft_trainer(folder, model=None, **arguments):
    return SftTrainer(
        model=model or adapter_model(),
        args=SFTConfig(str(folder), **{**COMMON, **arguments}),
        train_dataset=Dataset.from_dict(ROWS),
        processing_class=tiny.tokenizer(),
    )


def dpo_trainer(folder, model=None):
    return PairDpoTrainer(
        model=model or adapter_model(),
        args=DPOConfig(str(folder), **COMMON),
        train_dataset=Dataset.from_dict(PAIRS),
        processing_class=tiny.tokenizer(),
    )


def reward_trainer(folder):
    from transformers import AutoModelForSequenceClassification

    base = tiny.save_base(folder / "base")
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    return PairRewardTrainer(
        model=model,
        args=RewardConfig(str(folder), **COMMON),
        train_dataset=Dataset.from_dict(WHOLE),
        processing_class=tiny.tokenizer(),
    )


@pytest.mark.parametrize(
    ("owner", "method"),
    [
        (Trainer, "_get_train_sampler"),
        (Trainer, "training_step"),
        (Trainer, "prediction_step"),
        (Trainer, "_prepare_inputs"),
        (SFTTrainer, "create_model_card"),
        (SFTTrainer, "_send_telemetry"),
        (DPOTrainer, "_prepare_dataset"),
        (RewardTrainer, "compute_loss"),
        (SFTTrainer, "compute_loss"),
    ],
)
def test_the_methods_that_are_overridden_or_called_exist(owner, method):
    assert callable(getattr(owner, method))


def test_the_trainer_asks_for_its_sampler_with_the_data_set():
    assert list(inspect.signature(Trainer._get_train_sampler).parameters) == ["self", "train_dataset"]
    assert list(inspect.signature(Trainer.training_step).parameters) == [
        "self",
        "model",
        "inputs",
        "num_items_in_batch",
    ]


def test_sft_takes_rows_with_labels_as_they_are(tmp_path):
    trainer = sft_trainer(tmp_path)
    assert trainer.train_dataset["input_ids"][:] == ROWS["input_ids"]
    assert trainer.train_dataset["labels"][:] == ROWS["labels"]
    batch = trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[1]])
    assert batch["labels"].tolist() == [[-100, -100, 61, 2], [-100, 62, 2, -100]]
    assert batch["row_ids"].tolist() == [0, 1]


def test_dpo_takes_pairs_as_they_are_and_puts_the_chosen_first(tmp_path):
    trainer = dpo_trainer(tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[0]])
    assert batch["input_ids"].tolist() == [[3, 60, 70, 2], [3, 60, 80, 2]]
    assert batch["completion_mask"].tolist() == [[0, 0, 1, 1]] * 2


def test_reward_takes_pairs_as_they_are_and_pads_on_the_right(tmp_path):
    trainer = reward_trainer(tmp_path)
    batch = trainer.data_collator([trainer.train_dataset[0], trainer.train_dataset[1]])
    assert batch["input_ids"].tolist() == [[3, 60, 70, 2], [3, 2, 0, 0], [3, 60, 80, 2], [3, 61, 2, 0]]


def test_dpo_makes_a_reference_named_ref_that_does_not_train(tmp_path):
    trainer = dpo_trainer(tmp_path)
    assert set(trainer.model.peft_config) == {"default", "ref"}
    trained = [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    assert trained and all(".default." in name for name in trained)


class Raising(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.norm = sum(p.grad.abs().sum() for p in model.parameters() if p.grad is not None)
        raise RuntimeError("before the update")


def test_raising_before_the_optimizers_step_leaves_the_weights(tmp_path):
    trainer, callback = sft_trainer(tmp_path), Raising()
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.add_callback(callback)
    with pytest.raises(RuntimeError, match="before the update"):
        trainer.train()
    assert callback.norm > 0
    assert all(torch.equal(before[name], p) for name, p in trainer.model.named_parameters())


def test_the_token_counter_and_the_metrics_have_the_names_we_restore(tmp_path):
    trainer = sft_trainer(tmp_path)
    trainer.train()
    assert trainer._total_train_tokens == 7
    assert set(trainer._metrics) == {"train", "eval"}
    assert any("num_tokens" in row for row in trainer.state.log_history)


def test_a_checkpoint_has_the_files_the_seal_is_about_and_resumes_both_adapters(tmp_path):
    trainer = PairDpoTrainer(
        model=adapter_model(init_lora_weights=False),
        args=DPOConfig(str(tmp_path), **{**COMMON, "save_strategy": "steps", "save_steps": 1}),
        train_dataset=Dataset.from_dict(PAIRS),
        processing_class=tiny.tokenizer(),
    )
    reference = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if ".ref." in n}
    trainer.train()
    names = {path.name for path in (tmp_path / "checkpoint-1").iterdir()}
    assert names >= {
        "adapter_model.safetensors",
        "ref",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "trainer_state.json",
        "training_args.bin",
    }
    trainer._load_from_checkpoint(str(tmp_path / "checkpoint-1"))
    for name, parameter in trainer.model.named_parameters():
        if name in reference:
            assert torch.equal(reference[name], parameter) and not parameter.requires_grad


def test_nothing_is_sent_and_no_card_is_written(tmp_path):
    trainer = sft_trainer(tmp_path)
    assert trainer._send_telemetry() is None and trainer.create_model_card() is None
    assert not list(tmp_path.glob("README.md"))


def test_peft_saves_a_head_only_for_sequence_classification(tmp_path):
    """The reason why the reward stage's adapter has that task type."""
    from transformers import AutoModelForSequenceClassification

    base = tiny.save_base(tmp_path / "base")
    for task, saved in (("SEQ_CLS", True), (None, False)):
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type=task))
        wrapped.save_pretrained(tmp_path / str(task))
        from safetensors.torch import load_file

        names = load_file(tmp_path / str(task) / "adapter_model.safetensors")
        assert any("score" in name for name in names) is saved


def test_a_direct_run_can_be_told_to_use_one_of_several_gpus(tmp_path):
    """TRL refuses the Trainer's `nn.DataParallel`, which it takes where several GPUs are in sight."""
    from alignment.training.arguments import one_device

    arguments = SFTConfig(str(tmp_path), **COMMON)
    assert arguments.n_gpu <= 1
    arguments._n_gpu = 4
    assert one_device(arguments).n_gpu == 1
