"""New rows in, labels out: every kind of file, every row accounted for, nothing half-written."""

import csv
import json

import pytest

from alignment.cli import run as align
from alignment.cli.progress import Ui
from alignment.labelling.predicting import Classifier, Request, load_classifier, predict, text_columns
from data_recipes.errors import Refused
from data_recipes.files import write_jsonl
from data_recipes.labels import Problem
from tests.alignment.labelling.worlds import manifest, train, world
from tests.tiny_encoders import sentiment


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Completed runs: one class a row, and spans."""
    files = world(tmp_path_factory.mktemp("predict"))
    made = {"folder": files["base"].parent, **files}
    for name, data in (("single", "rows"), ("names", "spans")):
        made[name] = made["folder"] / f"run-{name}"
        train(files["base"], files[data], made[name], training__epochs=10 if name == "single" else 6)
    return made


def ask(runs, name: str, data, output, **more):
    return predict(Request(str(runs[name]), str(data), output, **more), Ui(quiet=True))


def test_a_table_gets_its_label_and_a_calibrated_probability(runs, tmp_path):
    (tmp_path / "new.csv").write_text('id,text\n1,"the film is good and a number 3"\n2,the film is awful and was number 4\n')
    found = ask(runs, "single", tmp_path / "new.csv", tmp_path / "labels.csv", all_classes=True)
    rows = list(csv.DictReader((tmp_path / "labels.csv").open()))
    assert [row["id"] for row in rows] == ["1", "2"] and {row["label"] for row in rows} <= {"neg", "pos"}
    for row in rows:
        shares = {name: float(row[f"probability_{name}"]) for name in ("neg", "pos")}
        assert float(row["probability"]) == max(shares.values()) and sum(shares.values()) == pytest.approx(1, abs=1e-5)
    assert found["rows"] == 2 and found["temperature"] == manifest(runs["single"])["classify"]["temperature"]


def test_a_label_that_a_row_has_stays_and_the_order_and_count_of_rows_too(runs, tmp_path):
    write_jsonl(tmp_path / "new.jsonl", sentiment(41))
    ask(runs, "single", tmp_path / "new.jsonl", tmp_path / "labels.jsonl", batch_size=4)
    rows = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == [row["text"] for row in sentiment(41)]
    assert [row["label"] for row in rows] == [row["label"] for row in sentiment(41)]
    right = sum(row["label"] == row["predicted_label"] for row in rows)
    assert right > 33
    ask(runs, "single", tmp_path / "new.jsonl", tmp_path / "again.jsonl", batch_size=32)
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    assert [row["probability"] for row in again] == pytest.approx([row["probability"] for row in rows], abs=1e-5)


def test_spans_lie_where_they_say_in_texts_and_lists_of_words(runs, tmp_path):
    write_jsonl(tmp_path / "new.jsonl", [{"text": "Peter ships to London today 7."}])
    ask(runs, "names", tmp_path / "new.jsonl", tmp_path / "out.jsonl")
    row = json.loads((tmp_path / "out.jsonl").read_text())
    found = [(one["label"], row["text"][one["start"] : one["end"]]) for one in row["entities"]]
    assert found == [("PER", "Peter"), ("LOC", "London")]
    write_jsonl(tmp_path / "words.jsonl", [{"tokens": ["Peter", "ships", "to", "London", "today", "7", "."]}])
    ask(runs, "names", tmp_path / "words.jsonl", tmp_path / "out.tsv")
    cell = next(csv.DictReader((tmp_path / "out.tsv").open(), delimiter="\t"))["entities"]
    assert [one["text"] for one in json.loads(cell)] == ["Peter", "London"]


def test_bad_rows_are_listed_and_nothing_is_written_unless_a_share_may_pass(runs, tmp_path):
    write_jsonl(tmp_path / "new.jsonl", [{"text": "good"}, {"text": ""}, {"txt": "x"}, {"text": "bad"}])
    with pytest.raises(Refused, match="2 of 4 rows cannot be used .1 empty-text, 1 missing-field."):
        ask(runs, "single", tmp_path / "new.jsonl", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    assert len((tmp_path / "out.csv.rejected.jsonl").read_text().splitlines()) == 2
    found = ask(runs, "single", tmp_path / "new.jsonl", tmp_path / "out.csv", max_rejected=0.5)
    assert found["rows"] == 2 and found["rejected"] == {"empty-text": 1, "missing-field": 1}


@pytest.mark.parametrize(("name", "output", "said"), [
    ("single", "out.xlsx", "does not say what to write"), ("single", "new.jsonl", "the file that is read"),
    ("base", "out.csv", "no run, no label head|a language model"),
])
def test_what_cannot_be_is_refused(name, output, said, runs, tmp_path):
    write_jsonl(tmp_path / "new.jsonl", [{"text": "good"}])
    with pytest.raises(Refused, match=said):
        ask(runs, name, tmp_path / "new.jsonl", tmp_path / output)


def test_a_classifier_reads_as_many_texts_of_a_row_as_in_training(tmp_path):
    one, two = {"sentence": "a", "id": 1}, {"premise": "a", "hypothesis": "b"}
    single, pairs, any_of = (Classifier(None, None, Problem("single", ("x", "y")), pair=pair) for pair in (False, True, None))
    assert text_columns(one, single, "new.csv") == ("sentence",) and text_columns(two, pairs, "new.csv") == tuple(two)
    assert text_columns({**two, "text": "c"}, single, "new.csv") == ("text",)
    assert text_columns(one, any_of, "new.csv") == ("sentence",) and text_columns(two, any_of, "new.csv") == tuple(two)
    with pytest.raises(Refused, match="the two texts that this classifier reads"):
        text_columns(one, pairs, "new.csv")
    with pytest.raises(Refused, match="no column is known to hold the text"):
        text_columns(two, single, "new.csv")


def test_a_table_loses_no_column_of_a_later_row(runs, tmp_path):
    write_jsonl(tmp_path / "new.jsonl", [{"text": "good"}, {"text": "bad", "label": "pos"}])
    with pytest.raises(Refused, match="which the first one has not"):
        ask(runs, "single", tmp_path / "new.jsonl", tmp_path / "out.csv")
    assert ask(runs, "single", tmp_path / "new.jsonl", tmp_path / "out.jsonl")["rows"] == 2


def test_a_file_that_holds_something_else_is_not_replaced_by_chance(runs, tmp_path):
    write_jsonl(tmp_path / "new.jsonl", [{"text": "good"}])
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(Refused, match="holds something else"):
        ask(runs, "single", tmp_path / "new.jsonl", tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert ask(runs, "single", tmp_path / "new.jsonl", tmp_path / "out.csv", overwrite=True)["state"] == "written"


def test_a_model_folder_from_elsewhere_is_taken_as_it_is(runs, tmp_path):
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((runs["single"] / name).read_bytes())
    held = json.loads((tmp_path / "config.json").read_text())
    del held["align_classify"]
    (tmp_path / "config.json").write_text(json.dumps(held))
    found = load_classifier(str(tmp_path))
    assert (found.problem.task, found.problem.names, found.temperature) == ("single", ("neg", "pos"), 1.0)


def test_the_command_is_a_command_and_a_group(capsys):
    assert align(["classify", "predict", "--help"]) == 0
    assert "Usage: align classify predict [OPTIONS] RUN|DIR|HUB" in capsys.readouterr().out
    assert align(["classify", "--help"]) == 0
    said = capsys.readouterr().out
    assert "Usage: align classify [OPTIONS]" in said and "classify predict" in said
    assert align(["classify", "predicts"]) == 2
