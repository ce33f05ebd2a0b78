"""Models that look at texts for the audit: a text's score does not depend on its neighbours; labels say what they mean."""

from __future__ import annotations

import json

import pytest

from alignment.cli import run
from alignment.text_models import TOXIC_LABEL, embedder, toxicity
from data_recipes.errors import Refused
from tests import tiny
from tests.data_recipes.audit import worlds

TEXTS = ["short", "a text that is rather longer than the other ones are", "something else"]


def classifier(folder, labels: dict[int, str]):
    """A random classifier with these labels."""
    import torch
    from transformers import LlamaForSequenceClassification

    torch.manual_seed(0)
    config = tiny.llama(spread=0.5).config
    config.id2label, config.label2id = labels, {name: number for number, name in labels.items()}
    LlamaForSequenceClassification(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


def test_a_text_alone_and_among_others_has_the_same_vector(tmp_path):
    embed = embedder(str(tiny.save_base(tmp_path / "base", model=tiny.llama(spread=0.5))))
    together, alone = embed(TEXTS), [embed([text])[0] for text in TEXTS]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_the_toxic_label_is_told_by_its_name(tmp_path):
    fine_first = toxicity(classifier(tmp_path / "one", {0: "neutral", 1: "toxic"}))(TEXTS)
    toxic_first = toxicity(classifier(tmp_path / "two", {0: "toxic", 1: "neutral"}))(TEXTS)
    assert fine_first == pytest.approx([1 - score for score in toxic_first], abs=1e-5)
    assert all(0 <= score <= 1 for score in fine_first)
    with pytest.raises(Refused, match="LABEL_0"):
        toxicity(classifier(tmp_path / "three", {0: "LABEL_0", 1: "LABEL_1"}))


@pytest.mark.parametrize("label, toxic", [("toxic", True), ("severe_toxicity", True), ("hate", True), ("non-toxic", False),
                                          ("not_offensive", False), ("nothate", False), ("neutral", False)])
def test_labels_that_deny_are_not_taken_for_it(label, toxic):
    assert bool(TOXIC_LABEL.search(label)) is toxic


def test_the_audit_counts_tokens_as_the_model_renders_them_and_takes_models_for_toxicity_and_domain(tmp_path, capsys):
    base = str(tiny.save_base(tmp_path / "base", model=tiny.llama(spread=0.5)))
    rows = worlds.write(tmp_path / "rows.jsonl", worlds.made_rows(30))
    line = ["data", "audit", str(rows), "--model", base, "--max-length", "300", "--embedding", base, "--target", str(rows),
            "--toxicity-model", classifier(tmp_path / "toxic", {0: "neutral", 1: "toxic"}), "--json",
            "--only", "tokens,toxic,domain"]
    assert run(line) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["findings"]}
    # one token a byte, plus the template's: each row is cut at 300 of them
    assert found["truncation"]["count"] > 20 and found["tokens"]["figures"][0]["n"] == 30
    assert "embedding model" in found["domain"]["text"] and found["domain"]["count"] == 0
    assert "model's score" in found["toxic"]["text"]
