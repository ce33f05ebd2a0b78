"""`align ppo` as a user runs it: it learns, it stops, it refuses, and its result loads everywhere."""

import json

import numpy as np
import pytest
import torch

from alignment.evaluate.report import run_report
from alignment.models import load_policy
from alignment.ppo import examiner
from alignment.ppo.checkpoint import HEAD_FILE
from alignment.runs import Run
from data_recipes.errors import Failed, Refused
from data_recipes.files import write_jsonl
from tests import tiny
from tests.alignment.chains import StoppingUi, metrics, run_stage, weights
from tests.alignment.ppo import rules_of_tests

RULES = "tests.alignment.ppo.rules_of_tests:"
LEARNING = {
    "training__learning_rate": 2e-2, "training__batch_size": 16, "hardware__micro_batch": 16, "training__schedule": "constant",
    "ppo__rollout_size": 32, "ppo__max_new_tokens": 12, "ppo__kl_coefficient": 0.0, "ppo__missing_stop": "none",
    "ppo__eval_rows": 16, "training__save_every": 100, "ppo__gae_lambda": 1.0,
}


def train(chain, output, **settings):
    settings = {"reward": str(chain.get("reward_run")), **settings}
    return run_stage("ppo", chain, settings.pop("model", chain.get("sft_run")), output, **settings)


def manifest(run):
    return json.loads((run / "align.json").read_text())


@pytest.fixture(scope="module")
def finished(chain, tmp_path_factory):
    output = tmp_path_factory.mktemp("ppo") / "run"
    train(chain, output)
    return output


# ---------------------------------------------------------------------------------------------------------------- learning


def test_proxy_rises_gold_falls_and_the_kept_weights_lie_before_the_turn(tmp_path):
    """A planted loophole: a letter that the proxy loves without end and the judge only three times over."""
    chain = {"base": tmp_path / "base", "ppo": tmp_path / "prompts.jsonl"}
    tiny.save_base(chain["base"], model=tiny.llama(spread=0.2))
    write_jsonl(chain["ppo"], [{"prompt": f"say {word}"} for word in "abcdefghijklmnopqrstuvwxyz"])
    summary = train(chain, tmp_path / "run", model=chain["base"], reward=RULES + "many_z", gold=RULES + "some_z",
                    training__max_steps=32, training__eval_every=4, **LEARNING)
    rows = [row for row in metrics(tmp_path / "run") if "eval_gold" in row]
    proxy, gold = [row["eval_proxy"] for row in rows], [row["eval_gold"] for row in rows]
    kept = manifest(tmp_path / "run")["kept"]
    best = max(range(len(rows)), key=lambda i: gold[i])
    assert kept["by"] == "gold" and kept["step"] == rows[best]["step"]
    assert 0 < best < len(rows) - 1
    assert proxy[-1] > proxy[best] > proxy[0] and gold[-1] < gold[best] - 1 and gold[best] > gold[0] + 0.5
    assert summary["state"] == "completed"


def test_the_kept_policy_is_the_one_that_is_saved(chain, tmp_path):
    """With `keep: last` the last weights are the result, with `best` those of the best evaluation; here they differ."""
    last, best = (train(chain, tmp_path / keep, ppo__keep=keep, reward=RULES + "many_z") for keep in ("last", "best"))
    kept = manifest(tmp_path / "best")["kept"]
    assert manifest(tmp_path / "last")["kept"]["step"] == 10 and kept["step"] in (0, 5, 10)
    assert (weights(tmp_path / "last") == weights(tmp_path / "best")) == (kept["step"] == 10)
    assert last["counts"]["steps"] == best["counts"]["steps"] == 10


def test_without_gold_the_best_proxy_within_the_budget_is_kept(chain, tmp_path):
    train(chain, tmp_path / "run", ppo__kl_budget=1e-12, reward=RULES + "many_z", training__learning_rate=1e-2)
    assert manifest(tmp_path / "run")["kept"]["step"] == 0  # every later one is beyond so small a budget


# ------------------------------------------------------------------------------------------------------------------ result


