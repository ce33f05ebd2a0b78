"""Masks on the chat templates that TRL ships, stated in words: what is trained, where the row ends, how it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_recipes.chat_text import has_marks
from data_recipes.errors import Refused
from data_recipes.records import BadRow, Demonstration, Message
from data_recipes.render import Renderer, prepare_tokenizer
from data_recipes.templates import pin_today, trl_training_template
from tests.tiny_tokenizers import byte_level, pieces

trl = pytest.importorskip("trl")
FOLDER = Path(trl.__file__).parent / "chat_templates"

# what the assistant writes around its words in a plain chat: (before, after)
PLAIN = {
    "cohere": ("", "<|END_OF_TURN_TOKEN|>"),
    "cohere2": ("", "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"),
    "diffusion_gemma": ("", "<turn|>"),
    "gemma": ("", "<end_of_turn>"),
    "gemma3": ("", "<end_of_turn>"),
    "gemma4": ("", "<turn|>"),
    "gemma4_v2": ("", "<turn|>"),
    "gemma4_v3": ("", "<turn|>"),
    "gemma4_v4": ("", "<turn|>"),
    "gemma4_v5": ("", "<turn|>"),
    "glm4moe": ("\n<think></think>\n", "<|user|>"),
    "lfm2": ("", "<|im_end|>"),
    "lfm2_2_5": ("", "<|im_end|>"),
    "lfm2_2_5_v2": ("", "<|im_end|>"),
    "lfm2_2_5_vl": ("", "<|im_end|>"),
    "lfm2_v2": ("", "<|im_end|>"),
    "llama3": ("", "<|eot_id|>"),
    "llama3_1": ("", "<|eot_id|>"),
    "llama3_2": ("", "<|eot_id|>"),
    "muse_glimmer": (" to=user<|message|>", "<|eot|>"),
    "phi3": ("", "<|end|>"),
    "phi3_5": ("", "<|end|>"),
    "qwen2_5": ("", "<|im_end|>"),
    "qwen2_5_vl": ("", "<|im_end|>"),
    "qwen3": ("<think>\n\n</think>\n\n", "<|im_end|>"),
    "qwen3_5_nothink": ("", "<|im_end|>"),
    "qwen3_instruct_2507": ("", "<|im_end|>"),
    "qwen3_vl": ("", "<|im_end|>"),
}
# the prompt opens a <think>, and "\n\n" is one token: an earlier answer's first token is the merged one
OPENED = ["qwen3_5_think", "qwen3_6", "qwen3_8"]
OFF = {  # thinking: off; the empty block stands in the prompt and carries no loss
    "glm4moe": ("\n", "<|user|>"),
    **dict.fromkeys(
        (
            "qwen3",
            "qwen3_5_nothink",
            "qwen3_5_think",
            "qwen3_6",
            "qwen3_8",
            "nemotron_3_nano",
            "nemotron_3_super",
            "nemotron_3_ultra",
            "nemotron_3_5_lightning",
            "qwen2_5",
            "lfm2_2_5",
        ),
        ("", "<|im_end|>"),
    ),
}
REASONED = {  # thinking: template, rows with reasoning: what is trained in the last turn
    "deepseek_r1_distill": "Hmm two.\n</think>\n\nSecond answer.<｜end▁of▁sentence｜>",
    "gptoss": "<|channel|>analysis<|message|>Hmm two.<|end|><|start|>assistant<|channel|>final<|message|>"
    "Second answer.<|return|>",
    "glm4moe": "\n<think>Hmm two.</think>\nSecond answer.<|user|>",
    "lfm2_2_5": "<think>Hmm two.</think>Second answer.<|im_end|>",
    "nemotron_3_nano": "Hmm two.\n</think>\nSecond answer.<|im_end|>",
    "nemotron_3_ultra": "Hmm two.</think>Second answer.<|im_end|>",
    "qwen3": "<think>\nHmm two.\n</think>\n\nSecond answer.<|im_end|>",
    "qwen3_5_think": "Hmm two.\n</think>\n\nSecond answer.<|im_end|>",
    "qwen3_6": "Hmm two.\n</think>\n\nSecond answer.<|im_end|>",
    "qwen3_8": "Hmm two.\n</think>\n\nSecond answer.<|im_end|>",
}
CALLED = {  # a tool call, its result, an answer: what is trained
    "gemma4": ['<|tool_call>call:get{key:<|"|>val<|"|>}<tool_call|><|tool_response>', "Done.<turn|>"],
    "gemma4_v2": ['<|tool_call>call:get{key:<|"|>val<|"|>}<tool_call|><turn|>', "Done.<turn|>"],
    "glm4moe": [
        "\n<think></think>\n<tool_call>get\n<arg_key>key</arg_key>\n<arg_value>val</arg_value>\n</tool_call>"
        "<|observation|>",
        "\n<think></think>\nDone.<|user|>",
    ],
    "gptoss": [
        ' to=functions.get<|channel|>commentary json<|message|>{"key": "val"}<|call|>',
        "<|channel|>final<|message|>Done.<|return|>",
    ],
    "lfm2_v2": ["<|tool_call_start|>[get(key='val')]<|tool_call_end|><|im_end|>", "Done.<|im_end|>"],
    "llama3_1": ['{"name": "get", "parameters": {"key": "val"}}<|eot_id|>', "Done.<|eot_id|>"],
    "llama3_2": ['{"name": "get", "parameters": {"key": "val"}}<|eot_id|>', "Done.<|eot_id|>"],
    "qwen2_5": ['<tool_call>\n{"name": "get", "arguments": {"key": "val"}}\n</tool_call><|im_end|>', "Done.<|im_end|>"],
    "qwen3": [
        '<think>\n\n</think>\n\n<tool_call>\n{"name": "get", "arguments": {"key": "val"}}\n</tool_call><|im_end|>',
        "<think>\n\n</think>\n\nDone.<|im_end|>",
    ],
    "qwen3_5_nothink": [
        "<tool_call>\n<function=get>\n<parameter=key>\nval\n</parameter>\n</function>\n</tool_call><|im_end|>",
        "Done.<|im_end|>",
    ],
    "muse_glimmer": [
        ' to=get<|message|><atem:function_calls>\n<atem:invoke name="get">\n<atem:parameter name="key">val'
        "</atem:parameter>\n</atem:invoke>\n</atem:function_calls><|eot|>",
        " to=user<|message|>Done.<|eot|>",
    ],
}
NO_TOOLS = ["cohere", "cohere2", "gemma", "gemma3", "lfm2", "llama3", "phi3", "phi3_5"]
IMAGES = ["idefics3", "llava_next", "smolvlm"]  # take messages as lists of parts
MUST_REASON = [
    "deepseek_r1_distill",
    "deepseekv3",
    "nemotron_3_nano",
    "nemotron_3_super",
    "nemotron_3_ultra",
    "nemotron_3_5_lightning",
]  # open a <think> that rows without reasoning do not have

FIRST, SECOND = "First answer.", "Second answer."
CHAT = (Message("user", "Hi."), Message("assistant", FIRST), Message("user", "And?"), Message("assistant", SECOND))
THOUGHT = (*CHAT[:3], Message("assistant", SECOND, thinking="Hmm two."))
CALL = ({"type": "function", "id": "call00001", "function": {"name": "get", "arguments": {"key": "val"}}},)
WITH_CALL = (
    Message("user", "Hi."),
    Message("assistant", "", CALL),
    Message("tool", "result", name="get", tool_call_id="call00001"),
    Message("assistant", "Done."),
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get",
            "description": "Gets it.",
            "parameters": {
                "type": "object",
                "properties": {"key": {"type": "string", "description": "A key."}},
                "required": ["key"],
            },
        },
    }
]


def shipped() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.jinja") if not path.stem.endswith("_training"))


def source(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")


def renderer(name: str, **options) -> Renderer:
    tokenizer = byte_level(source(name))
    prepare_tokenizer(tokenizer)
    return Renderer(tokenizer, **options)


def trained(made: Renderer, messages, tools=None) -> list[str]:
    row = made.demonstration(Demonstration(messages, tools))
    return pieces(made.tokenizer, row.input_ids, row.trained)


def check_row(made: Renderer, messages, tools=None) -> None:
    """What holds for any row: it ends at a trained stop token, begins with the prompt, is transformers' text."""
    row, tokenizer = made.demonstration(Demonstration(messages, tools)), made.tokenizer
    prompt = made.prompt(messages[:-1], tools)
    assert row.input_ids[: len(prompt)] == prompt
    assert row.trained[len(prompt)] and not any(row.trained[len(prompt) - 1 : len(prompt)])
    assert row.input_ids[-1] in made.stop_ids and row.trained[-1]
    assert made.pad_id not in made.stop_ids
    plain = [message.as_dict() for message in messages]
    text = tokenizer.apply_chat_template(plain, tools=tools, tokenize=False, **made._switches.variables)
    assert text.startswith(tokenizer.decode(row.input_ids)) and text[
        len(tokenizer.decode(row.input_ids)) :
    ].strip() in ("", "<eos>")
    asked = tokenizer.apply_chat_template(
        plain[:-1], tools=tools, add_generation_prompt=True, **made._switches.variables
    )["input_ids"]
    assert asked == prompt
    writes_bos = "bos_token" in tokenizer.chat_template
    assert row.input_ids.count(tokenizer.bos_token_id) == int(writes_bos) and (not writes_bos or row.input_ids[0] == 1)


