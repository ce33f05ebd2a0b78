"""The largest update comes first, and leaves nothing behind."""

import pytest
import torch

from alignment.ppo import longest
from alignment.ppo.roles import CRITIC
from alignment.ppo.rollout import micro_batch
from tests.alignment.chains import StoppingUi, metrics, run_stage, weights


@pytest.mark.parametrize("critic", ["adapter", "head"])
def test_the_longest_prompts_with_the_longest_answers_go_through_both_passes(made, monkeypatch, critic):
    trainer = made(ppo__critic=critic)
    seen, passes = [], []
    monkeypatch.setattr(longest, "micro_batch", lambda rows, *rest: seen.append(rows) or micro_batch(rows, *rest))
    backward = trainer.accelerator.backward
    monkeypatch.setattr(trainer.accelerator, "backward", lambda loss: passes.append(loss) or backward(loss))
    state, drawn = trainer.roles.policy.state_dict(), torch.get_rng_state()
    before = {name: value.clone() for name, value in state.items()}
    longest.probe(trainer)
    room = trainer.settings.max_new_tokens
    lengths = sorted((len(prompt.ids) + room for prompt in trainer.prompts), reverse=True)
    assert [len(row.ids) for row in seen[0]] == lengths[: trainer.deal.micro] and len(seen[0]) == trainer.deal.micro
    assert len(passes) == (2 if critic == "adapter" else 1)
    assert all(p.grad is None for p in [*trainer.roles.policy.parameters(), *trainer.roles.heads[CRITIC].parameters()])
    assert torch.equal(drawn, torch.get_rng_state()) and all(torch.equal(before[name], x) for name, x in state.items())


def test_memory_that_is_too_small_for_it_halves_the_micro_batch_before_anything_is_drawn(chain, tmp_path, monkeypatch):
    ui, probe = StoppingUi(), longest.probe

    def small(trainer):
        if trainer.deal.micro > 2:
            assert trainer.rollout is None
            raise torch.OutOfMemoryError("out of memory")
        probe(trainer)

    run_stage("ppo", chain, chain["sft_run"], tmp_path / "plain", reward=str(chain["reward_run"]), hardware__micro_batch=2)
    monkeypatch.setattr(longest, "probe", small)
    run_stage("ppo", chain, chain["sft_run"], tmp_path / "run", reward=str(chain["reward_run"]), hardware__micro_batch=4, ui=ui)
    assert any("out of memory at 4 rows" in text for text in ui.warnings)
    assert weights(tmp_path / "run") == weights(tmp_path / "plain") and metrics(tmp_path / "run") == metrics(tmp_path / "plain")
