"""The tokenizers of small real models, where they lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_recipes.records import Comparison, Demonstration, Message
from data_recipes.render import Renderer, prepare_tokenizer
from tests.tiny_tokenizers import pieces

MODELS = Path(__file__).resolve().parents[3] / "shared" / "models"
CHAT = (
    Message("user", "Tell a story."),
    Message("assistant", "Once upon a time."),
    Message("user", "More."),
    Message("assistant", "The end."),
)


def prepared(name: str) -> tuple[Renderer, list[str]]:
    if not (MODELS / name).is_dir():
        pytest.skip(f"{name} is not here")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODELS / name)
    notes = prepare_tokenizer(tokenizer).notes
    return Renderer(tokenizer), notes


def test_stories_gets_the_plain_template():
    made, notes = prepared("stories-260k")
    row = made.demonstration(Demonstration(CHAT))
    words = "".join(made.tokenizer.convert_ids_to_tokens(row.input_ids)).replace("▁", " ")
    assert words == (
        "<s> User: Tell a story.</s> Assistant: Once upon a time.</s> User: More.</s> Assistant: The end.</s>"
    )
    assert row.input_ids[: len(made.prompt(CHAT[:3]))] == made.prompt(CHAT[:3])
    assert row.input_ids.count(1) == 1 and row.input_ids[-1] == 2 and made.pad_id == 0 and made.stop_ids == [2]
    assert made.completion_text(row.input_ids[len(made.prompt(CHAT[:3])) :]) == "The end."
    assert any("plain text" in note for note in notes)


def test_craftgpt_ends_its_turns_with_what_begins_the_users():
    """Its one mark [inst] is BOS, EOS and the user's header; without generation marks, turns are found by prefixes."""
    made, notes = prepared("craftgpt-5m")
    row = made.demonstration(Demonstration(CHAT))
    stop = made.tokenizer.convert_tokens_to_ids("[inst]")
    assert made.stop_ids == [stop] and made.pad_id != stop and row.input_ids[-1] == stop
    assert row.input_ids[:2] != [stop, stop] and row.input_ids.count(stop) == 3
    runs = pieces(made.tokenizer, row.input_ids, row.trained)
    assert len(runs) == 2 and all(run.endswith("[inst]") for run in runs)
    assert row.input_ids[: len(made.prompt(CHAT[:3]))] == made.prompt(CHAT[:3])
    assert any("64 tokens" in note for note in notes)
    pair = made.comparison(Comparison(CHAT[:1], CHAT[1:2], CHAT[3:]))
    assert pair.prompt_ids == made.prompt(CHAT[:1]) and pair.chosen_ids[-1] == pair.rejected_ids[-1] == stop