def test_each_shipped_template_has_its_expectation():
    known = {*PLAIN, *OPENED, *IMAGES, *MUST_REASON, "gptoss"}
    assert set(shipped()) == known


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_plain_chat(name):
    before, after = PLAIN[name]
    made = renderer(name)
    assert trained(made, CHAT) == [before + FIRST + after, before + SECOND + after]
    check_row(made, CHAT)
    assert not made.counts


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_last_turn_only(name):
    before, after = PLAIN[name]
    assert trained(renderer(name, train_on="last"), CHAT) == [before + SECOND + after]


@pytest.mark.parametrize("name", sorted(PLAIN))
def test_completion_text_is_what_was_said(name):
    made = renderer(name)
    row = made.conversation(CHAT)
    assert made.completion_text(row[len(made.prompt(CHAT[:-1])) :]) == SECOND


@pytest.mark.parametrize("name", OPENED)
def test_prompt_that_opens_a_think_block(name):
    made = renderer(name)
    assert trained(made, CHAT) == ["\n\n</think>\n\n" + FIRST + "<|im_end|>", "\n</think>\n\n" + SECOND + "<|im_end|>"]
    check_row(made, CHAT)
    assert made.counts == {"border-split": 2}  # "\n" + "\n" is one token, but the prompt holds the first of them


