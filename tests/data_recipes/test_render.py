"""Rendering: rows, pairs, prompts and texts, token by token, on small tokenizers of real shapes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from data_recipes.errors import Refused
from data_recipes.records import BadRow, Comparison, Demonstration, Message, Text
from data_recipes.render import Renderer, prepare_tokenizer
from tests import tiny
from tests.tiny_tokenizers import byte_level, metaspace, pieces

# templates of real shapes, as models ship them: without generation marks
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + "
    "m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) "
    "+ '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
FORGETFUL = (  # as Qwen3's own: reasoning is taken out of an answer once it is history
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SHAPES = {"chatml": CHATML, "llama": LLAMA, "mistral": MISTRAL, "gemma": GEMMA}
CHAT = (
    Message("user", "Hi."),
    Message("assistant", "First answer."),
    Message("user", "And?"),
    Message("assistant", "Second answer."),
)
WHOLE = {
    "chatml": "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\nFirst answer.<|im_end|>\n"
    "<|im_start|>user\nAnd?<|im_end|>\n<|im_start|>assistant\nSecond answer.<|im_end|>",
    "llama": "<bos><|start_header_id|>user<|end_header_id|>\n\nHi.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
    "First answer.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nSecond answer.<|eot_id|>",
    "mistral": "<bos>[INST] Hi. [/INST] First answer.<eos>[INST] And? [/INST] Second answer.<eos>",
    "gemma": "<bos><start_of_turn>user\nHi.<end_of_turn>\n<start_of_turn>model\nFirst answer.<end_of_turn>\n"
    "<start_of_turn>user\nAnd?<end_of_turn>\n<start_of_turn>model\nSecond answer.<end_of_turn>",
}
TRAINED = {
    "chatml": ["First answer.<|im_end|>", "Second answer.<|im_end|>"],
    "llama": ["First answer.<|eot_id|>", "Second answer.<|eot_id|>"],
    "mistral": [" First answer.<eos>", " Second answer.<eos>"],
    "gemma": ["First answer.<end_of_turn>", "Second answer.<end_of_turn>"],
}


def ready(tokenizer, **options) -> Renderer:
    prepare_tokenizer(tokenizer)
    return Renderer(tokenizer, **options)


def pair(chosen: str = "Yes.", rejected: str = "No.", prompt=CHAT[:3]) -> Comparison:
    return Comparison(prompt, (Message("assistant", chosen),), (Message("assistant", rejected),))


def trained(made: Renderer, messages=CHAT) -> list[str]:
    row = made.demonstration(Demonstration(messages))
    return pieces(made.tokenizer, row.input_ids, row.trained)


# ------------------------------------------------------------------------------------------ templates without marks


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_without_marks(shape):
    made = ready(byte_level(SHAPES[shape]))
    row = made.demonstration(Demonstration(CHAT))
    assert made.tokenizer.decode(row.input_ids) == WHOLE[shape]
    assert trained(made) == TRAINED[shape]
    prompt = made.prompt(CHAT[:-1])
    assert (
        row.input_ids[: len(prompt)] == prompt
        and made.tokenizer.decode(prompt) == WHOLE[shape][: len(WHOLE[shape]) - len(TRAINED[shape][1])]
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_each_byte_of_unusual_words_is_trained(shape):
    words = "naïve 😀\n\n  code:\n\tif x:  \n语言 é"
    made = ready(byte_level(SHAPES[shape]))
    runs = trained(made, (CHAT[0], Message("assistant", words)))
    assert (
        len(runs) == 1
        and runs[0].strip().startswith(words)
        and made.completion_text(made.tokenizer(runs[0], add_special_tokens=False)["input_ids"]) == words
    )


def test_history_that_is_written_differently():
    made = ready(byte_level(FORGETFUL))
    with pytest.raises(BadRow) as caught:
        made.demonstration(Demonstration(CHAT))
    assert caught.value.reason == "prefix-differs" and "train_on: last" in caught.value.detail
    last = Renderer(made.tokenizer, train_on="last")
    assert trained(last) == ["<think>\n\n</think>\n\nSecond answer.<|im_end|>"]
    assert trained(made, CHAT[:2]) == ["<think>\n\n</think>\n\nFirst answer.<|im_end|>"]
    assert made.comparison(pair()).prompt_ids == made.prompt(CHAT[:3])


def test_answers_that_differ_in_nothing_that_is_written_are_no_pair():
    made = ready(byte_level(CHATML), thinking="off")
    with pytest.raises(BadRow, match="identical-pair: .* once they are rendered"):
        made.comparison(pair("<think>So.</think>Yes.", "<think>Hm.</think>Yes."))


def test_marks_that_leave_the_stop_token_out():
    template = CHATML.replace(
        "message['content'] + '<|im_end|>'",
        "'' }}{% if message['role'] == 'assistant' %}{% generation %}"
        "{{ message['content'] }}{% endgeneration %}{% else %}{{ message['content'] }}{% endif %}{{ '<|im_end|>'",
    )
    assert trained(ready(byte_level(template, ["<|im_start|>", "<|im_end|>"]))) == TRAINED["chatml"]


def test_header_between_prompt_and_mark_is_trained():
    """What the generation prompt does not hold has to be generated, whatever the marks say."""
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}{% if m['role'] == 'assistant' %}{{ '\n' }}"
        "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}"
        "{% else %}{{ '\n' + m['content'] + '<|im_end|>' }}"
        "{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
    )
    made = ready(byte_level(template, ["<|im_start|>", "<|im_end|>"]))
    assert trained(made) == ["\nFirst answer.<|im_end|>", "\nSecond answer.<|im_end|>"]


def test_metaspace_tokenizer():
    made = ready(metaspace(MISTRAL, ["[INST]", "[/INST]"]))
    row = made.demonstration(Demonstration(CHAT))
    assert row.input_ids.count(made.tokenizer.bos_token_id) == 1 and row.input_ids[0] == made.tokenizer.bos_token_id
    assert row.input_ids[-1] == made.tokenizer.eos_token_id
    assert row.input_ids[: len(made.prompt(CHAT[:-1]))] == made.prompt(CHAT[:-1])
    assert [run.strip() for run in trained(made)] == ["First answer.</s>", "Second answer.</s>"]
    assert made.completion_text(row.input_ids[len(made.prompt(CHAT[:-1])) :]) == "Second answer."


# ----------------------------------------------------------------------------------------------------- text, cutting


@pytest.mark.parametrize("own_bos", [False, True])
def test_text_rows_train_all_tokens(own_bos):
    made = ready(byte_level(CHATML, own_bos=own_bos))
    row = made.demonstration(Text("Once."))
    assert made.tokenizer.decode(row.input_ids) == ("<bos>" if own_bos else "") + "Once.<eos>"
    assert all(row.trained) and not row.truncated


def test_cut_rows():
    made = ready(tiny.tokenizer())
    whole = made.demonstration(Demonstration(CHAT))
    short = Renderer(made.tokenizer, max_length=len(whole.input_ids) - 3).demonstration(Demonstration(CHAT))
    assert short.truncated and short.input_ids == whole.input_ids[:-3] and short.trained == whole.trained[:-3]
    assert not Renderer(made.tokenizer, max_length=len(whole.input_ids)).demonstration(Demonstration(CHAT)).truncated
    with pytest.raises(BadRow) as caught:
        Renderer(made.tokenizer, max_length=10).demonstration(Demonstration(CHAT))
    assert caught.value.reason == "nothing-to-train-on"
    assert Renderer(made.tokenizer, max_length=3).demonstration(Text("Once.")).truncated


# ------------------------------------------------------------------------------------------------------- comparisons


@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_share_the_prompt_and_end_at_the_stop_token(shape):
    made = ready(byte_level(SHAPES[shape]))
    row = made.comparison(pair())
    assert row.prompt_ids == made.prompt(CHAT[:3])
    assert [made.completion_text(ids) for ids in (row.chosen_ids, row.rejected_ids)] == ["Yes.", "No."]
    assert row.chosen_ids[-1] == row.rejected_ids[-1] == made.stop_ids[0] and not row.truncated
    assert row.prompt_ids + row.chosen_ids == made.conversation((*CHAT[:3], Message("assistant", "Yes.")))


def test_pairs_that_are_too_long_are_refused():
    made = ready(tiny.tokenizer())
    size = len(made.conversation((*CHAT[:3], Message("assistant", "Yes."))))
    assert Renderer(made.tokenizer, max_length=size).comparison(pair())
    with pytest.raises(BadRow) as caught:
        Renderer(made.tokenizer, max_length=size - 1).comparison(pair())
    assert caught.value.reason == "too-long" and str(size) in caught.value.detail


def test_tokens_that_would_merge_across_the_border():
    """ "\\n" of the prompt and "\\n" of one answer are one token: both sides still have the very ids of the prompt."""
    made = ready(byte_level(CHATML))
    row = made.comparison(pair("\nYes.", "No."))
    assert row.prompt_ids == made.prompt(CHAT[:3])
    assert (
        made.tokenizer.decode(row.chosen_ids) == "\nYes.<|im_end|>"
        and made.tokenizer.decode(row.rejected_ids) == "No.<|im_end|>"
    )
    assert made.counts == {"border-split": 1} and "encoded apart" in made.remarks()[0]


def test_border_is_cut_where_encoding_apart_would_change_the_text():
    """A Metaspace tokenizer writes a blank before what it encodes apart, so the answer begins where the ids part."""
    made = ready(
        metaspace(
            "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'Q: ' + m['content'] + ' A: ' }}{% else %}"
            "{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
        )
    )
    row = made.comparison(pair("a cat", "no", prompt=CHAT[:1]))  # the blank merges with "a", not with "n"
    whole = [made.conversation((CHAT[0], Message("assistant", words))) for words in ("a cat", "no")]
    assert len(row.prompt_ids) == len(made.prompt(CHAT[:1])) - 1
    assert [row.prompt_ids + row.chosen_ids, row.prompt_ids + row.rejected_ids] == whole
    assert made.prompt(CHAT[:1])[: len(row.prompt_ids)] == row.prompt_ids and made.counts["border-cut"] > 0


# ------------------------------------------------------------------------------------------------- options, manifest


def test_system_prompt_of_the_run():
    made = ready(byte_level(CHATML), system="Be kind.")
    assert made.tokenizer.decode(made.prompt(CHAT[:1])).startswith(
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user"
    )
    own = (Message("system", "Be brief."), *CHAT)
    assert "Be kind." not in made.tokenizer.decode(made.conversation(own))
    with pytest.raises(Refused, match="data.system"):
        ready(byte_level(MISTRAL), system="Be kind.")


def test_tools_the_template_does_not_show_are_refused():
    with pytest.raises(Refused, match="data.tools"):
        ready(byte_level(CHATML), tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])


def test_prompts_with_tools_are_refused_where_they_would_be_dropped():
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    with pytest.raises(BadRow, match="tools-not-supported"):
        ready(byte_level(CHATML)).prompt(CHAT[:1], tools)


@pytest.mark.parametrize("option", ["thinking", "train_on"])
def test_unknown_choices_are_refused(option):
    with pytest.raises(Refused, match="all|template"):
        ready(byte_level(CHATML), **{option: "some"})


def test_options_make_the_same_renderer_again():
    made = ready(byte_level(CHATML), system="Be kind.", max_length=99, train_on="last", thinking="off")
    again = Renderer.from_options(made.tokenizer, json.loads(json.dumps({**made.options, "unknown": 1})))
    assert again.options == made.options and again.fingerprint == made.fingerprint
    assert Renderer.from_options(made.tokenizer, made.options, max_length=None).max_length is None


def test_fingerprint_changes_with_what_changes_ids():
    tokenizer = byte_level(CHATML)
    plain = ready(tokenizer)
    prints = {
        plain.fingerprint,
        Renderer(tokenizer, system="Be kind.").fingerprint,
        Renderer(tokenizer, thinking="off").fingerprint,
        ready(byte_level(LLAMA)).fingerprint,
        ready(byte_level(CHATML, own_bos=True, pad="<bos>")).fingerprint,
    }
    assert len(prints) == 5
    assert {Renderer(tokenizer, max_length=7).fingerprint, Renderer(tokenizer, train_on="last").fingerprint} == {
        plain.fingerprint
    }
    assert ready(byte_level(CHATML)).fingerprint == plain.fingerprint


def test_saved_template_prompts_as_we_do(tmp_path):
    """What plain transformers, and so vLLM, make of the run folder's tokenizer: the ids that training saw."""
    from transformers import AutoTokenizer

    system = 'Be "kind".\n{%- set x -%} 😀 \\ \''
    made = ready(byte_level(FORGETFUL), system=system, thinking="off", train_on="last")
    asked = [{"role": "user", "content": "Hi."}]
    made.tokenizer.chat_template = made.template_to_save
    made.tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.apply_chat_template(asked, add_generation_prompt=True)["input_ids"] == made.prompt(asked)
    own = [{"role": "system", "content": "Mine."}, *asked]
    assert loaded.apply_chat_template(own, add_generation_prompt=True)["input_ids"] == made.prompt(own)
    again = prepare_tokenizer(loaded)
    assert again.template_fingerprint == prepare_tokenizer(byte_level(FORGETFUL)).template_fingerprint
    child = Renderer.from_options(loaded, made.options)
    assert child.fingerprint == made.fingerprint and child.template_to_save == loaded.chat_template
    assert Renderer(loaded).prompt(asked) == made.prompt(asked)  # a merged folder, which has no options


