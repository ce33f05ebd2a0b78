"""Which columns are meant, and that every row is accounted for. Light: no torch."""

import pytest

from alignment.config import load
from alignment.labelling.checks import known_labels
from alignment.labelling.reading import read_labelled
from alignment.sources import Source
from data_recipes.errors import Refused
from data_recipes.files import write_json, write_jsonl
from tests.tiny_encoders import names_and_places, sentiment


def read(file, private=None, **settings):
    sets = [f"{key.replace('__', '.')}={value}" for key, value in settings.items()]
    return read_labelled(load("classify", None, sets, {"model.path": "m", "data.train": [str(file)]}), private)


def table(folder, text: str, name: str = "rows.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_table_with_known_names_is_read_and_split_by_class(tmp_path):
    rows = "".join(f"the text {number},{'yes' if number % 5 else 'no'}\n" for number in range(50))
    found = read(table(tmp_path, f"text,label\n{rows}"), data__validation_share=0.2)
    assert found.problem.names == ("no", "yes") and (len(found.train), len(found.validation)) == (40, 10)
    assert sum(example.target == 0 for example in found.validation) == 2


def test_columns_may_be_named_and_others_do_not_get_in_the_way(tmp_path):
    file = table(tmp_path, "id,text,review,label,stars\n1,x,good film,junk,5\n2,y,bad film,junk,1\n3,z,fine film,junk,5\n")
    found = read(file, classify__text="review", classify__label="stars", data__validation_share=0)
    assert [example.record.text for example in found.train] == ["good film", "bad film", "fine film"]
    assert found.problem.names == ("1", "5") and found.columns["dropped"] == ["text", "label"]
    assert found.train[0].record.extra == {"id": "1"}


def test_pairs_and_groups(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"a": f"one {n}", "b": "two", "label": n % 2, "who": "x"} for n in range(8)])
    found = read(tmp_path / "a.jsonl", classify__text="[a, b]", classify__group="who")
    assert found.train[0].record.pair == "two" and {example.group for example in found.train} == {"x"}


def test_several_classes_in_one_cell_and_an_empty_cell_is_a_row_without_one(tmp_path):
    file = table(tmp_path, "text,label\na,x; y\nb,\nc,y\n")
    found = read(file, classify__separator="';'", data__validation_share=0)
    assert (found.problem.task, found.problem.names) == ("multi", ("x", "y"))
    assert [example.target for example in found.train] == [(0, 1), (), (1,)]


@pytest.mark.parametrize("mark", ["|", ",", ";", "/", "&"])
def test_a_mark_between_classes_needs_no_quotes_on_the_command_line(mark, tmp_path):
    file = table(tmp_path, f"text\tlabel\na\tx{mark}y\nb\tx\nc\ty\n", name="rows.tsv")
    found = read(file, classify__separator=mark, data__validation_share=0)
    assert (found.problem.task, found.problem.names) == ("multi", ("x", "y"))


def test_a_table_whose_first_line_is_a_row_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(Refused, match="first line holds the names: where it is a row already, put a line such as text,label"):
        read(table(tmp_path, "a good film\t1\na bad film\t0\n", name="rows.tsv"))


def test_spans_are_told_and_tags_may_be_asked_for(tmp_path):
    write_jsonl(tmp_path / "spans.jsonl", names_and_places(10))
    assert read(tmp_path / "spans.jsonl").problem.scheme == "BIO"
    with pytest.raises(Refused, match="no column is known to hold the label"):
        read(tmp_path / "spans.jsonl", classify__task="single")
    write_jsonl(tmp_path / "plain.jsonl", [{"words": ["a", "b"], "pos": ["X", "Y"]}] * 4)
    assert read(tmp_path / "plain.jsonl", classify__task="token", classify__label="pos").problem.scheme == "plain"


@pytest.mark.parametrize(("header", "settings", "said"), [
    ("review,stars", {}, "hold the text .review, stars.*classify.text=COLUMN"),
    ("text,stars", {}, "hold the label .*classify.label=COLUMN"),
    ("text,label", {"classify__group": "grup"}, "no row has the column 'grup'"),
    ("text,label", {"classify__text": "[text, label, text]"}, "3 columns of text"),
])
def test_columns_that_are_not_there_are_refused_with_the_key_that_names_them(header, settings, said, tmp_path):
    with pytest.raises(Refused) as error:
        read(table(tmp_path, f"{header}\na,1\nb,2\n"), **settings)
    import re

    assert re.search(said, error.value.paragraph()), error.value.paragraph()


def test_bad_labels_are_counted_listed_and_stop_the_stage_unless_a_share_may_pass(tmp_path):
    rows = sentiment(20) + [{"text": "odd", "label": "nobody"}, {"text": " ", "label": "pos"}]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    with pytest.raises(Refused, match="2 of 22 rows cannot be used .1 empty-text, 1 unknown-label.") as error:
        read(tmp_path / "rows.jsonl", tmp_path / "private", classify__labels="[pos, neg]", data__max_rejected=0.05)
    assert "--max-rejected 0.091" in error.value.paragraph()
    found = read(tmp_path / "rows.jsonl", classify__labels="[pos, neg]", data__max_rejected=0.1)
    ledger = found.ledgers["train"]
    assert ledger.read == 22 and ledger.kept == 20 == len(found.train) + len(found.validation)


def test_a_held_out_file_is_read_with_the_classes_of_the_training_rows(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", sentiment(20))
    write_jsonl(tmp_path / "held.jsonl", [*sentiment(4), {"text": "new", "label": "strange"}])
    with pytest.raises(Refused, match="unknown-label .*none of neg, pos"):
        read(tmp_path / "train.jsonl", data__validation=tmp_path / "held.jsonl")
    found = read(tmp_path / "train.jsonl", data__validation=tmp_path / "held.jsonl", data__max_rejected=0.3)
    assert len(found.validation) == 4 and "4 prompts" in found.notes[0]


def test_a_text_with_two_labels_is_said(tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [*sentiment(6), {"text": sentiment(1)[0]["text"], "label": "neg"}])
    assert "1 texts carry different labels" in read(tmp_path / "rows.jsonl").notes[-1]


def test_a_model_folders_own_labels_are_known_where_it_named_them(tmp_path):
    def labels(**config):
        write_json(tmp_path / "config.json", config)
        return known_labels(Source(str(tmp_path), "folder", tmp_path))

    named = {"id2label": {"0": "neg", "1": "pos"}}
    assert labels(architectures=["BertForSequenceClassification"], **named) == ("neg", "pos")
    assert labels(architectures=["BertForMaskedLM"], **named) == ()
    assert labels(architectures=["BertForSequenceClassification"], id2label={"0": "LABEL_0", "1": "LABEL_1"}) == ()
