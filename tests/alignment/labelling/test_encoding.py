"""Labelled rows as tokens, with the tokenizer classes of the real encoders; and long texts in pieces."""

import numpy as np
import pytest
import torch

from alignment.labelling.answering import answer_words, run
from alignment.labelling.encoding import Collator, Encoder, example_row, first_tokens, longest_text, scale_of
from data_recipes.labels import Example, Problem
from data_recipes.records import BadRow, Labelled, Tagged
from data_recipes.tagging import words_of
from tests.tiny_encoders import KINDS, byte_pieces, word_pieces

TAGS = Problem("token", ("O", "B-PER", "I-PER", "B-LOC"), "BIO")


def tokens_of(kind: str):
    return byte_pieces() if kind == "roberta" else word_pieces(kind=kind)


def tagged(text: str, tags: dict[int, int]) -> Example:
    places = words_of(text)
    target = tuple(tags.get(at, 0) for at in range(len(places)))
    names = tuple(TAGS.names[place] for place in target)
    return Example(Tagged(tuple(text[a:b] for a, b in places), names, text, tuple(places), "f:1"), target)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_and_a_pair_are_what_the_tokenizer_makes_of_them(kind):
    tokens = tokens_of(kind)
    columns, cut = Encoder(tokens, 40).text("the film is good", "a poor film")
    assert columns["input_ids"] == tokens("the film is good", "a poor film")["input_ids"] and not cut
    assert ("token_type_ids" in columns) == (kind == "bert")
    short, cut = Encoder(tokens, 8).text("the film is good " * 9, "poor")
    assert cut and len(short["input_ids"]) == 8 and short["input_ids"][-1] in tokens.all_special_ids


@pytest.mark.parametrize("kind", KINDS)
def test_the_label_of_a_word_stands_at_its_first_token_alone(kind):
    tokens = tokens_of(kind)
    row = example_row(Encoder(tokens, 60), TAGS, (0, 1))(tagged("Peter zz Paris!", {0: 1, 2: 3}))
    labelled = [(tokens.convert_ids_to_tokens(token), label) for token, label in
                zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    assert [label for _, label in labelled] == [1, 0, 3, 0] and row["counts"]["trained"] == 4
    first = labelled[0][0].lower().lstrip("ġ")
    assert "peter".startswith(first) or first == "p"


def test_a_token_that_two_words_share_belongs_to_the_first():
    tokens, words = [(-1, -1), (0, 3), (3, 5), (-1, -1)], [(0, 1), (1, 3), (3, 4), (4, 5), (7, 8)]
    assert first_tokens(tokens, words) == [1, None, 2, None, None]


def test_targets_become_what_the_loss_takes():
    encoder = Encoder(word_pieces(), 40)
    multi = example_row(encoder, Problem("multi", ("a", "b", "c")), (0, 1))(Example(Labelled("good", ("a",)), (0, 2)))
    assert multi["labels"] == [1, 0, 1]
    numbers = [Example(Labelled("good", value), value) for value in (1.0, 3.0)]
    scale = scale_of(numbers, Problem("regression"))
    assert scale == (2, 1) and example_row(encoder, Problem("regression"), scale)(numbers[1])["labels"] == 1.0
    with pytest.raises(BadRow, match="nothing-to-train-on"):
        Encoder(_without_marks(), 40).text("good [PAD]")


def _without_marks():
    """A tokenizer that puts nothing around a text, as those of decoders do."""
    from tests import tiny

    tokens = tiny.tokenizer(None)
    tokens.add_special_tokens({"additional_special_tokens": ["[PAD]"]})
    tokens.pad_token = "[PAD]"
    return tokens


def test_batches_are_padded_on_the_right():
    rows = [
        {"input_ids": [2, 5, 3], "token_type_ids": [0, 0, 1], "labels": [1, -100, 0]},
        {"input_ids": [2], "token_type_ids": [0], "labels": [0]},
    ]
    batch = Collator(9, TAGS)(rows)
    assert batch["input_ids"].tolist() == [[2, 5, 3], [2, 9, 9]] and batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[1, -100, 0], [0, -100, -100]]
    several = Collator(9, Problem("multi", ("a", "b")))([{"input_ids": [1], "labels": np.array([0, 1])}])
    assert several["labels"].dtype == torch.float32


def test_a_text_is_cut_where_the_model_ends():
    from transformers import BertConfig, RobertaConfig

    tokens = word_pieces()
    assert longest_text(tokens, BertConfig(max_position_embeddings=60), 512)[0] == 60
    assert longest_text(tokens, RobertaConfig(max_position_embeddings=66, pad_token_id=1), 512)[0] == 64
    assert longest_text(tokens, BertConfig(max_position_embeddings=512), 20) == (20, "")
    assert longest_text(tokens, BertConfig(max_position_embeddings=60), 512, taken=20)[0] == 40


class Counting(torch.nn.Module):
    """Says of each token its own id, so that a word's answer tells which token it was read from."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        from types import SimpleNamespace

        return SimpleNamespace(logits=torch.stack([input_ids, attention_mask, input_ids, input_ids], -1).float())


def test_no_word_of_a_long_text_is_lost_and_pieces_change_nothing():
    tokens, text = word_pieces(), "anna lives in paris today and peter in london " * 6
    places = words_of(text)
    whole = answer_words(Counting(), Encoder(tokens, 200), TAGS, [(text, places)])[0]
    pieces = answer_words(Counting(), Encoder(tokens, 9), TAGS, [(text, places), ("anna", [(0, 4)])])
    assert pieces[0].tolist() == whole.tolist() and len(whole) == len(places)
    assert pieces[1][0, 0] == tokens.convert_tokens_to_ids("anna")


def test_answers_come_in_the_order_of_the_rows_without_padding():
    rows = [{"input_ids": [2, 7, 3]}, {"input_ids": [2, 7, 8, 9, 3]}, {"input_ids": [2, 3]}]
    found = run(Counting(), Encoder(word_pieces(), 20), TAGS, rows, 2)
    assert [one[:, 0].astype(int).tolist() for one in found] == [row["input_ids"] for row in rows]
