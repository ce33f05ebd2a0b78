"""The chain on a tiny model: it learns, plain PEFT and transformers load it, and step 0 and the end are checked."""

import json
import shutil

import pytest
import torch
from peft import AutoPeftModelForCausalLM, AutoPeftModelForSequenceClassification
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from alignment.adapters.weights import load_adapter_file, state_hash
from alignment.models import load_policy, load_run, load_scorer, outputs
from alignment.runs import Run
from alignment.runs.lineage import lineage
from data_recipes.errors import Interrupted, Refused
from data_recipes.files import write_jsonl
from reward.scalar import score
from tests import tiny
from tests.alignment.chains import StoppingUi, metrics, run_stage, world

ROWS = [[3, 60, 70, 80, 90, 2], [3, 61, 2], [3, 62, 72, 82, 92, 101, 102, 103, 2]]
LONGER = {"training__epochs": 8, "data__validation_share": 0.2, "training__learning_rate": 5e-3}


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    """base -> sft -> reward, dpo; with held-out rows. Returns the folder of the runs and the files."""
    files = world(tmp_path_factory.mktemp("chain"), rows=40, model=tiny.llama(spread=0.2))
    runs = files["base"].parent / "runs"
    run_stage("sft", files, files["base"], runs / "sft", **{**LONGER, "training__learning_rate": 2e-2})
    run_stage("reward", files, runs / "sft", runs / "reward", **LONGER)
    run_stage("dpo", files, runs / "sft", runs / "dpo", **LONGER)
    return runs, files


def held_out(run, key):
    return [row[key] for row in metrics(run) if key in row]


def test_each_stage_learns_on_held_out_rows(chain):
    runs, _ = chain
    losses = held_out(runs / "sft", "eval_loss")
    assert losses[-1] < 0.7 * losses[0]
    assert held_out(runs / "reward", "eval_accuracy")[-1] == 1.0
    assert held_out(runs / "dpo", "eval_rewards/margins")[-1] > 1.0


def test_the_first_pair_losses_are_ln_2(chain):
    runs, _ = chain
    for stage in ("reward", "dpo"):
        assert metrics(runs / stage)[0]["loss"] == pytest.approx(0.693147, abs=2e-5)


def test_plain_peft_loads_a_policy_with_the_same_logits(chain):
    runs, _ = chain
    for stage in ("sft", "dpo"):
        plain = AutoPeftModelForCausalLM.from_pretrained(runs / stage)
        assert torch.equal(outputs(plain, ROWS), outputs(load_policy(runs / stage).model, ROWS))


def test_plain_peft_loads_a_reward_run_with_the_same_scores_and_padding_changes_none(chain):
    runs, _ = chain
    ours = load_scorer(runs / "reward")
    plain = AutoPeftModelForSequenceClassification.from_pretrained(runs / "reward", num_labels=1)
    assert torch.equal(outputs(plain, ROWS), outputs(ours.model, ROWS))
    assert outputs(ours.model, ROWS).abs().min() > 0
    together = score(ours.model, ROWS, pad_id=ours.tokenizer.pad_token_id, batch_size=3)
    alone = outputs(ours.model, ROWS).squeeze(-1).tolist()
    assert together == pytest.approx(alone, abs=1e-5)


def test_a_policy_is_no_scorer_and_a_scorer_no_policy(chain):
    runs, _ = chain
    with pytest.raises(Refused, match="score head"):
        load_policy(runs / "reward")
    with pytest.raises(Refused, match="score head"):
        load_scorer(runs / "sft")
    with pytest.raises(Refused, match="reward"):
        run_stage("dpo", chain[1], runs / "reward", runs / "never")
    assert not (runs / "never" / "align.json").exists()


def test_dpos_reference_is_the_parents_adapter(chain):
    runs, _ = chain
    parent = state_hash(load_adapter_file(runs / "sft"))
    assert Run.open(runs / "dpo").manifest["reference"] == {"kind": "adapter", "hash": parent}
    assert state_hash(load_adapter_file(runs / "dpo")) != parent


