"""Rows shown by what is trained."""

from __future__ import annotations

import io

from rich.console import Console

from data_recipes.records import Comparison, Demonstration, Message
from data_recipes.render import Renderer, prepare_tokenizer
from data_recipes.show import counts_table, row_text
from tests import tiny

ROW = Demonstration((Message("user", "Hi \x1b[31m."), Message("assistant", "Yes, [bold]é[/bold].")))
SHOWN = "<|im_start|>user\nHi ␛[31m.<|im_end|>\n<|im_start|>assistant\n«Yes, [bold]é[/bold].<|im_end|>»"


def renderer(**options) -> Renderer:
    tokenizer = tiny.tokenizer()
    prepare_tokenizer(tokenizer)
    return Renderer(tokenizer, **options)


def printed(thing, **console) -> str:
    out = io.StringIO()
    Console(file=out, width=200, **console).print(thing)
    return out.getvalue().rstrip("\n")


def test_without_colours_trained_parts_stand_in_brackets():
    assert row_text(renderer(), ROW).plain == SHOWN
    assert printed(row_text(renderer(), ROW), color_system=None) == SHOWN


def test_with_colours_there_are_no_brackets():
    text = printed(row_text(renderer(), ROW), force_terminal=True, color_system="truecolor", no_color=False)
    assert "\x1b[1;32mYes, [bold]é[/bold].<|im_end|>\x1b[0m" in text and "«" not in text and "\x1b[31m" not in text


def test_cut_rows_say_so():
    assert row_text(renderer(max_length=40), ROW).plain.endswith("»\n[cut at 40 tokens]")


def test_comparisons_show_both_answers():
    row = Comparison(ROW.messages[:1], (Message("assistant", "Yes."),), (Message("assistant", "No."),))
    assert row_text(renderer(), row).plain.endswith(
        "assistant\n\n[chosen]\n«Yes.<|im_end|>»\n[rejected]\n«No.<|im_end|>»"
    )


def test_counts_table():
    text = printed(
        counts_table({"train": {"rows": 1200, "tokens": 34567, "trained": 9, "truncated": 1}}, {"too-long": 3})
    )
    assert ["train", "1,200", "34,567", "9", "1"] in [line.split() for line in text.splitlines()]
    assert "rejected: too-long" in text and "trained tokens" in text