@pytest.mark.parametrize("name", MUST_REASON)
def test_rows_without_reasoning_are_refused_where_the_prompt_demands_it(name):
    with pytest.raises(BadRow) as caught:
        renderer(name).demonstration(Demonstration(CHAT))
    assert caught.value.reason == "prompt-differs" and "<think>" in caught.value.detail


@pytest.mark.parametrize("name", IMAGES)
def test_templates_for_images_are_refused(name):
    with pytest.raises(Refused, match="chat template"):
        prepare_tokenizer(byte_level(source(name)))


def test_gpt_oss_ends_answers_by_return_and_never_by_end():
    tokenizer = byte_level(source("gptoss"))
    notes = prepare_tokenizer(tokenizer).notes
    made, head = Renderer(tokenizer), "<|channel|>final<|message|>"
    assert trained(made, CHAT) == [head + FIRST, head + SECOND + "<|return|>"]
    assert tokenizer.convert_ids_to_tokens(made.stop_ids) == ["<|return|>", "<|call|>", "<eos>"]
    assert any("<|end|>" in note and "no loss" in note for note in notes)
    assert any("2024-07-26" in note for note in notes) and "Current date: 2024-07-26" in tokenizer.decode(
        made.prompt(CHAT)
    )
    check_row(made, CHAT)


@pytest.mark.parametrize("name", sorted(OFF))
def test_thinking_off(name):
    before, after = OFF[name]
    made = renderer(name, thinking="off")
    assert trained(made, THOUGHT) == [before + FIRST + after, before + SECOND + after]
    check_row(made, CHAT)