def test_only_the_policy_is_left_in_the_run_and_nothing_pickled(chain):
    runs, _ = chain
    names = {path.name for path in (runs / "dpo").iterdir()}
    assert names >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "align.json",
        "config.yaml",
        "metrics.jsonl",
        "README.md",
        "tokenizer.json",
        "chat_template.jinja",
    }
    assert "ref" not in names and ".result" not in names
    assert not list(runs.glob("**/training_args.bin")) and not list(runs.glob("**/*.tmp"))


def test_lineage_and_manifest_say_where_it_comes_from(chain):
    runs, files = chain
    run = Run.open(runs / "dpo")
    assert [step["stage"] for step in lineage(run)] == ["dpo", "sft", "base"]
    assert run.manifest["parents"][0]["path"] == "../sft"
    assert run.manifest["adapter_lineage"] == [Run.open(runs / "sft").manifest["content_hash"]]
    totals = run.manifest["data"]["train"]
    assert totals["read"] == totals["kept"] == 40


def test_a_moved_tree_works_and_a_tampered_parent_is_refused(chain, tmp_path):
    runs, files = chain
    shutil.copytree(runs.parent, tmp_path / "moved", symlinks=True)
    moved = {key: tmp_path / "moved" / path.relative_to(runs.parent) for key, path in files.items()}
    run_stage(
        "dpo", moved, tmp_path / "moved" / "runs" / "sft", tmp_path / "moved" / "runs" / "again", training__max_steps=1
    )
    weights = tmp_path / "moved" / "runs" / "sft" / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(Refused, match="adapter_model.safetensors"):
        run_stage("dpo", moved, tmp_path / "moved" / "runs" / "sft", tmp_path / "x", training__max_steps=1)


def test_a_changed_base_is_refused(chain, tmp_path):
    runs, files = chain
    shutil.copytree(runs.parent, tmp_path / "moved")
    tiny.llama(seed=9).save_pretrained(tmp_path / "moved" / "base")
    with pytest.raises(Refused, match="base model's files"):
        load_policy(tmp_path / "moved" / "runs" / "sft")


def test_another_rank_than_the_parents_asks_for_a_merge_by_name(chain, tmp_path):
    runs, files = chain
    with pytest.raises(Refused, match="on_parent=merge"):
        run_stage("dpo", files, runs / "sft", tmp_path / "dpo", adapter__rank=8, training__max_steps=1)
    run_stage(
        "dpo", files, runs / "sft", tmp_path / "dpo", adapter__rank=8, adapter__on_parent="merge", training__max_steps=2
    )
    run = Run.open(tmp_path / "dpo")
    assert run.manifest["base"]["path"] == "base" and run.manifest["adapter"]["rank"] == 8
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "dpo" / "base")
    torch.testing.assert_close(
        outputs(merged, ROWS), outputs(load_policy(runs / "sft").model, ROWS), atol=1e-5, rtol=1e-5
    )
    shutil.move(tmp_path / "dpo", tmp_path / "elsewhere")
    assert load_run(tmp_path / "elsewhere").base.path == tmp_path / "elsewhere" / "base"


@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_other_kinds_go_through_the_chain(chain, tmp_path, kind):
    _, files = chain
    run_stage("sft", files, files["base"], tmp_path / "sft", adapter__kind=kind, training__max_steps=2)
    for stage in ("reward", "dpo"):
        run_stage(stage, files, tmp_path / "sft", tmp_path / stage, adapter__kind=kind, training__max_steps=2)
        assert Run.open(tmp_path / stage).manifest["adapter"]["kind"] == kind


def test_full_tuning_goes_through_the_chain_and_plain_transformers_loads_it(chain, tmp_path):
    _, files = chain
    quick = {"adapter__kind": "full", "training__learning_rate": 1e-4, "training__max_steps": 2}
    run_stage("sft", files, files["base"], tmp_path / "sft", **quick)
    run_stage("reward", files, tmp_path / "sft", tmp_path / "reward", **quick)
    run_stage("dpo", files, tmp_path / "sft", tmp_path / "dpo", **quick)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "dpo")
    assert torch.equal(outputs(plain, ROWS), outputs(load_policy(tmp_path / "dpo").model, ROWS))
    scorer = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    assert torch.equal(outputs(scorer, ROWS), outputs(load_scorer(tmp_path / "reward").model, ROWS))
    assert (
        Run.open(tmp_path / "dpo").manifest["reference"]["hash"] == Run.open(tmp_path / "sft").manifest["content_hash"]
    )


