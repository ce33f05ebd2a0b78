"""TRL's own engines: what is sent to vLLM is the policy, folded; what it leaves behind is the base, to the bit."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer.grpo_trainer import DistributedBackend

from alignment.config import load
from alignment.models import Loading, load_base
from alignment.ppo import drawing, engines
from alignment.ppo.checks import weighed_as_scored
from alignment.ppo.engine import _corrections, _own
from alignment.ppo.roles import POLICY, REFERENCE
from alignment.ppo.rollout import Rollout, Row, keep_of
from alignment.sources import resolve
from data_recipes.errors import Refused
from tests import tiny
from tests.alignment.chains import run_stage
from tests.alignment.ppo.test_drawing import tuned

RULE = "reward.rules:length_band(low=1, high=9)"


class Sent(VLLMGeneration):
    """TRL's half of vLLM, and instead of the engine a plain model that is given what TRL sends and draws from it."""

    def __init__(self, trainer, plain):  # TRL's own starts the engine
        self.model, self.accelerator, self.plain = trainer.model, trainer.accelerator, plain
        self._dist = DistributedBackend(trainer.accelerator)
        self.mode, self.enable_sleep_mode, self.names = "colocate", False, set()
        runner = SimpleNamespace(model_runner=SimpleNamespace(model=self))
        executor = SimpleNamespace(driver_worker=runner)
        self.llm = SimpleNamespace(llm_engine=SimpleNamespace(model_executor=executor), reset_prefix_cache=lambda: None)

    def load_weights(self, pairs):
        for name, weight in pairs:
            self.names.add(name)
            self.plain.get_parameter(name).data = weight.clone()

    def generate(self, prompts, images, num_generations, profiler=None):
        ids, logps = drawing.draw(self.plain, prompts, new_tokens=6, temperature=1.0, stops=[2], pad_id=0)
        return prompts, ids, [[[one] for one in row] for row in logps], None


def by_vllm(trainer, base):
    """The trainer as `trainer.use_vllm` makes it, with a plain copy of the base in place of the engine."""
    trainer.use_vllm, trainer.drawn_here, trainer.folds, trainer._last_loaded_step = True, False, False, -1
    trainer.vllm_generation = Sent(trainer, load_base(resolve(base), Loading()).eval())
    return trainer


def move(trainer):
    """The policy is no longer its reference."""
    torch.manual_seed(5)
    for parameter in trainer.roles.parameters[POLICY]:
        parameter.data += 0.3 * torch.randn_like(parameter)
    return trainer


@pytest.fixture
def moved(made):
    return move(made())


def test_vllm_draws_from_the_policy_and_the_base_comes_back_to_the_bit(chain, moved):
    trainer = by_vllm(moved, chain["base"])
    before = {name: (value.data_ptr(), value.clone()) for name, value in trainer.roles.policy.state_dict().items()}
    rows = trainer.sample([0, 1, 2], seed=[1])
    plain = load_base(resolve(chain["base"]), Loading())
    assert trainer.vllm_generation.names == {name for name, _ in plain.named_parameters()}  # and no adapter's
    for row in rows:  # what drew is what is scored: each weight of the correction is 1
        assert row.correction == pytest.approx([1.0] * len(row.completion_ids), abs=1e-3)
    for name, value in trainer.roles.policy.state_dict().items():
        assert value.data_ptr() == before[name][0] and torch.equal(value, before[name][1]), name
    assert not any(layer.merged for layer in drawing.tuned_layers(trainer.roles.policy))


def test_it_is_sent_the_weights_of_each_rollout(chain, moved):
    trainer = by_vllm(moved, chain["base"])
    sent = []
    for step in (0, 4):
        trainer.state.global_step = step
        trainer.sample([0], seed=[1])
        sent.append({name: value.clone() for name, value in trainer.vllm_generation.plain.state_dict().items()})
        for parameter in trainer.roles.parameters[POLICY]:
            parameter.data *= 2
    assert any(not torch.equal(sent[0][name], sent[1][name]) for name in sent[0])


def test_adding_and_subtracting_would_leave_another_base_behind():
    """Why the weights are lent: TRL's own way, which is PEFT's."""
    model = tuned(tiny.llama(spread=0.2)).to(torch.bfloat16)
    layer = drawing.tuned_layers(model)[0].get_base_layer()
    kept = layer.weight.clone()
    with engines.lent(model):
        model.merge_adapter()
        model.unmerge_adapter()
        assert not torch.equal(layer.weight, kept)
    assert torch.equal(layer.weight, kept)


def test_vllm_is_told_our_stop_tokens_alone_and_how_many_answers_at_once():
    arguments = SimpleNamespace(use_vllm=True, generation_kwargs=None, per_device_train_batch_size=8, steps_per_generation=1)
    engines.prepare(arguments, (7, 9), 60)
    assert arguments.generation_kwargs == {"stop_token_ids": [7, 9], "ignore_eos": True}
    assert arguments.steps_per_generation == 8
    plain = SimpleNamespace(use_vllm=False)
    engines.prepare(plain, (7, 9), 60)
    assert vars(plain) == {"use_vllm": False}