def test_the_result_is_plain_peft_and_the_critic_lies_beside_it(chain, finished):
    from peft import AutoPeftModelForCausalLM, PeftConfig
    from safetensors.torch import load_file

    plain = AutoPeftModelForCausalLM.from_pretrained(finished)
    ours = load_policy(str(finished))
    ids = torch.tensor([[5, 6, 7, 8]])
    torch.testing.assert_close(plain(input_ids=ids).logits, ours.model(input_ids=ids).logits, rtol=0, atol=1e-6)
    assert not (finished / "ref").exists() and not (finished / "reward").exists()
    assert PeftConfig.from_pretrained(finished / "critic").r == 4
    assert set(load_file(finished / "critic" / HEAD_FILE)) == {"weight", "bias"}
    assert not list(finished.rglob("*.bin"))


def test_the_manifest_tells_the_whole_lineage(chain, finished):
    made = manifest(finished)
    assert [parent["role"] for parent in made["parents"]] == ["model", "reward"]
    assert made["reference"]["kind"] == "adapter" and made["state"] == "completed"
    assert set(made["critic"]["files"]) >= {"adapter_model.safetensors", HEAD_FILE}


def test_a_ppo_run_is_a_parent_for_each_stage(chain, finished, tmp_path):
    for stage in ("sft", "dpo", "reward"):
        done = run_stage(stage, chain, finished, tmp_path / stage, training__max_steps=2)
        assert done["state"] == "completed"


def test_answers_of_each_evaluation_are_kept_to_be_read(finished):
    rows = [json.loads(line) for line in (finished / "private" / "completions.jsonl").read_text().splitlines()]
    assert {row["step"] for row in rows} == {0, 5, 10}
    assert set(rows[0]) == {"step", "prompt", "answer", "stopped", "proxy"}


def test_the_report_shows_what_was_said_at_each_evaluation(finished):
    page = run_report(Run.open(finished), samples=1).read_text()
    assert "as it was trained" in page and all(f"<h3>step {step}</h3>" in page for step in (0, 5, 10))


def test_the_first_step_has_ratio_one_and_no_kl(finished):
    first = next(row for row in metrics(finished) if row["step"] == 1)
    assert first["policy/ratio"] == 1.0 and first["policy/approx_kl_k3"] == 0.0 and first["policy/clip_share"] == 0.0
    assert first["kl/k1"] == 0.0 and first["kl/k3"] == 0.0


def test_the_same_command_again_says_that_it_is_done(chain, finished):
    before = weights(finished)
    train(chain, finished)
    assert weights(finished) == before


def test_another_reward_is_another_command(chain, finished):
    with pytest.raises(Refused, match="rewards"):
        train(chain, finished, reward=RULES + "many_z")


# ---------------------------------------------------------------------------------------------------------------- settings


def test_a_critic_warm_up_leaves_the_policy_where_it_was(chain, tmp_path):
    run = tmp_path / "run"
    train(chain, run, ppo__critic_warmup=1, training__max_steps=8, training__save_every=4)  # two rollouts of four steps
    name, checkpoints = "adapter_model.safetensors", run / "checkpoints"
    began = (chain["sft_run"] / name).read_bytes()
    assert (checkpoints / "checkpoint-4" / name).read_bytes() == began != (checkpoints / "checkpoint-8" / name).read_bytes()
    assert all(row["grad_norm/critic"] > 0 for row in metrics(run) if "grad_norm/critic" in row)


def test_a_head_of_the_policys_own_trunk_warms_up_without_the_policy(chain, tmp_path):
    run = tmp_path / "run"
    train(chain, run, ppo__critic="head", ppo__critic_warmup=1, training__max_steps=8)
    rows = [row for row in metrics(run) if "grad_norm/policy" in row]
    assert [row["grad_norm/policy"] == 0 for row in rows] == [True] * 4 + [False] * 4
    assert all(row["grad_norm/critic"] > 0 for row in rows)