@pytest.mark.parametrize("name", sorted(REASONED))
def test_reasoning_is_trained(name):
    made = renderer(name)
    messages = THOUGHT
    if name == "deepseek_r1_distill":  # reads reasoning from the words only
        messages = (*CHAT[:3], Message("assistant", f"<think>\nHmm two.\n</think>\n\n{SECOND}"))
    assert trained(made, messages)[-1] == REASONED[name]
    check_row(made, messages)


@pytest.mark.parametrize("name", sorted(CALLED))
def test_tool_calls(name):
    made = renderer(name)
    assert trained(made, WITH_CALL, TOOLS) == CALLED[name]
    assert trained(made, WITH_CALL[:2], TOOLS) == CALLED[name][:1]
    check_row(made, WITH_CALL, TOOLS)
    check_row(made, WITH_CALL[:2], TOOLS)
    assert "Gets it." in made.tokenizer.decode(made.prompt(WITH_CALL[:1], TOOLS))


@pytest.mark.parametrize("name", NO_TOOLS)
def test_rows_with_tools_are_refused_where_the_template_would_drop_them(name):
    with pytest.raises(BadRow) as caught:
        renderer(name).demonstration(Demonstration(WITH_CALL))
    assert caught.value.reason == "tools-not-supported"


def test_keep_leaves_the_reasoning_of_earlier_turns():
    messages = (CHAT[0], Message("assistant", FIRST, thinking="Hmm one."), *THOUGHT[2:])
    for name in ("lfm2_2_5", "qwen3", "qwen3_6", "nemotron_3_nano", "muse_glimmer"):
        first, last = trained(renderer(name, thinking="keep"), messages)
        assert "Hmm one." in first and "Hmm two." in last, name
    assert "Hmm one." not in trained(renderer("lfm2_2_5"), messages)[0]
    # "<think>\n" stands in the prompt of each turn, so in none is it trained
    assert (
        trained(renderer("nemotron_3_nano", thinking="keep"), messages)[0]
        == "Hmm one.\n</think>\nFirst answer.<|im_end|>"
    )


@pytest.mark.parametrize("name", ["glm4moe", "gptoss", "llama3_1"])
def test_keep_is_refused_without_a_switch(name):
    with pytest.raises(Refused, match="preserve_thinking"):
        renderer(name, thinking="keep")


TAUGHT = [name for name in shipped() if (FOLDER / f"{name}_training.jinja").is_file() and not has_marks(source(name))]


@pytest.mark.parametrize("name", TAUGHT)
def test_training_template_is_the_one_trl_takes(name):
    """The contract with TRL: its own function gives the same template."""
    from trl.chat_template_utils import get_training_chat_template

    taken = get_training_chat_template(byte_level(source(name)))
    assert trl_training_template(source(name)) == taken
    assert name in IMAGES or renderer(name).tokenizer.chat_template == pin_today(taken, [])


@pytest.mark.parametrize("name", [name for name in sorted(PLAIN) if name in TAUGHT or has_marks(source(name))])
def test_mask_lies_within_transformers_own(name):
    """An independent account: transformers' mask holds ours, and beyond it only headers and what follows stops."""
    made = renderer(name)
    row = made.demonstration(Demonstration(CHAT))
    theirs = made.tokenizer.apply_chat_template(
        [message.as_dict() for message in CHAT], return_dict=True, return_assistant_tokens_mask=True
    )
    assert theirs["input_ids"][: len(row.input_ids)] == row.input_ids
    flags = theirs["assistant_masks"]
    assert all(flag for flag, own in zip(flags, row.trained, strict=False) if own)
    rest = [
        token
        for index, (token, flag) in enumerate(zip(theirs["input_ids"], flags, strict=False))
        if flag and not (index < len(row.trained) and row.trained[index])
    ]
    words = made.tokenizer.decode(rest)
    for held in ("<|start|>assistant", "<think>\n\n</think>\n\n", "<eos>"):
        words = words.replace(held, "")
    assert not words.strip()
