"""Merging: same outputs before, after and from disk; refusals; the same command again."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from alignment.adapters.folding import to_quantised, warn_where_rounding_eats
from alignment.merge import RECORD, MergeRequest, merge
from alignment.models import distance, load_policy, load_scorer, outputs
from alignment.runs import Run
from alignment.runs.staging import staged
from alignment.sources import resolve
from data_recipes.errors import Failed, Refused
from tests.alignment.made_runs import policy_run, reward_run
from tests.tiny import gpt2, save_base

ROWS = [[5, 6, 7], [40] * 20]


class Heard:
    """A Ui that keeps what it is told."""

    def __init__(self):
        self.said, self.warned = [], []
        self.say, self.warn = self.said.append, self.warned.append


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("merge")
    base = save_base(folder / "base")
    return SimpleNamespace(base=base, run=policy_run(folder / "sft", base), scorer=reward_run(folder / "reward", base))


def test_plain_transformers_loads_the_merged_policy_with_the_same_logits(made, tmp_path):
    record = merge(MergeRequest(str(made.run), tmp_path / "merged"), Heard())
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    expected = outputs(load_policy(str(made.run)).model, ROWS)
    assert (outputs(plain, ROWS) - expected).abs().max() < 1e-4
    assert record["compared"]["adapter_effect"] > 100 * record["compared"]["merged"]
    tokens = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokens.chat_template and plain.generation_config.eos_token_id == load_policy(str(made.run)).stop_ids
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "merged/adapter_config.json").exists()


@pytest.mark.parametrize("kind", [{"use_rslora": True}, {"use_dora": True}])
def test_other_lora_kinds_and_gpt2_merge(kind, tmp_path):
    base = save_base(tmp_path / "base", model=gpt2())
    run = policy_run(tmp_path / "run", base, **kind)
    merge(MergeRequest(str(run), tmp_path / "merged"), Heard())
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert (outputs(plain, ROWS) - outputs(load_policy(str(run)).model, ROWS)).abs().max() < 1e-4


def test_a_reward_run_keeps_its_head(made, tmp_path):
    merge(MergeRequest(str(made.scorer), tmp_path / "merged"), Heard())
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    expected = outputs(load_scorer(str(made.scorer)).model, ROWS)
    assert plain.config.num_labels == 1 and expected.abs().min() > 1e-3
    assert (outputs(plain, ROWS) - expected).abs().max() < 1e-5
    padded = plain(input_ids=torch.tensor([[5, 6, 7, 0, 0]])).logits  # the pad id is written, so the last word is found
    assert torch.allclose(padded, expected[:1], atol=1e-5)
    assert outputs(load_scorer(str(tmp_path / "merged")).model, ROWS).allclose(expected, atol=1e-5)


def test_dtype_is_asked_for_and_checked_by_its_own_tolerance(made, tmp_path):
    record = merge(MergeRequest(str(made.run), tmp_path / "merged", dtype="bfloat16"), Heard())
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert plain.dtype == torch.bfloat16 and record["dtype"] == "bfloat16" and record["compared"]["tolerance"] == 5e-2
    with pytest.raises(Refused, match="dtype cannot be 'int8'"):
        merge(MergeRequest(str(made.run), tmp_path / "other", dtype="int8"), Heard())


def test_the_same_merge_again_says_so_and_another_is_refused(made, tmp_path):
    output, heard = tmp_path / "merged", Heard()
    merge(MergeRequest(str(made.run), output), heard)
    before = (output / "model.safetensors").stat().st_mtime_ns
    assert merge(MergeRequest(str(made.run), output), heard)["state"] == "already-completed"
    assert (output / "model.safetensors").stat().st_mtime_ns == before and "already" in heard.said[-1]
    with pytest.raises(Refused, match="another merge: dtype"):
        merge(MergeRequest(str(made.run), output, dtype="bfloat16"), heard)
    with pytest.raises(Refused, match="another merge: source"):
        merge(MergeRequest(str(made.scorer), output), heard)
    with open(output / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(Refused, match="altered .model.safetensors"):
        merge(MergeRequest(str(made.run), output), heard)


def test_nothing_to_merge_and_strange_outputs_are_refused(made, tmp_path):
    with pytest.raises(Refused, match="no adapter to merge"):
        merge(MergeRequest(str(made.base), tmp_path / "merged"), Heard())
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thing.txt").write_text("mine")
    with pytest.raises(Refused, match="is no merge"):
        merge(MergeRequest(str(made.run), tmp_path / "full"), Heard())
    with pytest.raises(Refused, match="there is no folder"):
        merge(MergeRequest("./nothing", tmp_path / "merged"), Heard())
    with pytest.raises(Refused, match="not in the local cache"):
        merge(MergeRequest("nothing", tmp_path / "merged"), Heard())


def test_an_unfinished_or_altered_run_is_refused(tmp_path):
    run = policy_run(tmp_path / "run", save_base(tmp_path / "base"))
    manifest = json.loads((run / "align.json").read_text())
    (run / "align.json").write_text(json.dumps({**manifest, "state": "interrupted"}))
    with pytest.raises(Refused, match="interrupted, not completed"):
        merge(MergeRequest(str(run), tmp_path / "merged"), Heard())
    (run / "align.json").write_text(json.dumps({**manifest, "content_hash": "0" * 64}))
    with pytest.raises(Refused, match="not those its manifest"):
        merge(MergeRequest(str(run), tmp_path / "merged"), Heard())


def test_a_dry_run_writes_nothing(made, tmp_path):
    assert merge(MergeRequest(str(made.run), tmp_path / "merged"), Heard(), dry_run=True)["state"] == "dry-run"
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_neither_output_nor_remains(tmp_path):
    with pytest.raises(Failed), staged(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise Failed("stop")
    assert not list(tmp_path.iterdir())


def test_two_writers_of_one_output_are_told_apart(tmp_path):
    with staged(tmp_path / "out") as folder:
        (folder / "a").write_text("first")
        with pytest.raises(Refused, match="another process"), staged(tmp_path / "out"):
            pass
    assert (tmp_path / "out/a").read_text() == "first"


def test_rounding_that_eats_the_adapter_is_said():
    heard = Heard()
    warn_where_rounding_eats(1e-3, 1.5e-3, torch.bfloat16, heard)
    assert "--dtype float32" in heard.warned[0]
    warn_where_rounding_eats(1e-6, 1.0, torch.float32, heard)
    assert len(heard.warned) == 1


def test_the_card_names_no_path_of_this_machine(made, tmp_path):
    merge(MergeRequest(str(made.run), tmp_path / "merged"), Heard())
    text = (tmp_path / "merged/README.md").read_text()
    assert str(made.base) not in text and "library_name: transformers" in text
    assert json.loads((tmp_path / "merged" / RECORD).read_text())["request"]["source"]["kind"] == "run"


def test_no_distance_is_claimed_where_the_base_was_not_quantised(made):
    assert to_quantised(resolve(str(made.run)), None, ROWS, torch.zeros(2), Heard()) is None


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="the distance is then really measured")
def test_a_run_from_a_quantised_base_merges_into_the_whole_base_and_says_what_was_not_measured(made, tmp_path):
    run = policy_run(tmp_path / "run", made.base, seed=2)
    opened = Run.open(run)
    opened.write(config={**opened.manifest["config"], "model": {"quantisation": "4bit"}})
    heard = Heard()
    record = merge(MergeRequest(str(run), tmp_path / "merged"), heard)
    assert record["quantisation"] == "4bit" and record["compared"]["to_quantised"] is None
    assert "distance to that model was not measured" in heard.warned[0]
    assert distance(torch.tensor([2.0, 4.0]), torch.tensor([2.0, 3.0])) == 0.25


def test_a_plain_peft_folder_merges_too(made, tmp_path):
    run = policy_run(tmp_path / "run", made.base, seed=4)
    (run / "align.json").unlink()
    record = merge(MergeRequest(str(run), tmp_path / "merged"), Heard())
    assert record["request"]["source"]["kind"] == "folder" and Path(record["output"]).is_dir()