def test_updates_of_a_rollout_end_once_the_policy_has_moved_too_far(chain, tmp_path):
    run = tmp_path / "run"
    train(chain, run, ppo__kl_stop=1e-9, training__learning_rate=1e-2, training__max_steps=8)
    stopped = [row["policy/update_stopped"] for row in metrics(run) if "policy/update_stopped" in row]
    assert stopped == [0, 1, 1, 1, 0, 1, 1, 1]  # the first step of each rollout is made, from its own policy
    norms = [row["grad_norm/policy"] for row in metrics(run) if "grad_norm/policy" in row]
    assert [norm == 0 for norm in norms] == [False, True, True, True] * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"ppo__kl_in": "loss", "ppo__kl_estimator": "k3"},
        {"ppo__kl_in": "loss", "ppo__kl_estimator": "k2", "ppo__entropy_coefficient": 0.01},
        {"ppo__kl_target": 0.1, "ppo__kl_estimator": "k3", "ppo__reward_clip": 0.5, "ppo__whiten_rewards": True},
        {"ppo__samples": 2, "ppo__missing_stop": "replace", "ppo__missing_stop_value": -3.0, "ppo__value_clip": None},
        {"ppo__temperature": 0.7, "ppo__normalise": "calibration", "ppo__critic_learning_rate": 1e-2},
        {"ppo__whiten_advantages": False, "ppo__normalise": "none", "ppo__critic_start": "policy"},
        {"hardware__checkpointing": "on"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_train_and_hold_at_step_zero(chain, tmp_path, settings):
    done = train(chain, tmp_path / "run", training__max_steps=5, **settings)
    rows = metrics(tmp_path / "run")
    first = next(row for row in rows if row["step"] == 1)
    assert done["state"] == "completed" and first["policy/ratio"] == 1.0 and first["kl/k1"] == 0.0


def test_micro_batches_and_checkpointing_change_nothing_but_rounding(chain, tmp_path):
    """Two backward passes a micro-batch, each while its own adapter acts: the recomputation sees the right one."""
    runs = {
        "plain": {"hardware__micro_batch": 4},
        "halves": {"hardware__micro_batch": 2},
        "checkpointed": {"hardware__micro_batch": 4, "hardware__checkpointing": "on"},
    }
    losses = {}
    for name, settings in runs.items():
        train(chain, tmp_path / name, training__max_steps=4, **settings)
        losses[name] = [row["loss"] for row in metrics(tmp_path / name) if "loss" in row]
    assert losses["halves"] == pytest.approx(losses["plain"], abs=1e-5)
    assert losses["checkpointed"] == pytest.approx(losses["plain"], abs=1e-6)


def test_several_rewards_are_weighted_and_an_ensemble_takes_its_minimum(chain, tmp_path):
    both = [str(chain["reward_run"]), RULES + "many_z"]
    train(chain, tmp_path / "sum", reward=both, training__max_steps=2, **{"ppo.weights": [1.0, 0.5]})
    train(chain, tmp_path / "minimum", reward=both, training__max_steps=2, ppo__combine="minimum")
    rewards, letter = ([row[f"rewards/{name}/mean"] for row in metrics(tmp_path / "sum") if f"rewards/{name}/mean" in row][0]
                       for name in both)
    means = [[row["score/mean"] for row in metrics(tmp_path / how) if "score/mean" in row][0] for how in ("sum", "minimum")]
    assert means[0] == pytest.approx(rewards + 0.5 * letter, abs=1e-5) and means[1] <= min(rewards, letter) + 1e-6


def test_rules_get_the_rows_columns_and_which_answers_stopped(chain, tmp_path):
    rows = tmp_path / "prompts.jsonl"
    write_jsonl(rows, [{"prompt": f"number {i}", "mark": i} for i in range(12)])
    rules_of_tests.CALLS.clear()
    train({**chain, "ppo": rows}, tmp_path / "run", reward=RULES + "by_column", training__max_steps=2)
    seen = rules_of_tests.CALLS[-1]
    assert all(where.endswith(f"prompts.jsonl:{mark + 1}") for mark, where in zip(seen["mark"], seen["where"], strict=True))
    assert all(isinstance(value, bool) for value in seen["stopped"])


# ---------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("rule", "said", "when"),
    [
        ("gives_none", "the score is None", 0),
        ("gives_nan", "the score is nan", 0),
        ("gives_too_few", "returned 1 scores for", 0),
        ("raises", "raised KeyError", 0),
        ("raises_later", "raised KeyError", 2),  # within a rollout, where TRL calls it
        ("gives_nan_later", "the score is nan", 2),
    ],
)
def test_a_reward_that_fails_is_named_with_its_row(chain, tmp_path, rule, said, when):
    rules_of_tests.CALLS.clear()
    with pytest.raises(Failed) as error:
        train(chain, tmp_path / "run", reward=RULES + rule)
    assert len(rules_of_tests.CALLS) >= when
    assert said in error.value.what and rule in error.value.where
    assert rule == "gives_too_few" or "demos.jsonl:" in error.value.where
    assert manifest(tmp_path / "run")["state"] == "failed"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"reward": []}, "no reward was named"),
        ({"reward": "sft_run"}, "no reward model"),
        ({"reward": "runs/nowhere"}, "there is no folder"),
        ({"reward": RULES + "missing"}, "has no function"),
        ({"trainer.top_p": 0.9}, "set by the suite"),
        ({"ppo__rollout_size": 10}, "no multiple of"),
        ({"ppo.weights": [1.0, 2.0]}, "weights"),
        ({"ppo__kl_in": "loss"}, "gradient of k1"),
        ({"data__validation_share": 0.0}, "no prompt is held out"),
        ({"ppo__critic_warmup": 3}, "the run has 3"),
        ({"ppo.gold": RULES + "many_z", "reward": RULES + "many_z"}, "named twice"),
        ({"ppo__max_new_tokens": 500}, "too-long"),
        ({"reward": RULES + "many_z", "ppo__critic_start": "reward"}, "critic cannot begin"),
    ],
)
def test_what_cannot_be_is_refused(chain, tmp_path, settings, said):
    settings = {key: str(chain[value]) if value in ("sft_run",) else value for key, value in settings.items()}
    with pytest.raises(Refused) as error:
        train(chain, tmp_path / "run", **settings)
    assert said in error.value.paragraph()


