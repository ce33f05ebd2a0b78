"""YAML read strictly: lines, repeated keys, and the traps of YAML 1.1."""

from __future__ import annotations

import pytest

from alignment.config import load
from data_recipes.strict_yaml import is_cut, parse, read_file
from data_recipes.errors import Refused


def refusal(text: str) -> str:
    with pytest.raises(Refused) as caught:
        parse(text, "my.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("1.", 1.0),
        (".5", 0.5),
        ("-3", -3),
        ("+3", 3),
        ("007", 7),
        ("no", "no"),
        ("off", "off"),
        ("Yes", "Yes"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("2024-01-31", "2024-01-31"),
        ("0x10", "0x10"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("[1, no]", [1, "no"]),
        ("{a: 1e3}", {"a": 1000.0}),
        ("=", "="),
    ],
)
def test_values(text, value):
    read, _ = parse(text, "x")
    assert read == value and type(read) is type(value)


def test_halves_of_a_character_are_joined_and_a_lone_one_is_refused():
    """JSON writes what lies beyond U+FFFF as two halves, and a config may be JSON."""
    assert parse(r'"Hi \ud83d\ude00\u00e4"', "x")[0] == "Hi \U0001f600\xe4"
    assert "half a character" in refusal(r'a: "\ud83d"')


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Refer to ticket #12", True), ("# all of it", True), ("two\nlines", True), ("--- three", True),
        ("plain", False), (" 5 ", False), ("a#b", False), ("[a] # b", False), ("'a' # b", False), ("a: b", False),
        ("", False), ("a: b: c", False),
    ],
)
def test_what_yaml_would_leave_out_of_a_plain_text(text, cut):
    assert is_cut(text) is cut


def test_block_text_stays_text():
    assert parse("|\n  12\n", "x")[0] == "12\n"


def test_each_key_has_its_line():
    _, lines = parse("a:\n  b: 1\n\nc: [1]\n", "x")
    assert lines == {("a",): 1, ("a", "b"): 2, ("c",): 4}


def test_a_repeated_key_is_refused_with_both_lines():
    message = refusal("a: 1\nb: 2\na: 3\n")
    assert message.startswith("my.yaml:3: ") and "first in line 1" in message


def test_a_repeated_key_inside_a_section_is_refused():
    assert refusal("t:\n  seed: 1\n  seed: 2\n").startswith("my.yaml:3: ")


@pytest.mark.parametrize(
    "text",
    [
        "a: [1",
        "a: b: c",
        "\ta: 1",
        "a: !!python/object:os.system x",
        "a: 1\n---\nb: 2\n",
        "? [a]\n: 1",
        "a: &x [*x]",
        "a: *nowhere",
        "a: !!binary aGk=",
        "a: !!str 5",
        "a: !!set {b}",
    ],
)
def test_what_is_no_plain_document_is_refused(text):
    assert refusal(text).startswith("my.yaml")


def test_aliases_work_where_they_are_plain():
    assert parse("a: &x [1]\nb: *x\n", "x")[0] == {"a": [1], "b": [1]}


def test_an_empty_file_changes_nothing(tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text("# nothing\n")
    assert read_file(file) == ({}, {})


@pytest.mark.parametrize("text", ["- a\n", "word\n"])
def test_a_file_is_a_mapping(tmp_path, text):
    file = tmp_path / "l.yaml"
    file.write_text(text)
    with pytest.raises(Refused, match="mapping of sections"):
        read_file(file)


def test_text_in_another_encoding_is_refused(tmp_path):
    file = tmp_path / "l.yaml"
    file.write_bytes("a: \xe4".encode("latin-1"))
    with pytest.raises(Refused, match="cannot be read"):
        read_file(file)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("training:\n  seed: 1\n  lr: 2\n", 3),
        ("\n\nmodle: {}\n", 3),
        ("training:\n\n  seed: x\n", 3),
        ("training: {seed: 1, epochs: no}\n", 1),
        ("adapter:\n  targets:\n  - 5\n", 2),
        ("trainer:\n  optim: x\n", 2),
        ("model:\n  path: a\ntrainer:\n  bf16: true\n", 4),
        ("training:\n", 1),
    ],
)
def test_a_mistake_in_a_file_is_named_by_its_line(tmp_path, text, line):
    file = tmp_path / "my.yaml"
    file.write_text(text)
    with pytest.raises(Refused) as caught:
        load("sft", file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
