"""What PPO leans on in TRL, transformers and PEFT: each of these fails first when they move."""

import inspect

import pytest
import torch
from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration

from alignment.ppo import numerics
from alignment.ppo.rollout import micro_batch
from alignment.ppo.trainer import SEAMS, PpoArguments

HOMES = {"GRPOConfig": GRPOConfig, "GRPOTrainer": GRPOTrainer, "Trainer": Trainer, "VLLMGeneration": VLLMGeneration}


@pytest.mark.parametrize("seam", SEAMS)
def test_the_seams_are_there(seam):
    home, _, name = seam.partition(".")
    assert callable(getattr(HOMES[home], name))


def test_trl_still_refuses_one_answer_a_prompt_and_our_arguments_take_it(tmp_path):
    common = {"output_dir": str(tmp_path), "per_device_train_batch_size": 1, "use_cpu": True, "bf16": False}
    with pytest.raises(ValueError, match="at least 2 generations"):
        GRPOConfig(**common, num_generations=1)
    arguments = PpoArguments(**common)
    assert arguments.num_generations == arguments.steps_per_generation == 1


def test_the_engine_hands_over_ids_and_rewards_by_these_names():
    given = list(inspect.signature(GRPOTrainer._calculate_rewards).parameters)
    assert given == ["self", "inputs", "prompts", "completions", "completion_ids_list"]
    assert list(inspect.signature(GRPOTrainer._tokenize_prompts).parameters) == ["self", "prompts"]
    assert list(inspect.signature(GRPOTrainer._generate).parameters) == ["self", "prompts"]
    source = inspect.getsource(GRPOTrainer._generate)
    assert source.rstrip().endswith("return prompt_ids, completion_ids, tool_mask, completions, logprobs, extra_fields, "
                                    "images, tool_images")


def test_the_loop_over_calls_takes_and_gives_what_evaluation_needs():
    given = list(inspect.signature(GRPOTrainer._tool_call_loop).parameters)
    assert given == ["self", "prompts", "prompt_ids", "completion_ids", "completions", "logprobs", "images",
                     "multimodal_fields"]
    loop = inspect.getsource(GRPOTrainer._tool_call_loop)
    assert loop.rstrip().endswith("return tool_mask, completions, completion_ids, logprobs, tool_call_count, "
                                  "tool_failure_count, tool_images")
    assert "self._sync_tool_dicts[" in loop and "self._async_tool_dicts[" in loop
    assert list(inspect.signature(GRPOTrainer._generate_single_turn).parameters)[:2] == ["self", "prompt_ids"]
    assert list(inspect.signature(GRPOTrainer._get_tool_suffix_ids).parameters) == ["self", "tool_messages"]


def test_one_step_a_generation_spares_trls_own_log_probabilities(made):
    """TRL scores its answers again where a generation lasts more than a step; ours are scored in our own shapes."""
    trainer = made()
    seen = []
    trainer._get_per_token_logps_and_entropies = lambda *a, **k: seen.append(1)
    rows = trainer.sample([0, 1], seed=[1])
    assert not seen and len(rows) == 2


def test_answers_keep_the_order_of_their_prompts_and_end_at_a_stop_token(made):
    trainer = made(ppo__generation_batch=2)
    rows = trainer.sample([3, 0, 2, 1, 3], seed=[5])
    assert [row.prompt for row in rows] == [3, 0, 2, 1, 3]
    stops = set(trainer.renderer.stop_ids)
    for row in rows:
        assert row.prompt_ids == trainer.prompts[row.prompt].ids
        assert row.stopped == (row.completion_ids[-1] in stops)
        assert not set(row.completion_ids[:-1]) & stops and 1 <= len(row.completion_ids) <= 6


def test_the_same_seed_gives_the_same_answers_and_leaves_the_runs_own_random_numbers(made):
    trainer = made()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two, other = (trainer.sample([0, 1, 2], seed=[s]) for s in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), before)
    assert [r.completion_ids for r in one] == [r.completion_ids for r in two]
    assert [r.completion_ids for r in one] != [r.completion_ids for r in other]


def test_our_loss_is_trls_loss_where_both_are_defined(made):
    """GRPO's clipped loss with advantages of shape (B, T), by TRL's code, on the same rows: equal to ours."""
    trainer = made()
    rollout = trainer.collect(0)
    batch = micro_batch(rollout.rows, [0, 1, 2], trainer.renderer.pad_id, "cpu")
    made_figures = {name: x[[0, 1, 2], : batch.keep_BA.shape[1]] for name, x in rollout.figures.items()}
    old = made_figures["logps"] + 0.3 * torch.randn_like(made_figures["logps"])
    with torch.no_grad():
        logps_BA, _ = trainer._logps(trainer.roles.policy, batch)
    ours, _ = numerics.policy_loss(logps_BA, old, made_figures["advantages"], batch.keep_BA, clip=0.2)
    trainer.loss_type, trainer.epsilon_low, trainer.epsilon_high = "bnpo", 0.2, 0.2
    trainer._get_per_token_logps_and_entropies = lambda *a, **k: (logps_BA, torch.zeros_like(logps_BA), None)
    trainer.current_gradient_accumulation_steps = 1
    width = batch.keep_BA.shape[1]
    theirs = GRPOTrainer._compute_loss(trainer, trainer.roles.policy, {
        "prompt_ids": batch.ids_BT[:, :1], "prompt_mask": batch.real_BT[:, :1].long(),
        "completion_ids": torch.zeros(3, width, dtype=torch.long), "completion_mask": batch.keep_BA.long(),
        "advantages": made_figures["advantages"], "old_per_token_logps": old,
        "num_items_in_batch": batch.keep_BA.sum(),
    })
    torch.testing.assert_close(ours / batch.keep_BA.sum(), theirs)


def test_peft_still_freezes_what_is_not_active(made):
    """`set_adapter` makes the active adapter trainable and the others not; `Roles.act` is written for that."""
    model = made().roles.policy

    def trainable():
        return {part for name, p in model.named_parameters() if p.requires_grad for part in name.split(".")
                if part in model.peft_config}

    model.set_adapter("critic")
    assert trainable() == {"critic"}
    model.set_adapter("ref")
    assert trainable() == {"ref"}