def test_an_adapter_without_a_trained_head_is_no_reward(chain, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    from alignment.runs import Run, content_hash, file_hashes

    run = tmp_path / "headless"
    shutil.copytree(chain["reward_run"], run)
    state = load_file(run / "adapter_model.safetensors")
    save_file({k: v for k, v in state.items() if "score" not in k}, run / "adapter_model.safetensors")
    Run.open(run).write(content_hash=content_hash(run), files=file_hashes(run))
    base = manifest(chain["reward_run"])["base"]["path"]
    Run.open(run).write(base={**manifest(run)["base"], "path": str((chain["reward_run"] / base).resolve())})
    with pytest.raises(Refused, match="no trained score head"):
        train(chain, tmp_path / "run", reward=str(run))


def test_a_dry_run_says_steps_and_writes_nothing(chain, tmp_path):
    from alignment import ppo_policy

    settings = {"ppo.rollout_size": 8, "training.batch_size": 4, "ppo.max_new_tokens": 8, "data.max_length": 200}
    ui, shown = StoppingUi(), {}
    ui.table = lambda title, rows, *header: shown.update({title: rows})
    said = ppo_policy(model=chain["sft_run"], data=chain["ppo"], reward=str(chain["reward_run"]), output=tmp_path / "run",
                      dry_run=True, settings=settings, ui=ui)
    assert ("steps", 12) in shown["dry run: nothing was written"]
    assert said["steps"] == 12 and not (tmp_path / "run").exists()  # 3 rollouts of 8 answers, 4 steps each


# ---------------------------------------------------------------------------------------------------------- whole, beside


def test_the_folders_own_generation_settings_do_not_touch_a_rollout(tmp_path, made):
    """They would draw answers from another distribution than the one that is scored."""
    base, suppressed = tmp_path / "base", set(range(3, 250))
    tiny.save_base(base)
    settings = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps({**settings, "suppress_tokens": sorted(suppressed)}))
    trainer = made(model=base, reward=RULES + "many_z")
    drawn = {token for row in trainer.sample([0, 1, 2], seed=[1]) for token in row.completion_ids}
    assert drawn & suppressed


def test_columns_that_some_rows_have_are_the_same_in_training_and_evaluation(chain, tmp_path):
    rows = tmp_path / "prompts.jsonl"
    write_jsonl(rows, [{"prompt": f"number {i}", **({"hint": i} if i % 3 else {})} for i in range(14)])
    rules_of_tests.CALLS.clear()
    train({**chain, "ppo": rows}, tmp_path / "run", reward=RULES + "by_hint", training__max_steps=2)
    assert {tuple(call["names"]) for call in rules_of_tests.CALLS} == {("completion_ids", "prompt_ids")}
    assert any(None in call["hint"] for call in rules_of_tests.CALLS)