def test_an_adapter_on_a_fully_tuned_parent(chain, tmp_path):
    _, files = chain
    run_stage(
        "sft",
        files,
        files["base"],
        tmp_path / "sft",
        adapter__kind="full",
        training__learning_rate=1e-4,
        training__max_steps=1,
    )
    run_stage("reward", files, tmp_path / "sft", tmp_path / "reward", training__max_steps=1)
    run_stage("dpo", files, tmp_path / "sft", tmp_path / "dpo", training__max_steps=1)
    assert Run.open(tmp_path / "dpo").manifest["base"]["path"] == "../sft"


def test_a_gpt2_shape_with_learned_positions_goes_through_the_chain(tmp_path):
    files = world(tmp_path, model=tiny.gpt2())
    run_stage("sft", files, files["base"], tmp_path / "sft", training__max_steps=2)
    run_stage("reward", files, tmp_path / "sft", tmp_path / "reward", training__max_steps=2)
    run_stage("dpo", files, tmp_path / "sft", tmp_path / "dpo", training__max_steps=2)


def test_a_foreign_peft_folder_is_a_parent_like_a_run(chain, tmp_path):
    runs, files = chain
    AutoPeftModelForCausalLM.from_pretrained(runs / "sft").save_pretrained(tmp_path / "theirs")
    run_stage("dpo", files, tmp_path / "theirs", tmp_path / "dpo", training__max_steps=1)
    assert Run.open(tmp_path / "dpo").manifest["reference"]["hash"] == state_hash(
        load_adapter_file(tmp_path / "theirs")
    )


def test_added_tokens_are_trained_with_the_whole_model(chain, tmp_path):
    _, files = chain
    run_stage(
        "sft",
        files,
        files["base"],
        tmp_path / "sft",
        model__add_tokens=["<tool>"],
        adapter__kind="full",
        training__learning_rate=1e-4,
        training__max_steps=2,
    )
    loaded = load_policy(tmp_path / "sft")
    assert len(loaded.tokenizer) == loaded.model.config.vocab_size == 261
    run_stage("dpo", files, tmp_path / "sft", tmp_path / "dpo", training__max_steps=1)


def test_no_checkpoint_stays_where_none_is_wanted(chain, tmp_path):
    _, files = chain
    sets = {"training__max_steps": 2, "training__save_every": 1, "training__keep_checkpoints": 0}
    run_stage("sft", files, files["base"], tmp_path / "sft", **sets)
    assert not (tmp_path / "sft" / "checkpoints").exists()
    run_stage("sft", files, files["base"], tmp_path / "sft", **sets)  # and it is completed all the same


def test_packing_trains_every_reported_token(chain, tmp_path):
    _, files = chain
    run_stage("sft", files, files["base"], tmp_path / "packed", training__max_steps=2, trainer__packing=True)


def test_margins_and_centering_move_the_first_reward_loss(chain, tmp_path):
    _, files = chain
    rows = [{**row, "margin": 1.0} for row in tiny.comparisons(8)]
    write_jsonl(tmp_path / "margins.jsonl", rows)
    run_stage(
        "reward",
        {**files, "reward": tmp_path / "margins.jsonl"},
        files["base"],
        tmp_path / "rm",
        training__max_steps=1,
        reward__center_coefficient=0.01,
    )
    assert metrics(tmp_path / "rm")[0]["loss"] == pytest.approx(1.313262, abs=1e-4)  # -log sigmoid(-1)
    write_jsonl(tmp_path / "some.jsonl", [*rows, *tiny.comparisons(3, seed=5)])
    with pytest.raises(Refused, match="margin"):
        run_stage(
            "reward",
            {**files, "reward": tmp_path / "some.jsonl"},
            files["base"],
            tmp_path / "no",
            training__max_steps=1,
        )


