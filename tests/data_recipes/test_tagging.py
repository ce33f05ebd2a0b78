"""Words, spans and CoNLL files."""

import json

import pytest

from data_recipes.errors import Refused
from data_recipes.readers import read
from data_recipes.records import BadRow
from data_recipes.tagging import Span, check_bio, is_bio, places_in, spans_of, tags_of, words_of


def test_words_lie_where_they_say():
    text = "Anna's 3.50 €, 東京 und_so"
    assert [text[start:stop] for start, stop in words_of(text)] == [
        "Anna", "'", "s", "3", ".", "50", "€", ",", "東", "京", "und", "_", "so"]


def test_spans_and_tags_are_the_same_thing_twice():
    text = "Anna Blank lives in Paris"
    places = words_of(text)
    tags = tags_of([Span("PER", 0, 10), Span("LOC", 20, 25)], places)
    assert tags == ["B-PER", "I-PER", "O", "O", "B-LOC"]
    assert spans_of(tags) == [Span("PER", 0, 2), Span("LOC", 4, 5)]
    assert places_in(["a", "bc"]) == ("a bc", ((0, 1), (2, 4)))


@pytest.mark.parametrize("spans", [[Span("A", 1, 4)], [Span("A", 0, 3)], [Span("A", 0, 4), Span("B", 0, 4)]])
def test_a_span_that_cuts_a_word_or_overlaps_is_refused(spans):
    with pytest.raises(BadRow, match="wrong-span"):
        tags_of(spans, words_of("Anna is"))


@pytest.mark.parametrize("tags", [["I-PER"], ["B-PER", "I-LOC"], ["B-"], ["S-PER"], ["O", "I-PER"]])
def test_tags_that_are_not_iob2_are_refused(tags):
    with pytest.raises(BadRow, match="wrong-tags"):
        check_bio(tags)


def test_a_model_may_say_what_no_row_may_and_it_is_read_strictly():
    assert spans_of(["I-PER", "B-LOC", "I-PER", "I-LOC"]) == [Span("LOC", 1, 2)]
    assert is_bio(["O", "B-X"]) and not is_bio(["NOUN", "VERB"])


def test_a_conll_file_gives_sentences_with_their_first_line(tmp_path):
    file = tmp_path / "a.conll"
    file.write_text("-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter\tB-PER\n")
    found = read(file, "tagged")
    assert [(row.words, row.tags, row.where.rpartition(":")[2]) for row in found] == [
        (("EU", "rejects"), ("B-ORG", "O"), "3"), (("Peter",), ("B-PER",), "7")]
    assert found.records[0].text == "EU rejects" and "DOCSTART" in found.ledger.notes[0]


def test_a_broken_line_refuses_its_sentence_alone(tmp_path):
    file = tmp_path / "a.bio"
    file.write_bytes(b"good O\n\nbad\n\nalso \xff O\n\nfine O\n")
    ledger = read(file, "tagged").ledger
    assert ledger.kept == 2 and ledger.rejected == {"wrong-columns": 1, "bad-encoding": 1}
    assert ledger.rows == {"used": 2, "refused": 2, "passed": 0}


def test_lists_and_spans_are_told_apart_and_bad_ones_counted(tmp_path):
    rows = [
        {"text": "Anna is in Paris", "entities": [{"start": 0, "end": 4, "label": "PER"}]},
        {"text": "Anna", "entities": [{"start": 0, "end": 9, "label": "PER"}]},
        {"text": "Anna", "entities": [{"start": 0, "end": 4}]},
        {"text": "", "entities": []},
    ]
    file = tmp_path / "spans.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read(file, "tagged")
    assert found.records[0].tags == ("B-PER", "O", "O", "O")
    assert found.ledger.rejected == {"wrong-span": 2, "empty-text": 1}
    lists = tmp_path / "lists.jsonl"
    lists.write_text('{"tokens": ["a", "b"], "ner_tags": [0, 1]}\n{"tokens": ["a"], "ner_tags": [0, 1]}\n')
    found = read(lists, "tagged")
    assert found.records[0].tags == (0, 1) and found.ledger.rejected == {"wrong-tags": 1}


def test_tagged_rows_are_never_told_where_nobody_asks_for_them(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"tokens": ["a"], "tags": ["O"]}\n')
    with pytest.raises(Refused, match="no format for demonstrations"):
        read(file, "demonstrations")
