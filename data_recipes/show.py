"""Rows as a person sees them: by what is trained, and how many there are of what.

On a terminal with colours, trained tokens are bold green. Where there is no colour they stand between « and ».
"""

from __future__ import annotations

import re
from itertools import groupby

from rich import box
from rich.table import Table
from rich.text import Text as RichText

from data_recipes.records import Comparison, Prompt

TRAINED, OPEN, CLOSE = "bold green", "«", "»"
COLUMNS = (("rows", "rows"), ("tokens", "tokens"), ("trained", "trained tokens"), ("truncated", "truncated"))
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline


class RowText:
    """A row that rich prints: coloured where the console has colours, bracketed where it has none.

    Not a rich Text itself: a console joins those and would lose the choice.
    """

    def __init__(self) -> None:
        self.text = RichText()

    @property
    def plain(self) -> str:
        """The row as plain text, each trained stretch between « and »."""
        pieces, at = [], 0
        for span in (span for span in self.text.spans if span.style == TRAINED):
            pieces += [self.text.plain[at: span.start], OPEN, self.text.plain[span.start: span.end], CLOSE]
            at = span.end
        return "".join([*pieces, self.text.plain[at:]])

    def __rich_console__(self, console, options):
        yield self.text if console.color_system else RichText(self.plain)

    def add(self, tokenizer, ids: list[int], trained: list[bool]) -> None:
        """Appends tokens, decoded in runs, since half a character is no text."""
        for flag, run in groupby(zip(ids, trained, strict=True), key=lambda pair: pair[1]):
            text = tokenizer.decode([token for token, _ in run], clean_up_tokenization_spaces=False)
            self.text.append(CONTROL.sub(_visible, text), TRAINED if flag else None)


def row_text(renderer, record) -> RowText:
    """The row as the model gets it, special tokens and all; what carries loss stands out.

    A comparison is shown as its prompt, then both answers, each under a line that names it.

    Raises:
        BadRow: the row cannot be rendered.
    """
    shown, tokenizer = RowText(), renderer.tokenizer
    if isinstance(record, Comparison):
        pair = renderer.comparison(record)
        shown.add(tokenizer, pair.prompt_ids, [False] * len(pair.prompt_ids))
        for name, ids in (("chosen", pair.chosen_ids), ("rejected", pair.rejected_ids)):
            shown.text.append(f"\n[{name}]\n", "dim")
            shown.add(tokenizer, ids, [True] * len(ids))
        return shown
    if isinstance(record, Prompt):
        ids = renderer.prompt(record.messages, record.tools)
        shown.add(tokenizer, ids, [False] * len(ids))
        shown.text.append("\n[the policy answers here]", "dim")
        return shown
    row = renderer.demonstration(record)
    shown.add(tokenizer, row.input_ids, row.trained)
    if row.truncated:
        shown.text.append(f"\n[cut at {renderer.max_length} tokens]", "dim")
    return shown


def counts_table(parts: dict[str, dict[str, int]], rejected: dict[str, int] | None = None) -> Table:
    """One table of what is trained on.

    Args:
        parts: for each part ("train", "held out") its counts: rows, tokens, trained, truncated.
        rejected: rows dropped, by reason.
    """
    made = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("", *(title for _, title in COLUMNS)):
        made.add_column(title, justify="right" if title else "left")
    for part, counts in parts.items():
        made.add_row(part, *(f"{counts.get(key, 0):,}" for key, _ in COLUMNS))
    for reason, count in sorted((rejected or {}).items()):
        made.add_row(f"rejected: {reason}", f"{count:,}")
    return made


def _visible(found: re.Match) -> str:
    """A control character as its picture: a row must not steer the terminal it is shown on."""
    code = ord(found.group())
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"
