"""Rows of encoder-decoder models: what the encoder reads, what the decoder writes, what is cut and what is refused."""

import pytest
from transformers import AutoTokenizer

from data_recipes.errors import Refused
from data_recipes.records import BadRow, Demonstration, Message, Text
from data_recipes.seq2seq import Seq2SeqRenderer, prepare
from data_recipes.show import row_text
from tests import tiny

END, PAD = 1, 0
WITH_END = "{%- for m in messages -%}{{- '[' + m['role'] + '] ' + m['content'] -}}{%- endfor -%}{{- eos_token -}}"


def chat(*turns, system=None):
    roles = ("user", "assistant")
    first = [Message("system", system)] if system else []
    return Demonstration(tuple(first + [Message(roles[at % 2], text) for at, text in enumerate(turns)]))


def made(template=None, **options):
    tokenizer = tiny.t5_tokenizer(template)
    prepare(tokenizer)
    return Seq2SeqRenderer(tokenizer, **options)


def texts(renderer, turn):
    return tuple(renderer.tokenizer.decode(ids) for ids in (turn.input_ids, turn.target_ids))


def test_a_single_message_is_its_own_words_and_the_answer_ends_in_the_end_token():
    renderer = made()
    [turn] = renderer.turns(chat("summarize: a long text", "short"))
    assert texts(renderer, turn) == ("summarize: a long text</s>", "short</s>")
    assert turn.input_ids == renderer.tokenizer("summarize: a long text")["input_ids"]
    assert turn.input_ids == renderer.prompt([{"role": "user", "content": "summarize: a long text"}])
    assert renderer.completion_text([*turn.target_ids, PAD, PAD]) == "short"


def test_prefix_system_and_earlier_turns_have_one_plain_form():
    renderer = made(prefix="answer: ", system="Be brief.", train_on="last")
    [turn] = renderer.turns(chat("Where?", "Here."))
    assert texts(renderer, turn)[0] == "answer: Be brief.\n\nWhere?</s>"
    [turn] = renderer.turns(chat("Where?", "Here.", "When?", "Now.", system="Be long."))
    transcript = "User: Where?\nAssistant: Here.\nUser: When?\nAssistant:</s>"
    assert texts(renderer, turn) == ("answer: Be long.\n\n" + transcript, "Now.</s>")


def test_each_assistant_turn_is_a_row_or_only_the_last_one():
    rows = made().turns(chat("Where?", "Here.", "When?", "Now."))
    assert [texts(made(), row)[1] for row in rows] == ["Here.</s>", "Now.</s>"]
    assert texts(made(), rows[0])[0] == "Where?</s>"
    assert len(made(train_on="last").turns(chat("Where?", "Here.", "When?", "Now."))) == 1


def test_what_is_too_long_is_cut_at_its_end_and_a_cut_answer_has_no_end_token():
    renderer = made(max_length=4, max_target_length=3)
    [turn] = renderer.turns(chat("abcdef", "uvwxyz"))
    assert texts(renderer, turn) == ("abc</s>", "uvw") and turn.input_cut and turn.target_cut
    [turn] = renderer.turns(chat("abc", "uv"))
    assert texts(renderer, turn) == ("abc</s>", "uv</s>") and not turn.input_cut and not turn.target_cut
    assert len(renderer.prompt([{"role": "user", "content": "abcdef"}])) == 4
    assert [remark.split(" longer")[0] for remark in renderer.remarks()] == ["1 answers are", "2 inputs are"]
    with pytest.raises(Refused, match="no room"):
        made(max_length=1)


def test_a_template_of_its_own_is_kept_and_its_end_token_is_written_once():
    renderer = made(WITH_END)
    [turn] = renderer.turns(chat("Where?", "Here."))
    assert texts(renderer, turn)[0] == "[user] Where?</s>"
    with pytest.raises(Refused, match="does not write the prefix"):
        made(WITH_END, prefix="summarize: ")


def test_the_saved_template_gives_plain_transformers_the_same_ids(tmp_path):
    renderer = made(prefix='say "ä": ', system="Be brief.")
    renderer.tokenizer.chat_template = renderer.template_to_save
    renderer.tokenizer.save_pretrained(tmp_path)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    messages = [{"role": "user", "content": "Where?"}]
    assert plain(plain.apply_chat_template(messages, tokenize=False))["input_ids"] == renderer.prompt(messages)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert prepare(again).template_fingerprint == prepare(tiny.t5_tokenizer()).template_fingerprint


def test_options_come_back_and_the_fingerprint_knows_what_decides_the_ids():
    renderer = made(prefix="a: ", max_length=64, max_target_length=32, train_on="last")
    same = Seq2SeqRenderer.from_options(renderer.tokenizer, renderer.options)
    assert same.options == renderer.options and same.fingerprint == renderer.fingerprint
    assert Seq2SeqRenderer.from_options(renderer.tokenizer, renderer.options, max_length=8).fingerprint == same.fingerprint
    assert made(prefix="b: ").fingerprint != same.fingerprint
    assert made().fingerprint == made().fingerprint != same.fingerprint


def test_what_has_no_answer_or_no_form_is_refused_with_its_reason():
    with pytest.raises(BadRow, match="span corruption"):
        made().turns(Text("plain words"))
    tools = Demonstration(chat("a", "b").messages, tools=[{"name": "look"}])
    with pytest.raises(BadRow, match="tools"):
        made().turns(tools)
    called = Message("assistant", "", tool_calls=({"type": "function", "function": {"name": "look", "arguments": {}}},))
    with pytest.raises(BadRow, match="tool call"):
        made(train_on="last").turns(Demonstration((Message("user", "a"), called)))


def test_reasoning_is_left_out_and_counted():
    renderer = made()
    [first, second] = renderer.turns(chat("Where?", "<think>Hm.</think>Here.", "When?", "Now."))
    assert texts(renderer, first)[1] == "Here.</s>" and "Hm" not in texts(renderer, second)[0]
    assert renderer.remarks() == ["1 rows have reasoning that the chat template does not write"]


def test_special_tokens_in_words_are_counted_and_shown():
    renderer = made()
    record = chat("fill <extra_id_0> in", "now</s>")
    renderer.turns(record)
    assert renderer.control_tokens(record) == ["</s>", "<extra_id_0>"]
    assert renderer.remarks()[0].startswith("1 rows hold the text of a special token")
    shown = row_text(renderer, chat("Where?", "Here.", "When?", "Now.")).plain
    assert shown == "Where?</s>«Here.</s>»User: Where?\nAssistant: Here.\nUser: When?\nAssistant:</s>«Now.</s>»"


def test_a_tokenizer_without_end_or_pad_token_is_refused():
    tokenizer = tiny.t5_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(Refused, match="no pad token"):
        prepare(tokenizer)
    tokenizer.eos_token = None
    with pytest.raises(Refused, match="no end token"):
        prepare(tokenizer)


def test_added_tokens_are_said_and_counted():
    tokenizer = tiny.t5_tokenizer()
    prepared = prepare(tokenizer, ["<turn>"])
    assert prepared.added == 1 and prepared.stop_ids == [END]
    assert any("<turn>" in note for note in prepared.notes)
