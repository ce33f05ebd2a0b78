"""Supervised tuning of encoder-decoder models: transformers' Seq2SeqTrainer with the suite's seams."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

from data_recipes.errors import Refused

from alignment.data import IGNORED, Rendered
from alignment.training.targets import TargetCollator, target_loss
from alignment.training.trainers import Seams


class TargetTrainer(Seams, Seq2SeqTrainer):
    """Supervised tuning on rows with `input_ids` (encoder) and `labels` (decoder), logged as TRL logs decoder-only models."""

    def __init__(self, *args, **kwargs) -> None:
        self._metrics: dict = {"train": defaultdict(list), "eval": defaultdict(list)}
        self._total_train_tokens = 0
        self.token_losses: list[tuple[float, float]] = []
        super().__init__(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels_BT = inputs["labels"]
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch)
        self._count("train" if self.model.training else "eval", inputs, labels_BT, outputs.logits.detach())
        return (loss, outputs) if return_outputs else loss

    @torch.no_grad()
    def _count(self, mode: str, inputs: dict, labels_BT: Tensor, logits_BTV: Tensor) -> None:
        """Tokens seen on both sides, the share of labels that were the most probable token, and of each held-out row the
        summed loss and the number of its labels."""
        labelled_BT = labels_BT != IGNORED
        right = (logits_BTV[:, -labels_BT.shape[1] :].argmax(-1) == labels_BT) & labelled_BT
        seen = inputs["attention_mask"].sum() + labelled_BT.sum()
        right, labelled, seen = self.accelerator.gather_for_metrics(
            torch.stack([right.sum(), labelled_BT.sum(), seen]).unsqueeze(0)
        ).sum(0).tolist()
        self._metrics[mode]["mean_token_accuracy"].append(right / max(labelled, 1))
        if mode == "train":
            self._total_train_tokens += seen
        else:
            logits_BVT = logits_BTV[:, -labels_BT.shape[1] :].float().transpose(1, 2)
            nats_BT = F.cross_entropy(logits_BVT, labels_BT, ignore_index=IGNORED, reduction="none")
            self.token_losses = list(zip(nats_BT.sum(1).tolist(), labelled_BT.sum(1).tolist(), strict=True))
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]

    def measured(self, loss, rows: int) -> list[tuple[float, float]]:
        return self.token_losses

    def log(self, logs, start_time=None):
        mode, before = ("train", "") if self.model.training else ("eval", "eval_")
        means = {f"{before}{name}": sum(values) / len(values) for name, values in self._metrics[mode].items()}
        self._metrics[mode].clear()
        logs.update(means)  # in place, as TRL does: the callbacks of an evaluation see the same dictionary
        super().log(logs, start_time)


def make_trainer(session, plan, train: Rendered, held_out: Rendered) -> TargetTrainer:
    """The trainer of a stage on rendered rows, with step 0 checked."""
    from alignment import adapters, invariants
    from alignment.result import probe_rows
    from alignment.session import trainable_model
    from alignment.training.arguments import one_device, owned

    config = session.config
    regular = {
        "neftune_noise_alpha": config.training.neftune_alpha,
        "label_smoothing_factor": config.training.label_smoothing,
    }
    given = {**owned(session, plan, train, held_out), **regular, **passed_on(config)}
    arguments = Seq2SeqTrainingArguments(**{name: value for name, value in given.items() if name != "max_length"})
    model = trainable_model(session, plan)
    if not session.full and not session.parent_adapter and adapters.kind(session.kind).identity:
        invariants.fresh_adapter_is_identity(model, [row[:64] for row in probe_rows(train)[:2]])
    trainer = TargetTrainer(
        model=model,
        args=one_device(arguments),
        data_collator=TargetCollator(model, session.renderer.pad_id),
        train_dataset=train.dataset(),
        eval_dataset=held_out.dataset() if len(held_out) else None,
        processing_class=session.tokenizer,
        compute_loss_func=smoothed(model, arguments.label_smoothing_factor),
        beside={"replay": session.general.dataset()} if session.general else {},
    )
    invariants.trained_tokens_agree(trainer.train_dataset, train)
    return trainer


def smoothed(model, share: float):
    """The loss, smoothed while the model is trained: the held-out one stays comparable."""
    def loss(outputs, labels_BT, num_items_in_batch=None):
        return target_loss(outputs, labels_BT, num_items_in_batch, smoothing=share if model.training else 0.0)

    return loss


def check_settings(session) -> None:
    """Raises Refused for what this trainer could not do, before anything is rendered."""
    passed_on(session.config)


def passed_on(config) -> dict[str, Any]:
    """The `trainer:` section, whose names are those of TRL's SFTConfig.

    Raises:
        Refused: an argument that transformers' Seq2SeqTrainingArguments does not have.
    """
    known = Seq2SeqTrainingArguments.__dataclass_fields__
    for name in config.trainer:
        if name not in known:
            raise Refused(
                f"trainer.{name} is for decoder-only models",
                where=config.origin(f"trainer.{name}") or f"trainer.{name}",
                expected="an argument that transformers' Seq2SeqTrainingArguments has too",
                do="Leave it out for an encoder-decoder model.",
            )
    return config.trainer
