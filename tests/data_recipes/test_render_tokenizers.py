"""What a tokenizer is given before training: a template where it has none, and a token that pads."""

from __future__ import annotations

import pytest

from data_recipes.errors import Refused
from data_recipes.records import BadRow, Demonstration, Message
from data_recipes.render import Renderer, prepare_tokenizer
from tests.data_recipes.test_render import CHAT, CHATML, MISTRAL, TRAINED, WHOLE, ready, trained
from tests.tiny_tokenizers import byte_level, metaspace


def test_base_with_chatml_tokens():
    tokenizer = byte_level(None, ["<|im_start|>", "<|im_end|>"], own_bos=True)
    notes = prepare_tokenizer(tokenizer).notes
    made = Renderer(tokenizer)
    row = made.demonstration(Demonstration(CHAT))
    assert tokenizer.decode(row.input_ids) == "<bos>" + WHOLE["chatml"] and trained(made) == TRAINED["chatml"]
    assert tokenizer.convert_ids_to_tokens(made.stop_ids) == ["<|im_end|>", "<eos>"]
    assert "ChatML" in notes[0]


@pytest.mark.parametrize("own_bos", [False, True])
def test_base_without_chatml_tokens(own_bos):
    made = ready(byte_level(None, [], own_bos=own_bos))
    row = made.demonstration(Demonstration((Message("system", "Be kind."), *CHAT)))
    assert made.tokenizer.decode(row.input_ids) == ("<bos>" if own_bos else "") + (
        "System: Be kind.<eos>User: Hi.<eos>Assistant: First answer.<eos>User: And?<eos>Assistant: Second answer.<eos>"
    )
    assert trained(made) == [" First answer.<eos>", " Second answer.<eos>"]
    assert made.tokenizer.decode(made.prompt(CHAT[:1])).endswith("User: Hi.<eos>Assistant:")


def test_base_template_has_no_form_for_tools():
    call = ({"type": "function", "function": {"name": "f", "arguments": {}}},)
    with pytest.raises(BadRow, match="tools-not-supported"):
        ready(byte_level(None, [])).demonstration(Demonstration((CHAT[0], Message("assistant", "", call))))


def test_base_without_end_token():
    tokenizer = byte_level(None, [])
    tokenizer.eos_token = None
    with pytest.raises(Refused, match="neither a chat template nor an end token"):
        prepare_tokenizer(tokenizer)


def test_marks_that_are_no_tokens_are_refused():
    with pytest.raises(Refused, match="does not end the assistant's turn"):
        prepare_tokenizer(byte_level(CHATML, []))


def test_chatml_tokens_added_by_name():
    tokenizer = byte_level(None, [])
    size = len(tokenizer)
    made = prepare_tokenizer(tokenizer, add_tokens=["<|im_start|>", "<|im_end|>"])
    assert made.added == 2 and len(tokenizer) == size + 2 and "new row" in made.notes[0]
    assert trained(Renderer(tokenizer)) == TRAINED["chatml"]
    again = prepare_tokenizer(tokenizer, add_tokens=["<|im_start|>", "<|im_end|>"])
    assert again.added == 0 and "not added: <|im_start|>, <|im_end|>" in again.notes[0]
    assert again.template_fingerprint == made.template_fingerprint


def test_pad_is_never_the_stop_token():
    tokenizer = byte_level(CHATML)
    tokenizer.pad_token = "<|im_end|>"
    size = len(tokenizer)
    prepare_tokenizer(tokenizer)
    assert tokenizer.pad_token == "<pad>" and len(tokenizer) == size


def test_pad_prefers_unknown_then_reserved():
    tokenizer = metaspace(MISTRAL, ["[INST]", "[/INST]", "<reserved_1>"])
    prepare_tokenizer(tokenizer)
    assert tokenizer.pad_token == "<unk>"
    tokenizer = byte_level(CHATML, ["<|im_start|>", "<|im_end|>", "<|reserved_1|>"], pad=None)
    tokenizer.add_special_tokens({"pad_token": "<eos>"})
    prepare_tokenizer(tokenizer)
    assert tokenizer.pad_token in ("<pad>", "<|reserved_1|>")


@pytest.mark.parametrize("bos", ["<|endoftext|>", "<bos>"])
def test_pad_of_a_tokenizer_without_spare_tokens(bos):
    """As GPT-2, whose one token begins and ends everything: a byte that no text holds pads, and nothing is added."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(
        models.BPE(vocab={token: index for index, token in enumerate(["<|endoftext|>", "<bos>", *alphabet])}, merges=[])
    )
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    core.add_special_tokens(["<|endoftext|>"] + (["<bos>"] if bos == "<bos>" else []))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token="<|endoftext|>", unk_token="<|endoftext|>"
    )
    size = len(tokenizer)
    made = ready(tokenizer)
    assert made.pad_id not in made.stop_ids and len(tokenizer) == size
    assert tokenizer.pad_token == "\u0114"  # how byte-level vocabularies write the byte 0x14
    assert trained(made) == [" First answer.<|endoftext|>", " Second answer.<|endoftext|>"]


def test_unprepared_tokenizers_are_refused():
    with pytest.raises(Refused, match="prepare_tokenizer"):
        Renderer(byte_level(None, []))
    tokenizer = byte_level(CHATML)
    tokenizer.pad_token = "<|im_end|>"
    with pytest.raises(Refused, match="prepare_tokenizer"):
        Renderer(tokenizer)