def test_a_dry_run_writes_nothing_and_says_all(tmp_path):
    from alignment import sft

    files = world(tmp_path, rows=20)
    said = sft(model=files["base"], data=files["sft"], output=tmp_path / "run", dry_run=True)
    assert not (tmp_path / "run").exists()
    assert said["steps"] == 6 and said["data"]["train"]["rows"] + said["data"]["validation"]["rows"] == 20
    assert said["hardware"]["estimate_total"] > 0 and said["config"]["training"]["learning_rate"] == 2e-4


def test_a_run_of_one_step_trains_at_its_rate(tmp_path):
    """A warm-up of 3 % would otherwise round up to that one step, at a rate of 0."""
    files = world(tmp_path, rows=8)
    run_stage("sft", files, files["base"], tmp_path / "run", training__max_steps=1, training__warmup=0.03)
    assert metrics(tmp_path / "run")[0]["learning_rate"] == 1e-3
    run_stage("sft", files, files["base"], tmp_path / "slow", training__max_steps=4, training__warmup=2)
    assert [row["learning_rate"] for row in metrics(tmp_path / "slow")][:3] == pytest.approx([0, 5e-4, 1e-3])


def test_a_refusal_after_the_merge_leaves_a_folder_that_the_mended_command_takes(chain, tmp_path):
    runs, files = chain
    merged = {"adapter__rank": 8, "adapter__on_parent": "merge", "training__max_steps": 1}
    with pytest.raises(Refused, match="too-long"):
        run_stage("dpo", files, runs / "sft", tmp_path / "dpo", data__max_length=60, **merged)
    assert (tmp_path / "dpo" / "base").is_dir()
    run_stage("dpo", files, runs / "sft", tmp_path / "dpo", **merged)


def test_an_altered_merged_base_is_refused_when_a_run_continues(chain, tmp_path):
    runs, files = chain
    merged = {"adapter__rank": 8, "adapter__on_parent": "merge"}
    with pytest.raises(Interrupted):
        run_stage("dpo", files, runs / "sft", tmp_path / "dpo", ui=StoppingUi(at=2), **merged)
    file = tmp_path / "dpo" / "base" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(Refused, match="altered"):
        run_stage("dpo", files, runs / "sft", tmp_path / "dpo", **merged)


