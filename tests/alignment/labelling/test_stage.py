"""The stage on tiny encoders and decoders of real shapes: it learns, others load it, it resumes exactly, and keeps the best."""

import json
import shutil

import numpy as np
import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

from alignment.models import load_run, outputs
from alignment.runs import Run
from data_recipes.errors import Interrupted, Refused
from data_recipes.files import write_jsonl
from tests import tiny
from tests.alignment.chains import StoppingUi, metrics, weights
from tests.alignment.chains import run_stage as other_stage
from tests.alignment.chains import world as chain_world
from tests.alignment.labelling.worlds import figure, manifest, train, world
from tests.tiny_encoders import KINDS, names_and_places, sentiment

ROWS = [[2, 20, 30, 40, 3], [2, 21, 3]]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A completed run of a BERT-shaped model, its base and its rows."""
    files = world(tmp_path_factory.mktemp("bert"))
    files["run"] = files["base"].parent / "run"
    train(files["base"], files["rows"], files["run"], classify__group="place")
    return files


@pytest.mark.parametrize("kind", KINDS)
def test_real_folder_shapes_train_by_the_same_code_and_plain_transformers_loads_the_result(kind, tmp_path):
    files, run = world(tmp_path, kind), tmp_path / "run"
    train(files["base"], files["rows"], run, training__max_steps=4)
    plain = AutoModelForSequenceClassification.from_pretrained(run)
    assert plain.config.id2label == {0: "neg", 1: "pos"} and type(plain).__name__.lower().startswith(kind)
    assert torch.equal(outputs(plain, ROWS), outputs(load_run(run).model, ROWS))
    assert type(AutoTokenizer.from_pretrained(run)) is type(AutoTokenizer.from_pretrained(files["base"]))
    assert AutoTokenizer.from_pretrained(run).chat_template is None


def test_it_learns_and_the_manifest_says_how_well_beside_the_trivial_guess(bert):
    found = manifest(bert["run"])["classify"]
    accuracy, trivial = found["evaluation"]["figures"]["accuracy"], found["evaluation"]["baseline"]
    assert accuracy["value"] > 0.8 and accuracy["low"] < accuracy["value"] <= accuracy["high"]
    assert trivial["figures"]["accuracy"]["value"] == 0.5 and trivial["says"] == "always neg, the commonest"
    assert [group["group"] for group in found["evaluation"]["groups"]] == ["a", "b"]
    config = json.loads((bert["run"] / "config.json").read_text())
    assert config["align_classify"]["temperature"] == found["temperature"]
    assert (bert["run"] / "private" / "confusion.png").is_file() and (bert["run"] / "private" / "reliability.png").is_file()
    card = (bert["run"] / "README.md").read_text()
    assert "text-classification" in card and "`neg`, `pos`" in card and str(bert["base"]) not in card


def test_held_out_rows_are_of_each_class_and_of_no_training_text(bert):
    totals = manifest(bert["run"])
    assert totals["data"]["train"]["kept"] == 60 and totals["counts"]["train_rows"] == 48
    assert totals["classify"]["evaluation"]["rows"] == 12


def test_an_adapter_with_its_head_is_loaded_by_plain_peft(tmp_path, bert):
    run = tmp_path / "lora"
    train(bert["base"], bert["rows"], run, adapter__kind="lora", adapter__rank=4, training__max_steps=4)
    plain = AutoPeftModelForSequenceClassification.from_pretrained(run, num_labels=2)
    assert torch.equal(outputs(plain, ROWS), outputs(load_run(run).model, ROWS))
    assert "num_labels=2" in (run / "README.md").read_text()


def test_words_are_labelled_and_measured_by_exact_spans(tmp_path, bert):
    run = tmp_path / "names"
    train(bert["base"], bert["spans"], run, training__epochs=6)
    assert figure(run, "entity_f1") > 0.9
    assert manifest(run)["classify"]["names"] == ["O", "B-LOC", "B-PER"]
    plain = AutoModelForTokenClassification.from_pretrained(run)
    assert torch.equal(outputs(plain, ROWS), outputs(load_run(run).model, ROWS))


def test_several_labels_numbers_and_pairs(tmp_path, bert):
    rows = sentiment(40)
    several = [{"text": row["text"], "labels": [row["label"], *(["odd"] if at % 4 else [])]} for at, row in enumerate(rows)]
    numbers = [{"text": row["text"], "label": 1000.0 + 50 * (row["label"] == "pos")} for row in rows]
    pairs = [{"premise": row["text"], "hypothesis": "the film is good", "label": int(row["label"] == "pos")} for row in rows]
    for name, data in (("several", several), ("numbers", numbers), ("pairs", pairs)):
        write_jsonl(tmp_path / f"{name}.jsonl", data)
        train(bert["base"], tmp_path / f"{name}.jsonl", tmp_path / name, training__epochs=5)
    assert manifest(tmp_path / "several")["classify"]["task"] == "multi"
    assert manifest(tmp_path / "numbers")["classify"]["scale"] == pytest.approx([1025, 25], rel=0.05)
    assert [manifest(tmp_path / name)["classify"]["pair"] for name in ("several", "pairs")] == [False, True]
    assert figure(tmp_path / "numbers", "mae") < 25 and figure(tmp_path / "pairs", "auroc") > 0.7


def test_a_decoder_is_read_at_its_last_token_whatever_its_padding(tmp_path, bert):
    base, run = tiny.save_base(tmp_path / "llama", model=tiny.llama(spread=0.2), tokens=tiny.tokenizer(None)), tmp_path / "run"
    train(base, bert["rows"], run, adapter__kind="lora", training__max_steps=12)
    assert manifest(run)["state"] == "completed" and AutoTokenizer.from_pretrained(run).chat_template is None


# ------------------------------------------------------------------------------------------------------------------- resume


WATCHED = {"adapter__kind": "lora", "training__eval_every": 3, "training__early_stopping": 9, "training__epochs": 3}


@pytest.fixture(scope="module")
def whole(bert):
    """A run with evaluations that nothing stopped."""
    run = bert["base"].parent / "whole"
    train(bert["base"], bert["rows"], run, **WATCHED)
    return run


@pytest.mark.parametrize("at", [4, 12])
def test_a_run_that_was_stopped_ends_as_one_that_never_was(at, tmp_path, bert, whole):
    with pytest.raises(Interrupted):
        train(bert["base"], bert["rows"], tmp_path / "cut", ui=StoppingUi(at), **WATCHED)
    assert manifest(tmp_path / "cut")["state"] == "interrupted"
    train(bert["base"], bert["rows"], tmp_path / "cut", **WATCHED)
    assert weights(tmp_path / "cut") == weights(whole)
    assert metrics(tmp_path / "cut") == metrics(whole)
    for key in ("classify", "kept", "counts", "metrics", "content_hash"):
        assert manifest(tmp_path / "cut")[key] == manifest(whole)[key], key


def test_the_best_weights_are_the_result_and_training_stops_where_nothing_gets_better(tmp_path, bert):
    run = tmp_path / "run"
    train(bert["base"], bert["rows"], run, training__epochs=30, training__early_stopping=2, classify__metric="loss",
          training__learning_rate=2e-2)
    kept = manifest(run)["kept"]
    losses = {row["step"]: row["eval_loss"] for row in metrics(run) if "eval_loss" in row}
    assert kept["stopped_early"] and kept["step"] == min(losses, key=losses.get) and max(losses) < 180
    assert kept["best"]["value"] == losses[kept["step"]]


# ------------------------------------------------------------------------------------------------------------------ parents


def test_the_held_out_loss_of_words_does_not_depend_on_the_micro_batch(tmp_path):
    files = world(tmp_path / "world")
    rows = [{**row, "text": row["text"] + " today" * (at % 7 * 5)} for at, row in enumerate(names_and_places(50))]
    write_jsonl(files["spans"], rows)
    losses = []
    for micro in (2, 8):
        output = tmp_path / f"by-{micro}"
        train(files["base"], files["spans"], output, training__max_steps=6, training__eval_every=6, hardware__micro_batch=micro)
        losses.append(manifest(output)["metrics"]["eval_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_childs_head_is_its_parents_where_the_labels_are_the_same(tmp_path, bert):
    said = Saying()
    train(bert["run"], bert["rows"], tmp_path / "same", ui=said, training__max_steps=1, training__learning_rate=1e-9)
    assert any("head is kept" in line for line in said.lines)
    assert figure(tmp_path / "same", "accuracy") == figure(bert["run"], "accuracy")
    write_jsonl(tmp_path / "other.jsonl", [{**row, "label": f"so {row['label']}"} for row in sentiment(40)])
    said = Saying()
    train(bert["run"], tmp_path / "other.jsonl", tmp_path / "other", ui=said, training__max_steps=1)
    assert any("a new head" in line and "neg, pos" in line for line in said.lines)
    assert Run.open(tmp_path / "other").manifest["parents"][0]["stage"] == "classify"


@pytest.mark.parametrize("stage", ["sft", "reward"])
def test_a_tuned_decoder_is_a_parent_whose_adapter_goes_on(stage, tmp_path, bert):
    files = chain_world(tmp_path / "chain", rows=8, model=tiny.llama(spread=0.2))
    parent = tmp_path / "parent"
    other_stage(stage, files, files["base"], parent, training__max_steps=2)
    child = tmp_path / "child"
    train(parent, bert["rows"], child, adapter__kind=None, training__max_steps=2)
    found = manifest(child)
    assert found["parents"][0]["stage"] == stage and found["adapter"]["rank"] == 4
    assert found["adapter_lineage"] == [manifest(parent)["content_hash"]]
    assert load_run(child).task.labels == ("neg", "pos")


class Saying(StoppingUi):
    """Keeps what was said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