def test_one_weight_for_an_answer_stands_at_each_of_its_actions_and_a_tools_tokens_have_none():
    assert _own(None, 0, 3) is None
    assert _own(torch.tensor([[0.5], [2.0]]), 1, 3) == [2.0, 2.0, 2.0]
    assert _own(torch.tensor([[0.5, 1.5, 0.0]]), 0, 2) == [0.5, 1.5]
    rows = [Row(0, [5], [6, 7, 8], [True, False, True], True, [], correction=[0.5, 9.0, 1.5]),
            Row(1, [5], [6], [True], True, [], correction=[2.0])]
    assert _corrections(Rollout(0, rows, keep_of(rows))).tolist() == [[0.5, 1.5], [2.0, 1.0]]


def test_trl_weighs_answers_as_they_are_scored(made):
    weighed_as_scored(made())


def test_a_model_whose_answers_trl_would_weigh_otherwise_is_refused(tmp_path, made):
    tiny.save_base(tmp_path / "gpt2", model=tiny.gpt2())
    with pytest.raises(Refused, match="padded on the left"):
        weighed_as_scored(made(model=tmp_path / "gpt2", reward=RULE))


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed")
def test_without_vllm_it_is_refused_before_a_model_is_loaded(chain, tmp_path):
    with pytest.raises(Refused, match="vLLM is not installed"):
        run_stage("ppo", chain, chain["sft_run"], tmp_path / "run", reward=RULE, **{"trainer.use_vllm": True})


@pytest.mark.parametrize(
    ("bits", "kind", "rows", "said"),
    [("4bit", "lora", None, "round a quantised base"), ("none", "bottleneck", None, "does not fold"),
     ("none", "lora", {"embed_tokens": [260]}, "added tokens")],
)
def test_what_cannot_be_sent_to_vllm_is_refused(monkeypatch, bits, kind, rows, said):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    config = SimpleNamespace(trainer={"use_vllm": True}, model=SimpleNamespace(quantisation=bits))
    source = SimpleNamespace(adapter_config=lambda: {"trainable_token_indices": rows})
    session = SimpleNamespace(config=config, full=False, kind=kind, parent_adapter="run", job=SimpleNamespace(source=source))
    with pytest.raises(Refused, match=said):
        engines.check(session, SimpleNamespace(precision="bfloat16"))


BATCHED = {"trainer.use_transformers_continuous_batching": True}
SMALL = {"trainer.transformers_continuous_batching_config": {"max_memory_percent": 0.02}}


def test_continuous_batching_draws_from_the_policy_in_the_prompts_order_and_changes_nothing(made):
    trainer = made(ppo__temperature=1e-5, **BATCHED, **SMALL)  # so cold that nothing is left to chance
    move(trainer)
    before = {name: value.clone() for name, value in trainer.roles.policy.state_dict().items()}
    numbers = [0, 3, 1, 2, 3]
    seen = [row.completion_ids for row in trainer.sample(numbers, seed=[1])]
    attention = trainer.roles.policy.config._attn_implementation
    trainer.drawn_here = trainer.folds = True
    assert seen == [row.completion_ids for row in trainer.sample(numbers, seed=[1])]
    with trainer.roles.acting(REFERENCE):
        (other,), _ = drawing.draw(trainer.roles.policy, [trainer.prompts[0].ids], new_tokens=6, temperature=1e-5, stops=[2],
                                   pad_id=0)
    assert attention == "sdpa" and other != seen[0]
    assert all(torch.equal(value, before[name]) for name, value in trainer.roles.policy.state_dict().items())


def test_a_cache_of_half_the_memory_is_refused_on_a_processor(chain, tmp_path):
    with pytest.raises(Refused, match="half of the machine's memory"):
        run_stage("ppo", chain, chain["sft_run"], tmp_path / "run", reward=RULE, **BATCHED)


def test_continuous_batching_that_would_round_the_reference_is_refused():
    session = SimpleNamespace(config=SimpleNamespace(trainer={"use_transformers_continuous_batching": True}))
    with pytest.raises(Refused, match="the reference too"):
        engines.check(session, SimpleNamespace(precision="bfloat16", device="cuda"))


@pytest.mark.parametrize("how", ["FSDP", "DEEPSPEED"])
def test_weights_that_are_spread_over_processes_are_refused(chain, tmp_path, monkeypatch, how):
    monkeypatch.setenv(f"ACCELERATE_USE_{how}", "true")
    with pytest.raises(Refused, match="does not run under"):
        run_stage("ppo", chain, chain["sft_run"], tmp_path / "run", reward=RULE, dry_run=True)


@pytest.mark.parametrize("key", ["vllm_structured_outputs_regex=a+", "vllm_importance_sampling_correction=false"])
def test_what_would_draw_from_another_distribution_unseen_is_refused(key):
    with pytest.raises(Refused, match="set by the suite"):
        load("ppo", sets=[f"trainer.{key}"])
