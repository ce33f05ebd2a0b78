"""Four roles on one base: what is trained, what is frozen, what is in memory, and that each says what its run says."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from alignment.models import load_policy, load_scorer
from alignment.ppo.casting import Cast, check_padding, once_in_memory
from alignment.ppo.rewards import OpenReward
from alignment.ppo.roles import CRITIC, POLICY, REFERENCE, REWARD
from data_recipes.errors import Failed, Refused
from reward.learned import RewardModel
from tests.alignment.chains import run_stage


def trainable(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_policy_and_critic_stay_trainable_whoever_acts(made):
    roles = made().roles
    at_first = trainable(roles.policy)
    assert any(".default." in n for n in at_first) and any(".critic." in n for n in at_first)
    for role in (CRITIC, REFERENCE, REWARD, POLICY):
        roles.act(role)
        assert trainable(roles.policy) == at_first
        assert not any(".ref." in n or ".reward." in n for n in trainable(roles.policy))


def test_each_base_weight_is_in_memory_once(made):
    roles = made().roles
    stored = [p.data_ptr() for name, p in roles.policy.named_parameters() if "lora_" not in name]
    assert len(stored) == len(set(stored))
    plain = sum(p.numel() for name, p in roles.policy.named_parameters() if "lora_" not in name) * 4
    assert plain < once_in_memory(roles) < 2 * plain  # with the frozen adapters


def test_a_base_weight_that_is_there_twice_is_found(made):
    roles = made().roles
    layer = roles.policy.get_base_model().model.layers[0]
    layer.twin = torch.nn.Linear(2, 2)
    layer.base_layer = torch.nn.Module()
    layer.base_layer.twin = torch.nn.Linear(2, 2)
    with pytest.raises(Failed, match="twice"):
        once_in_memory(roles)


def test_the_reference_is_the_parent_and_the_policy_starts_as_it(chain, made):
    trainer = made()
    parent = load_policy(str(chain["sft_run"]))
    ids = torch.tensor([trainer.prompts[0].ids])
    expected = parent.model(input_ids=ids).logits
    for role in (POLICY, REFERENCE):
        with trainer.roles.acting(role), torch.no_grad():
            seen = trainer.roles.policy(input_ids=ids).logits
        torch.testing.assert_close(seen, expected, rtol=0, atol=1e-6)


def test_the_reward_adapter_scores_as_the_reward_run_itself(chain, made):
    trainer = made()
    shared = trainer.objective.rewards[0]
    assert shared.role == REWARD
    loaded = load_scorer(str(chain["reward_run"]))
    alone = RewardModel(loaded.model, loaded.renderer(max_length=None))
    prompts = [p.messages for p in trainer.prompts[:5]]
    texts = ["yes", "it is on its way", "no", "we will look", "7 days"]
    assert shared.texts(prompts, texts) == pytest.approx(alone(prompts, texts), abs=1e-5)


def test_the_critic_begins_as_the_reward_model_on_its_own_token_ids(chain, made):
    trainer = made(ppo__normalise="none")
    loaded = load_scorer(str(chain["reward_run"]))
    ids = trainer.prompts[0].ids
    with torch.no_grad():
        score = loaded.model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits.item()
        with trainer.roles.acting(CRITIC):
            hidden = trainer.roles.hidden(CRITIC, torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.bool))
            value = trainer.roles.heads[CRITIC](hidden[0, -1]).item()
    assert score != 0 and value == pytest.approx(score, abs=1e-6)


def test_calibrated_values_are_calibrated_scores(chain, made):
    trainer = made(ppo__normalise="calibration")
    scale = trainer.objective.rewards[0].scale
    ids = [trainer.prompts[0].ids]
    score = trainer.objective.rewards[0].score.ids(ids)[0]
    with torch.no_grad(), trainer.roles.acting(CRITIC):
        hidden = trainer.roles.hidden(CRITIC, torch.tensor(ids), torch.ones(1, len(ids[0]), dtype=torch.bool))
        value = trainer.roles.heads[CRITIC](hidden[0, -1]).item()
    assert scale.std != 1.0 and value == pytest.approx((score - scale.mean) / scale.std, abs=1e-5)


def test_a_reward_model_that_scores_otherwise_beside_other_rows_is_found(chain, made):
    rewards = made().objective.rewards
    roles = SimpleNamespace(policy=torch.nn.Linear(1, 1))
    prompts = [[{"role": "user", "content": "hello " * n}] for n in (1, 4)]
    assert check_padding(Cast(roles, rewards, None, "policy"), prompts) < 1e-5
    careless = OpenReward("careless", None, lambda asked, texts: [float(len(asked))] * len(asked))
    for cast in (Cast(roles, [careless], None, "policy"), Cast(roles, rewards, careless, "policy")):
        with pytest.raises(Failed, match="than alone with careless"):
            check_padding(cast, prompts)


def test_a_folder_whose_score_head_is_missing_is_no_reward(chain, tmp_path):
    """transformers makes a new one, by which every answer has the same score."""
    folder = tmp_path / "reward"
    loaded = load_scorer(str(chain["reward_run"]))
    merged = loaded.model.merge_and_unload()
    merged.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    assert load_scorer(str(folder)).model.score.weight.abs().sum() > 0
    state = load_file(folder / "model.safetensors")
    del state["score.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refused, match="score.weight"):
        run_stage("ppo", chain, chain["sft_run"], tmp_path / "run", reward=str(folder))


def test_a_rule_alone_gives_a_critic_from_the_policy_with_a_head_of_zeros(made):
    trainer = made(reward="reward.rules:length_band(low=1, high=5)")
    assert trainer.roles.heads[CRITIC].weight.abs().sum() == 0
    assert REWARD not in trainer.roles.policy.peft_config


def test_a_head_on_the_policys_trunk_has_no_adapter_of_its_own(made):
    trainer = made(ppo__critic="head")
    assert CRITIC not in trainer.roles.policy.peft_config
    assert len(trainer.roles.trained(CRITIC)) == 2


def test_of_whole_models_only_the_weights_that_were_named_are_trained(chain, tmp_path):
    run_stage("ppo", chain, chain["base"], tmp_path / "run", reward="reward.rules:length_band(low=1, high=5)",
              adapter__kind="full", adapter__trainable=["model.layers.1.mlp.*"], training__max_steps=2, ppo__keep="last")
    before = load_file(chain["base"] / "model.safetensors")
    for folder in (tmp_path / "run", tmp_path / "run" / "critic"):
        after = load_file(folder / "model.safetensors")
        changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
        assert changed and all(name.startswith("model.layers.1.mlp.") for name in changed), folder


def test_a_padded_row_of_a_model_with_learned_positions_is_scored_as_alone(tmp_path):
    """Rows are packed to the right of nothing, so GPT-2 sees the positions that a row alone has."""
    from alignment.ppo.rollout import Row, micro_batch
    from tests.tiny import gpt2

    model = gpt2().eval()
    rows = [Row(0, [5, 6, 7], [8, 9], [True, True], True, []), Row(0, [4] * 9, [3] * 7, [True] * 7, True, [])]

    def logps(indices):
        batch = micro_batch(rows, indices, 0, "cpu")
        with torch.no_grad():
            all_logps = model(input_ids=batch.ids_BT, attention_mask=batch.real_BT.long()).logits.log_softmax(-1)
        picked = all_logps[:, :-1].gather(2, batch.ids_BT[:, 1:, None])[..., 0]
        return batch.at_actions(torch.cat([picked, picked[:, -1:]], 1))

    torch.testing.assert_close(logps([0, 1])[0, :2], logps([0])[0], rtol=0, atol=1e-6)
