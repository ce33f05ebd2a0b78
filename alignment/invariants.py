"""What must hold at step 0. A violation stops the run with what was expected and what was seen."""

from __future__ import annotations

import math

import torch
from peft import PeftModel

from data_recipes.errors import Failed
from reward.losses import bradley_terry_losses
from reward.scalar import padded_equals_alone

from alignment.data import IGNORED, Rendered
from alignment.models import TOLERANCE, distance, outputs, tolerance_of

LN2 = math.log(2)


def fresh_adapter_is_identity(model: PeftModel, rows: list[list[int]]) -> float:
    """A fresh adapter of a kind that starts as the identity changes no logit. Returns the largest relative distance."""
    with_adapter = outputs(model, rows)
    with model.disable_adapter():
        without = outputs(model, rows)
    return close(with_adapter, without, tolerance_of(model), "a fresh adapter changes the model's logits")


def close(seen: torch.Tensor, expected: torch.Tensor, tolerance: float, what: str) -> float:
    """Raises Failed where two outputs differ by more than `tolerance` relative to their size."""
    found = distance(expected, seen)
    if not found <= tolerance:
        raise Failed(f"step 0: {what} by {found:.2e}", expected=f"at most {tolerance:.0e}")
    return found


def trained_tokens_agree(dataset, train: Rendered) -> int:
    """The trainer's data set carries as many trained tokens as the data report says: labels, or the answers of pairs.

    A reward model is trained on whole rows, prompt and answer. Raises Failed otherwise.
    """
    reported = train.counts["trained"] + train.counts.get("replay_trained", 0)
    if "labels" in dataset.column_names:
        seen = sum(label != IGNORED for row in dataset["labels"] for label in row)
    else:
        seen = sum(len(row) for side in ("chosen_ids", "rejected_ids") for row in dataset[side])
        reported = reported if "prompt_ids" in dataset.column_names else train.counts["tokens"]
    if seen != reported:
        raise Failed(f"step 0: the trainer would train {seen:,} tokens", expected=f"{reported:,}, as reported")
    return seen


@torch.no_grad()
def first_batch(trainer, rows: int) -> tuple[float, dict[str, list[float]]]:
    """Loss and metrics of the first rows in evaluation mode, without leaving a trace in the trainer's metrics.

    `rows` data rows are collated as one batch.
    """
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(rows)])
    batch.pop("row_ids", None)
    trainer.model.eval()
    # DPO's reference is prepared for autocast already, the policy not yet: without it here the two would differ
    with trainer.compute_loss_context_manager(), trainer.accelerator.autocast():
        loss = trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch))
    seen = {key: list(value) for key, value in trainer._metrics["eval"].items()}
    trainer._metrics["eval"].clear()
    trainer.model.train()
    return loss.item(), seen


def noise_of(trainer) -> float:
    """Relative noise of the trainer's arithmetic: that of the weights' dtype, or of autocast where that is coarser."""
    noise = tolerance_of(trainer.model)
    return noise if trainer.accelerator.mixed_precision == "no" else max(noise, TOLERANCE[torch.bfloat16])


def margins_are_zero(trainer, rows: int, *, plain: bool) -> float:
    """Policy and reference agree, so that each DPO margin is 0. Returns the loss.

    plain: the loss is the sigmoid one alone, unweighted, and thus ln 2.

    Raises:
        Failed: a margin is not 0, or the loss not ln 2, within the noise of the arithmetic.
    """
    loss, metrics = first_batch(trainer, rows)
    noise = noise_of(trainer)
    tolerance = noise * 100 if noise < 1e-4 else noise * 5  # a sum over the tokens of a completion
    margin = max(abs(value) for value in metrics["rewards/margins"])
    if not margin <= tolerance:
        raise Failed(
            f"step 0: the policy is not its reference, margin {margin:.2e}", expected=f"0 within {tolerance:.0e}"
        )
    if plain and not abs(loss - LN2) <= tolerance:
        raise Failed(f"step 0: the loss is {loss:.6f}", expected=f"ln 2 = {LN2:.6f} within {tolerance:.0e}")
    return loss


def head_starts_at_zero(trainer, head: torch.nn.Parameter, rows: int) -> float:
    """The head is zero, so that every score is 0 and the loss known; rows padded together score as each one alone.

    That loss is ln 2, or with margins the mean of -log sigmoid(-margin); a centering term adds nothing to scores of 0.

    With a zero head the second would hold trivially: it is checked with weights of both signs for the moment. A mean would see
    little: a layer norm leaves none.

    Raises:
        Failed: one of these does not hold.
    """
    loss, metrics = first_batch(trainer, rows)
    if head.abs().max().item() != 0 or metrics["max_reward"][0] != 0 or metrics["min_reward"][0] != 0:
        raise Failed("step 0: the score head does not start at zero", expected="a head of zeros")
    tolerance = 1e-5 if trainer.accelerator.mixed_precision == "no" else 5e-3  # ln 2 in bf16 is 0.6914
    margin_B = torch.tensor([float(trainer.train_dataset[i].get("margin", 0)) for i in range(rows)])
    expected = bradley_terry_losses(torch.zeros(rows), torch.zeros(rows), margin_B).mean().item()
    if not abs(loss - expected) <= tolerance * max(1.0, expected):
        named = f"{expected:.6f} of the rows' margins" if margin_B.any() else f"ln 2 = {LN2:.6f}"
        raise Failed(f"step 0: the loss is {loss:.6f}", expected=named)
    with torch.no_grad():
        head.copy_(torch.linspace(-1, 1, head.numel()).view_as(head) / head.numel())
        alone = [
            ids
            for i in range(rows)
            for ids in (trainer.train_dataset[i]["chosen_ids"], trainer.train_dataset[i]["rejected_ids"])
        ]
        try:
            padded_equals_alone(
                trainer.model,
                alone,
                pad_id=trainer.model.config.get_text_config().pad_token_id,
                tolerance=tolerance_of(trainer.model),
            )
        finally:
            head.zero_()
    trainer.model.train()
    return loss