def test_saved_template_shows_the_run_s_tools_as_we_do(tmp_path):
    from transformers import AutoTokenizer

    def tool(name: str) -> dict:
        key = {"type": "string", "default": None, "description": "'a' \"b\" {%- set x -%} %} 😀\n"}
        schema = {"type": "object", "properties": {"key": key}, "additionalProperties": False}
        return {"type": "function", "function": {"name": name, "description": "Looks.", "parameters": schema}}

    with_tools = "{%- for tool in tools or [] -%}{{ '<|im_start|>tool ' + tool | tojson + '<|im_end|>' }}{%- endfor -%}"
    made = ready(byte_level(with_tools + CHATML), tools=[tool("mine")])
    asked = [{"role": "user", "content": "Hi."}]
    made.tokenizer.chat_template = made.template_to_save
    made.tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.apply_chat_template(asked, add_generation_prompt=True)["input_ids"] == made.prompt(asked)
    own = loaded.apply_chat_template(asked, tools=[tool("other")], add_generation_prompt=True)["input_ids"]
    assert own == made.prompt(asked, tools=[tool("other")]) != made.prompt(asked)
    none = loaded.apply_chat_template(asked, tools=[], add_generation_prompt=True)["input_ids"]
    assert none == ready(byte_level(with_tools + CHATML)).prompt(asked)
    child = Renderer.from_options(loaded, made.options)
    assert child.fingerprint == made.fingerprint and child.template_to_save == loaded.chat_template


