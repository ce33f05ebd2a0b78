"""The shipped base: its hashes, its size, its tokenizer, and that its builder repeats itself."""

import shutil

import pytest

from data_recipes.errors import Failed
from data_recipes.toy import BASE, build_base, check_base, vocabulary, world

CHAT = [
    {"role": "system", "content": "Answer."},
    {"role": "user", "content": "May I send back the kettle from order KA47?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "When?"},
    {"role": "assistant", "content": "Soon."},
]


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(BASE)


def test_hashes_match_and_the_folder_is_small():
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"} <= set(check_base())
    assert sum(path.stat().st_size for path in BASE.iterdir()) <= 4_000_000


def test_a_changed_file_is_refused(tmp_path):
    copy = shutil.copytree(BASE, tmp_path / "base")
    (copy / "config.json").write_text("{}")
    with pytest.raises(Failed, match="config.json"):
        check_base(copy)


def test_the_base_loads_and_speaks(tokenizer):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(BASE)
    ids = tokenizer("The warranty on", return_tensors="pt", add_special_tokens=False)["input_ids"]
    assert model(ids).logits.shape == (1, ids.shape[1], len(tokenizer))
    assert next(model.parameters()).dtype == torch.float32
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id


def test_marks_are_distinct_single_tokens(tokenizer):
    ids = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert len(set(ids)) == 3
    assert tokenizer.eos_token == "<|im_end|>"
    for mark in ("<|im_start|>", "<|im_end|>"):
        assert len(tokenizer.encode(mark, add_special_tokens=False)) == 1


@pytest.mark.parametrize("text", ["Order KA47 costs 14 euros.", "Grüße, 東京! \n\n\tx = {1: 'é'} 🙂", " ", "ABC123 KA4"])
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_each_half_of_a_code_is_one_token_and_no_world_word_falls_apart(tokenizer):
    for code in world.codes(held_out=True) + world.codes(held_out=False):
        assert len(tokenizer.tokenize(f" {code}")) == 2
    for word in (*world.ITEMS, *world.REGIONS, "days", "months", "euros"):
        assert len(tokenizer.tokenize(f" {word}")) == 1


def test_generation_marks_cover_answers_with_their_stop_token(tokenizer):
    shown = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    trained = [token for token, kept in zip(shown["input_ids"], shown["assistant_masks"], strict=True) if kept]
    assert tokenizer.decode(trained) == "Yes.<|im_end|>Soon.<|im_end|>"
    assert shown["input_ids"].count(tokenizer.bos_token_id) == 1


def test_the_prompt_is_a_prefix_of_the_whole_chat(tokenizer):
    prompt = tokenizer.apply_chat_template(CHAT[:2], tokenize=False, add_generation_prompt=True)
    assert tokenizer.apply_chat_template(CHAT[:3], tokenize=False).startswith(prompt)


def test_the_shipped_tokenizer_is_the_one_the_builder_makes(tmp_path, tokenizer):
    vocabulary.build().save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == (BASE / "tokenizer.json").read_bytes()


def test_the_builder_makes_the_same_bytes_again(tmp_path, monkeypatch):
    monkeypatch.setattr(build_base, "BATCH", 2)

    def built(name, seed):
        return build_base.build(tmp_path / name, seed=seed, steps=2, report=lambda *a, **k: None)

    first = built("a", 0)
    assert built("b", 0) == first == check_base(tmp_path / "a")
    assert built("c", 1)["model.safetensors"] != first["model.safetensors"]
