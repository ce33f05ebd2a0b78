"""A chat session: turns, commands, interruption, comparison; and the command with piped lines."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest

from alignment.cli import run
from alignment.cli.generate import converse
from alignment.config import load
from alignment.data import read_rows
from alignment.generation.chat import Session, Voice, voice
from alignment.generation.decoding import Decoding
from data_recipes.errors import Refused
from data_recipes.records import BadRow
from tests.alignment.made_runs import policy_run
from tests.tiny import CHATML, save_base, tokenizer


class Parrot:
    """A voice that says the last message back, and keeps what it was asked."""

    def __init__(self, name="parrot", *, breaks=None, after=99):
        self.voice, self.asked, self.breaks, self.after = Voice(name, self.answer), [], breaks, after

    def answer(self, messages, decoding, on_text):
        self.asked.append((messages, decoding))
        words = (messages[-1]["content"] + "!").split(" ")
        for number, word in enumerate(words):
            if self.breaks and number == self.after:
                raise self.breaks
            on_text(word + " " * (number + 1 < len(words)))
        return SimpleNamespace(text=messages[-1]["content"] + "!", stopped=True)


def session(parrot=None, **settings):
    shown, notes = [], []
    parrot = parrot or Parrot()
    made = Session(
        parrot.voice, emit=shown.append, note=notes.append, **{"decoding": Decoding(temperature=0.7), **settings}
    )
    return made, parrot, shown, notes


def test_turns_are_remembered_and_streamed():
    chat, parrot, shown, _ = session(system="Be brief.")
    assert chat.hear("hello there\n") and chat.hear("again")
    assert "".join(shown) == "hello there!\nagain!\n"
    assert [message["content"] for message in parrot.asked[1][0]] == [
        "Be brief.",
        "hello there",
        "hello there!",
        "again",
    ]
    assert [turn["role"] for turn in chat.turns] == ["user", "assistant"] * 2


def test_retry_has_the_same_question_and_another_seed():
    chat, parrot, _, notes = session()
    chat.hear("one")
    chat.hear("/retry")
    chat.hear("/retry")
    seeds = [decoding.seed for _, decoding in parrot.asked]
    assert len(set(seeds)) == 3 and len(chat.turns) == 2 and not notes
    assert [messages for messages, _ in parrot.asked] == [[{"role": "user", "content": "one"}]] * 3
    again, other, _, _ = session()
    again.hear("one")
    assert other.asked[0][1].seed == seeds[0]


def test_greedy_retry_says_that_nothing_will_change():
    chat, _, _, notes = session(decoding=Decoding())
    chat.hear("/retry")
    assert "no answer to try again" in notes.pop()
    chat.hear("one")
    chat.hear("/retry")
    assert "Greedy" in notes[0]


def test_system_and_reset():
    chat, parrot, _, notes = session()
    chat.hear("/system")
    chat.hear("/system You are a pirate.")
    assert notes == ["System prompt: the run's own", "System prompt: You are a pirate."]
    chat.hear("a")
    chat.hear("/reset")
    chat.hear("b")
    assert parrot.asked[1][0] == [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": "b"}]


def test_an_interrupt_ends_the_answer_and_keeps_what_was_said():
    chat, parrot, shown, notes = session(Parrot(breaks=KeyboardInterrupt(), after=2))
    assert chat.hear("one two three four")
    assert chat.turns[1]["content"] == "one two " and notes == ["(stopped)"] and shown[-1] == "\n"
    parrot.after = 0
    assert chat.hear("five six")
    assert len(chat.turns) == 2 and "turn was not kept" in notes[-1]


@pytest.mark.parametrize("error", [Refused("no room"), BadRow("template-refused", "roles must alternate")])
def test_a_refused_turn_leaves_the_conversation_as_it_was(error):
    chat, parrot, _, notes = session()
    chat.hear("one")
    before = list(chat.turns)
    parrot.breaks, parrot.after = error, 0
    assert chat.hear("two") and chat.hear("/retry")
    assert chat.turns == before and len(notes) == 2


def test_save_writes_a_data_row_and_never_over_anothers_file(tmp_path):
    chat, _, _, notes = session()
    chat.hear("one")
    chat.hear(f"/save {tmp_path / 'my chat.json'}")
    chat.hear("two")
    chat.hear(f"/save {tmp_path / 'my chat.json'}")  # its own file may be written anew
    (row,) = json.loads((tmp_path / "my chat.json").read_text())
    assert [message["content"] for message in row["messages"]] == ["one", "one!", "two", "two!"]
    assert row["decoding"]["temperature"] == 0.7
    other, _, _, notes = session()
    other.hear(f"/save {tmp_path / 'my chat.json'}")
    assert "there already" in notes[0]
    assert other.hear(f"/save {tmp_path / 'my chat.json' / 'inside.json'}") and "cannot be written" in notes[1]


@pytest.mark.parametrize("name", ["chat.json", "chat.jsonl"])
def test_what_was_saved_is_read_as_rows_by_its_name(name, tmp_path):
    chat, _, _, _ = session()
    chat.hear("one")
    chat.hear(f"/save {tmp_path / name}")
    rows = read_rows(load("sft", nouns={"data.train": [str(tmp_path / name)]}).data, "demonstrations", seed=0, private=None)
    (row,) = rows.train + rows.validation
    assert [message.content for message in row.messages] == ["one", "one!"]


def test_compare_answers_the_last_turn_and_then_every_one():
    other = Parrot("other")
    chat, parrot, shown, notes = session(load=lambda name: other.voice)
    chat.hear("one")
    shown.clear()
    chat.hear("/compare other")
    assert "".join(shown) == "[other]\none!\n" and other.asked == parrot.asked
    chat.hear("two")
    assert "".join(shown).endswith("[parrot]\ntwo!\n[other]\ntwo!\n") and len(chat.turns) == 4
    chat.hear("/compare off")
    chat.hear("three")
    assert len(other.asked) == 2 and notes[-1] == "One voice again."


def test_unknown_commands_help_and_quit():
    chat, parrot, _, notes = session()
    assert chat.hear("/rest") and "no command /rest" in notes.pop()
    assert chat.hear("/help") and all(any(name in line for line in notes) for name in ("/reset", "/compare", "/quit"))
    assert not chat.hear("/quit") and not parrot.asked
    assert chat.hear("   ") and not parrot.asked


def test_lines_end_the_conversation_and_an_interrupt_between_them_does_not():
    class Nervous:
        def __init__(self):
            self.left = [KeyboardInterrupt(), "one", None, "never"]

        def __iter__(self):
            return self

        def __next__(self):
            item = self.left.pop(0)
            if isinstance(item, BaseException):
                raise item
            if item is None:
                raise StopIteration
            return item

    chat, parrot, _, notes = session()
    converse(chat, Nervous())
    assert len(parrot.asked) == 1 and "leaves" in notes[0]
    converse(chat, iter(["/quit", "two"]))
    assert len(parrot.asked) == 1


def test_a_loaded_run_answers_in_its_own_template_and_the_command_takes_piped_lines(tmp_path):
    from click.testing import CliRunner

    from alignment.cli.generate import chat_command
    from alignment.generation.batched import generate
    from alignment.models import load_policy

    made = policy_run(tmp_path / "run", save_base(tmp_path / "base"))
    loaded, pieces = load_policy(str(made)), []
    messages = [{"role": "user", "content": "hi"}]
    answer = voice(loaded, "run").answer(messages, Decoding(max_new_tokens=5), pieces.append)
    assert answer == generate(loaded, [loaded.renderer().prompt(messages)], max_new_tokens=5)[0]
    piped = CliRunner().invoke(
        chat_command, [str(made), "--temperature", "0", "--max-new-tokens", "5"], input="hi\n/quit\nno\n"
    )
    assert piped.exit_code == 0, piped.output
    assert piped.stdout == "".join(pieces) + "\n"


@pytest.mark.parametrize(("template", "said"), [(None, "base: the model has no chat template; ChatML is used"), (CHATML, "")])
def test_a_base_without_a_template_says_which_one_it_gets(tmp_path, capsys, monkeypatch, template, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("hi\n"))
    save_base(tmp_path / "base", tokens=tokenizer(template))
    assert run(["chat", "base", "--temperature", "0", "--max-new-tokens", "2"]) == 0
    err = capsys.readouterr().err
    assert said in err and err.count("no chat template") == bool(said)


def test_a_wrong_setting_is_refused_before_a_model_is_loaded():
    assert run(["chat", "somebody/model", "--top-p", "2"]) == 2