def test_another_base_under_a_plain_adapter_folder_is_refused_when_a_run_continues(chain, tmp_path):
    runs, files = chain
    AutoPeftModelForCausalLM.from_pretrained(runs / "sft").save_pretrained(tmp_path / "theirs")
    shutil.copytree(files["base"], tmp_path / "base")
    config = json.loads((tmp_path / "theirs" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = str(tmp_path / "base")
    (tmp_path / "theirs" / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(Interrupted):
        run_stage("dpo", files, tmp_path / "theirs", tmp_path / "dpo", ui=StoppingUi(at=2))
    tiny.llama(seed=3, spread=0.2).save_pretrained(tmp_path / "base")
    with pytest.raises(Refused, match="something else"):
        run_stage("dpo", files, tmp_path / "theirs", tmp_path / "dpo")


def test_a_run_that_continues_keeps_the_plan_it_began_with(chain, tmp_path):
    _, files = chain
    auto = {"hardware__micro_batch": "auto"}
    with pytest.raises(Interrupted):
        run_stage("sft", files, files["base"], tmp_path / "run", ui=StoppingUi(at=2), **auto)
    run = Run.open(tmp_path / "run")
    run.manifest["hardware"].update(micro_batch=1, accumulation=4)
    run.write()
    assert run_stage("sft", files, files["base"], tmp_path / "run", **auto)["hardware"]["micro_batch"] == 1


def test_a_child_can_do_without_its_parents_system_prompt(chain, tmp_path):
    _, files = chain
    kind = {"data__system": "Be kind.", "training__max_steps": 1}
    run_stage("sft", files, files["base"], tmp_path / "kind", **kind)
    asked = [{"role": "user", "content": "Hi"}]
    parent = load_policy(tmp_path / "kind")
    assert "Be kind." in parent.tokenizer.decode(parent.renderer().prompt(asked))
    run_stage("sft", files, tmp_path / "kind", tmp_path / "plain", data__system=None, training__max_steps=1)
    plain = load_policy(tmp_path / "plain")
    assert "Be kind." not in plain.tokenizer.decode(plain.renderer().prompt(asked))


def test_changed_tools_are_another_request(chain, tmp_path):
    _, files = chain
    from alignment.config import load
    from alignment.data import RowSet
    from alignment.job import make_request
    from alignment.sources import resolve

    (tmp_path / "tools.json").write_text("[]")
    config = load("sft", nouns={"model.path": str(files["base"]), "data.tools": str(tmp_path / "tools.json")})
    before = make_request("sft", config, resolve(files["base"]), None, RowSet([], [], {}))
    (tmp_path / "tools.json").write_text('[{"name": "t"}]')
    assert make_request("sft", config, resolve(files["base"]), None, RowSet([], [], {})) != before


@pytest.mark.parametrize(("stage", "settings", "named"), [
    ("dpo", {"adapter.dropout": 0.1}, "disable_dropout"), ("dpo", {"dpo.loss_type": "exo_pair"}, "label_smoothing"),
    ("sft", {"trainer.dataloader_drop_last": True}, "batch_size"), ("sft", {"hardware.precision": "float16"}, "float16"),
])
def test_settings_that_would_be_ignored_or_fail_late_are_refused(chain, tmp_path, stage, settings, named):
    _, files = chain
    changed = {key.replace(".", "__"): value for key, value in settings.items()}
    with pytest.raises(Refused, match=named):
        run_stage(stage, files, files["base"], tmp_path / "run", **changed)


def test_a_parents_other_targets_ask_for_a_merge_and_its_dropout_can_be_changed(chain, tmp_path):
    runs, files = chain
    with pytest.raises(Refused, match="adapter.targets"):
        run_stage("sft", files, runs / "sft", tmp_path / "no", adapter__targets=["q_proj"], training__max_steps=1)
    few = {"adapter__targets": ["q_proj"], "training__max_steps": 1}
    run_stage("sft", files, files["base"], tmp_path / "few", **few)
    with pytest.raises(Refused, match=r"q_proj .2 layers. -> all-linear .14 layers.*adapter.on_parent=merge"):
        run_stage("dpo", files, tmp_path / "few", tmp_path / "no", adapter__targets="all-linear", training__max_steps=1)
    run_stage("reward", files, tmp_path / "few", tmp_path / "same", **{**few, "adapter__targets": r".*\.q_proj"})
    assert Run.open(tmp_path / "same").manifest["adapter"]["targets"] == ["q_proj"]
    run_stage("reward", files, runs / "sft", tmp_path / "all", adapter__targets="all-linear", training__max_steps=1)
    run_stage("sft", files, runs / "sft", tmp_path / "more", adapter__dropout=0.3, training__max_steps=1)
    assert Run.open(tmp_path / "more").manifest["adapter"]["dropout"] == 0.3


def test_weighted_losses_and_a_reference_scored_beforehand_pass_step_0(chain, tmp_path):
    runs, files = chain
    run_stage("dpo", files, runs / "sft", tmp_path / "weighted", dpo__loss_weights=[2.0], training__max_steps=1)
    run_stage("dpo", files, runs / "sft", tmp_path / "before", dpo__precompute_reference=True, training__max_steps=3)
    run_stage("dpo", files, runs / "sft", tmp_path / "beside", training__max_steps=3)
    for before, beside in zip(metrics(tmp_path / "before"), metrics(tmp_path / "beside"), strict=True):
        assert before["loss"] == pytest.approx(beside["loss"], abs=1e-4)


def test_packing_reaches_its_learning_rate(chain, tmp_path):
    _, files = chain
    run_stage("sft", files, files["base"], tmp_path / "run", trainer__packing=True, training__epochs=8, training__warmup=0.3,
              data__max_length=120)
    assert max(row["learning_rate"] for row in metrics(tmp_path / "run") if "loss" in row) == pytest.approx(1e-3)