# ---------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("settings", "said"), [
    ({"classify__metric": "rmse"}, "no such figure"),
    ({"classify__class_weights": [1.0, 2.0, 3.0]}, "3 weights for 2 classes"),
    ({"classify__text": ["txt"]}, "no row has the column 'txt'"),
    ({"data__validation_share": 0.0, "training__early_stopping": 2}, "no row is held out"),
])
def test_what_does_not_fit_is_refused(settings, said, tmp_path, bert):
    with pytest.raises(Refused, match=said):
        train(bert["base"], bert["rows"], tmp_path / "run", **settings)
    assert not (tmp_path / "run" / "align.json").exists()


def test_without_held_out_rows_nothing_is_measured_and_that_is_said(tmp_path, bert):
    train(bert["base"], bert["rows"], tmp_path / "run", data__validation_share=0.0, training__max_steps=2)
    found = manifest(tmp_path / "run")
    assert "evaluation" not in found["classify"] and found["classify"]["temperature"] == 1.0
    assert found["kept"]["rule"] == "last"


# ------------------------------------------------------------------------------------------------------------- what follows


def test_the_page_shows_what_was_measured_without_a_model(tmp_path, bert):
    from alignment.evaluate.report import run_report

    copy = shutil.copytree(bert["run"], tmp_path / "run")
    (copy / "model.safetensors").unlink()
    page = run_report(Run.open(copy)).read_text(encoding="utf-8")
    for shown in ("Confusion matrix", "As sure as right?", "By group", "always neg, the commonest", "the first training row"):
        assert shown in page, shown


def test_a_merged_classifier_says_the_same_and_keeps_its_temperature(tmp_path, bert):
    from alignment.labelling.predicting import load_classifier
    from alignment.merge import MergeRequest, merge

    run = tmp_path / "lora"
    train(bert["base"], bert["rows"], run, adapter__kind="lora", training__max_steps=4)
    merge(MergeRequest(str(run), tmp_path / "merged"), StoppingUi())
    one, other = load_classifier(str(run)), load_classifier(str(tmp_path / "merged"))
    assert (one.problem, one.temperature, one.scale) == (other.problem, other.temperature, other.scale)
    assert np.allclose(outputs(one.model, ROWS), outputs(other.model, ROWS), atol=1e-5)
