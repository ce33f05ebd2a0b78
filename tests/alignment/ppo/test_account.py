"""What is said of each role before the start is what the loaded roles then hold."""

import json

import pytest

from alignment.hardware.memory import ModelShape, drawing_bytes, estimate, scoring_bytes, size_text
from alignment.ppo.roles import CRITIC, POLICY, REFERENCE, REWARD
from tests.alignment.chains import run_stage
from tests.alignment.ppo import rules_of_tests

RULE = f"{rules_of_tests.__name__}:many_z"


def said(chain, tmp_path, model=None, **settings) -> dict:
    """Roles, by a dry run."""
    settings.setdefault("reward", str(chain["reward_run"]))
    return run_stage("ppo", chain, model or chain["sft_run"], tmp_path / "dry", dry_run=True, **settings)["roles"]


def held(trainer, adapter: str) -> list:
    return [p for name, p in trainer.roles.policy.named_parameters() if f".{adapter}." in name]


def size(parameters) -> int:
    return sum(p.numel() for p in parameters)


@pytest.mark.parametrize("settings", [{}, {"ppo__critic_start": "policy"}, {"reward": RULE}, {"ppo__critic": "head"}])
def test_parameters_and_bytes_of_each_role_are_those_that_are_loaded(chain, tmp_path, made, settings):
    roles, trainer = said(chain, tmp_path, **settings), made(**settings)
    heads = {role: size(head.parameters()) - (role == REWARD) for role, head in trainer.roles.heads.items()}  # it has no bias
    for role in (POLICY, REFERENCE, CRITIC, REWARD):
        found = held(trainer, role)
        extra = heads.get(role, 0)
        assert (role in roles) == bool(found or extra), role
        if role in roles:
            assert roles[role]["parameters"] == size(found) + extra and roles[role]["held"] == 4 * roles[role]["parameters"]
    plain = size(p for name, p in trainer.roles.policy.named_parameters() if "lora_" not in name)
    assert roles["base, once"]["parameters"] == plain and roles["base, once"]["held"] == 4 * plain
    for role, entry in roles.items():
        assert entry["training"] == (12 * size(trainer.roles.trained(role)) if role in (POLICY, CRITIC) else 0)


def test_whole_models_beside_each_other(chain, tmp_path, made):
    roles = said(chain, tmp_path, model=chain["base"], adapter__kind="full", reward=RULE)
    trainer = made(model=chain["base"], adapter__kind="full", reward=RULE)
    for role in (POLICY, REFERENCE):
        assert roles[role]["parameters"] == size(trainer.roles.models[role].parameters())
    assert set(roles) == {POLICY, REFERENCE, CRITIC} and roles[REFERENCE]["training"] == 0
    assert roles[CRITIC]["held"] > roles[POLICY]["held"] and roles[CRITIC]["training"] > roles[POLICY]["training"] > 0


def test_a_reward_model_on_another_base_is_counted_whole(chain, tmp_path):
    run_stage("reward", chain, chain["sft_run"], tmp_path / "other", training__epochs=1, adapter__kind="full",
              adapter__on_parent="merge")
    roles = said(chain, tmp_path, reward=str(tmp_path / "other"))
    assert REWARD not in roles and roles[str(tmp_path / "other")]["parameters"] > roles["base, once"]["parameters"] / 2


def test_the_roles_are_in_the_manifest_and_their_sum_in_the_plan(chain, tmp_path):
    run_stage("ppo", chain, chain["sft_run"], tmp_path / "run", reward=str(chain["reward_run"]), training__max_steps=1)
    made = json.loads((tmp_path / "run" / "align.json").read_text())
    roles, parts = made["roles"], made["hardware"]["estimate"]
    assert parts["other roles"] == sum(entry["held"] for role, entry in roles.items() if role != "base, once")
    assert parts["training"] == sum(entry["training"] for entry in roles.values())
    together = sum(entry["held"] + entry["training"] for entry in roles.values()) + max(e["work"] for e in roles.values())
    assert made["hardware"]["estimate_total"] == pytest.approx(together, abs=2)


def test_more_answers_at_once_take_more_and_micro_batches_less_memory(chain, tmp_path):
    few, many = (said(chain, tmp_path, ppo__generation_batch=n)[POLICY]["work"] for n in (1, 8))
    assert few <= many
    shape = ModelShape(1000, 100, 2, 32, 300, kept=600, cached=128, tuned=500)
    drawn = [drawing_bytes(shape, rows=rows, length=100, width=4, folded=False) for rows in (1, 8)]
    assert drawn[1] == 8 * drawn[0]
    assert drawing_bytes(shape, rows=1, length=100, width=4, folded=True) - drawn[0] == 4 * 500
    # by hand: the cache, that of one of two layers twice; one layer's values; four times the scores of the next token
    assert drawn[0] == 4 * 100 * 128 * 1.5 + 4 * 100 * 300 + 16 * 300
    assert scoring_bytes(shape, rows=1, length=100, width=4, logits=False) == 4 * 100 * (300 + 32)


def test_what_draws_counts_only_beyond_an_update():
    shape = {"parameters": 1000, "trained": 100, "layers": 2, "hidden": 32, "vocabulary": 300}
    how = {"rows": 1, "length": 10, "precision": "float32", "weights": "float32", "checkpointing": False}
    plain = estimate(ModelShape(**shape), **how)
    working = plain["activations"] + plain["logits"]
    assert estimate(ModelShape(**shape, ungraded=working), **how) == plain
    found = estimate(ModelShape(**shape, ungraded=working + 7, beside=5), **how)
    assert found == {**plain, "other roles": 5, "drawing and scoring": 7}


def test_attentions_matrices_grow_with_the_square_of_a_row():
    shape, how = ModelShape(1000, 100, 2, 32, 300, kept=600, pairs=8), {"precision": "float32", "weights": "float32"}
    for rows, length in ((1, 10), (3, 20)):
        found = estimate(shape, rows=rows, length=length, checkpointing=False, **how)["activations"]
        assert found == 4 * (rows * length * 600 + rows * length**2 * 8)


def test_sizes_are_said_in_the_unit_that_fits():
    assert [size_text(x) for x in (512, 12 << 10, 1.5 * (1 << 20), 340 << 20, 5 << 28)] == [
        "0.50 KiB", "12 KiB", "1.50 MiB", "340 MiB", "1.25 GiB"]