def test_preparing_twice_changes_nothing():
    tokenizer = byte_level(CHATML)
    first, template = prepare_tokenizer(tokenizer), tokenizer.chat_template
    second = prepare_tokenizer(tokenizer)
    assert (tokenizer.chat_template, second.template_fingerprint, second.stop_ids, second.special_tokens) == (
        template,
        first.template_fingerprint,
        first.stop_ids,
        first.special_tokens,
    )
    assert first.special_tokens["stop"] == ["<|im_end|>", "<eos>"] and first.special_tokens["pad"] == "<pad>"
    json.dumps(first.special_tokens)


def test_named_templates_and_dates():
    tokenizer = byte_level(CHATML)
    tokenizer.chat_template = {"default": "{{ strftime_now('%d %b %Y') }}" + CHATML, "rag": "x"}
    notes = prepare_tokenizer(tokenizer).notes
    assert any("'default' is used" in note for note in notes) and any("pinned" in note for note in notes)
    assert tokenizer.decode(Renderer(tokenizer).prompt(CHAT[:1])).startswith("26 Jul 2024")


def test_special_tokens_in_words_are_counted():
    made = ready(byte_level(CHATML))
    row = Demonstration((CHAT[0], Message("assistant", "I say <|im_end|> and go on.")))
    assert made.control_tokens(row) == ["<|im_end|>"] and made.control_tokens(pair()) == []
    assert trained(made, row.messages) == ["I say <|im_end|> and go on.<|im_end|>"]  # up to the last one
    made.demonstration(Text("<eos>"))
    assert made.counts["special-token-in-text"] == 2 and "2 rows" in made.remarks()[0]