def test_a_loss_that_is_not_finite_stops_before_the_update_and_names_its_rows(chain, tmp_path):
    with pytest.raises(Failed, match="the update was not made") as error:
        train(chain, tmp_path / "run", training__learning_rate=1e30, reward=RULES + "many_z")
    assert "demos.jsonl:" in error.value.where and manifest(tmp_path / "run")["state"] == "failed"
    assert not (tmp_path / "run" / "adapter_model.safetensors").exists()


def test_a_column_with_the_name_of_an_argument_is_refused(chain, tmp_path):
    rows = tmp_path / "prompts.jsonl"
    write_jsonl(rows, [{"prompt": f"number {i}", "where": i} for i in range(9)])
    with pytest.raises(Refused, match="reserved-column"):
        train({**chain, "ppo": rows}, tmp_path / "run", reward=RULES + "many_z")


def test_with_nothing_held_out_the_manifest_says_so(chain, tmp_path):
    train(chain, tmp_path / "run", data__validation_share=0.0, ppo__keep="last", training__max_steps=2)
    made = manifest(tmp_path / "run")
    assert made["kept"]["held_out"] is False and made["counts"]["held_out_rows"] == 0


def test_a_yes_or_no_reward_that_every_answer_earns_is_no_certainty(finished):
    assert manifest(finished)["counts"]["held_out_rows"] > 0
    figures = examiner._with_interval("proxy", np.ones(20))
    assert figures["proxy"] == figures["proxy_high"] == 1 and figures["proxy_low"] == pytest.approx(0.839, abs=1e-3)


def test_a_gold_run_on_the_same_base_is_one_more_adapter(chain, tmp_path, made):
    import shutil

    gold = chain["reward_run"].parent / "gold"
    shutil.copytree(chain["reward_run"], gold)
    trainer = made(gold=str(gold))
    assert trainer.examiner.gold.role == "gold" and "gold" in trainer.roles.policy.peft_config
    assert not any(".gold." in name for name, p in trainer.roles.policy.named_parameters() if p.requires_grad)


def test_a_reward_with_another_system_prompt_is_given_text(chain, tmp_path, made):
    run_stage("reward", chain, chain["sft_run"], tmp_path / "reward", training__epochs=1, data__validation_share=0.3,
              data__system="You are a strict judge.")
    trainer = made(reward=str(tmp_path / "reward"))
    assert trainer.objective.rewards[0].role is None


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_models_with_learned_positions_train(tmp_path, kind):
    chain = {"base": tmp_path / "base", "ppo": tmp_path / "prompts.jsonl"}
    tiny.save_base(chain["base"], model=tiny.gpt2())
    write_jsonl(chain["ppo"], [{"prompt": f"say {'very ' * (i % 4)}{i}"} for i in range(12)])
    train(chain, tmp_path / "run", model=chain["base"], reward=RULES + "many_z", adapter__kind=kind, training__max_steps=5,
          training__learning_rate=1e-4)
    rows = [row for row in metrics(tmp_path / "run") if "policy/ratio" in row]
    assert rows[0]["policy/ratio"] == rows[4]["policy/ratio"] == 1.0 and rows[0]["kl/k3"] == 0.0


def test_a_reward_model_of_another_base_is_given_text(chain, tmp_path):
    other = {**chain, "base": tmp_path / "other" / "base"}
    other["base"].parent.mkdir()
    tiny.save_base(other["base"], model=tiny.llama(seed=9, width=16))
    run_stage("reward", other, other["base"], tmp_path / "reward2", training__epochs=1, data__validation_share=0.3)
    train(chain, tmp_path / "run", reward=str(tmp_path / "reward2"), training__max_steps=3)
    assert [p["role"] for p in manifest(tmp_path / "run")["parents"]] == ["model", "reward"]


def test_whole_models_lie_beside_each_other(chain, tmp_path):
    run = tmp_path / "run"
    train(chain, run, model=chain["base"], adapter__kind="full", training__learning_rate=1e-4, training__max_steps=3)
    assert (run / "model.safetensors").is_file() and (run / "critic" / "model.safetensors").is_file()
    assert load_policy(str(run)).model(input_ids=torch.tensor([[5, 6]])).logits.shape[-1] == 260