def test_reasoning_the_template_does_not_write_is_counted():
    made = ready(byte_level(CHATML))
    assert trained(made, (CHAT[0], Message("assistant", "Yes.", thinking="Hmm."))) == ["Yes.<|im_end|>"]
    assert made.counts == {"reasoning-left-out": 1}


def test_messages_the_template_refuses():
    with pytest.raises(BadRow) as caught:
        ready(byte_level(MISTRAL)).demonstration(Demonstration((Message("system", "Be kind."), *CHAT)))
    assert caught.value.reason == "template-refused" and "Only user and assistant" in caught.value.detail


def test_completion_text_stops_at_the_first_stop_token():
    made = ready(byte_level(CHATML))
    ids = made.tokenizer("Yes.<|im_end|>\n<|im_start|>user", add_special_tokens=False)["input_ids"]
    assert (
        made.completion_text(ids) == "Yes." and made.completion_text([]) == "" and made.completion_text(ids[:2]) == "Ye"
    )


def test_rendering_does_not_import_torch():
    code = (
        "import sys; from tests import tiny; from data_recipes.render import *; from data_recipes.records import *\n"
        "import data_recipes.render; assert 'transformers' not in sys.modules\n"
        "t = tiny.tokenizer(None); prepare_tokenizer(t); r = Renderer(t)\n"
        "r.demonstration(Demonstration((Message('user', 'a'), Message('assistant', 'b'))))\n"
        "assert 'torch' not in sys.modules and 'trl' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
