"""A record of one kind as records of another: the chosen answer as a demonstration, a pair as two single answers.

Only where nothing has to be made up: pairs never come of single answers.
"""

from __future__ import annotations

from dataclasses import replace

from data_recipes.formats import Part, PassedOver
from data_recipes.records import Comparison, Demonstration, Prompt, Record, Text, Unpaired

SOURCES = {  # which kinds each kind can be made of, besides itself
    "demonstrations": ("comparisons", "unpaired"),
    "prompts": ("demonstrations", "comparisons", "unpaired"),
    "unpaired": ("comparisons",),
    "comparisons": (),
    "labelled": (),
}


def derive(record: Record, kind: str) -> list[Part]:
    """What `record` gives of `kind`, one of those that `SOURCES` names for it.

    An answer that was called bad is no demonstration and is passed over. A pair's margin stays as a column.
    """
    make = {"demonstrations": _demonstration, "prompts": _prompt, "unpaired": _unpaired}[kind]
    found = make(record)
    return found if isinstance(found, list) else [(record.where, found)]


def _demonstration(record: Comparison | Unpaired) -> Demonstration | PassedOver:
    if isinstance(record, Unpaired) and not record.label:
        return PassedOver("called-bad", "the answer was called bad, so it is not to be learned")
    answer = record.completion if isinstance(record, Unpaired) else record.chosen
    return Demonstration(record.prompt + answer, record.tools, record.where, _columns(record))


def _prompt(record: Demonstration | Text | Comparison | Unpaired) -> Prompt | PassedOver:
    if isinstance(record, Text):
        return PassedOver("no-prompt", "plain text asks nothing")
    if isinstance(record, Demonstration):
        extra = {**record.extra}
        extra.setdefault("completion", record.messages[-1].content)
        return Prompt(record.messages[:-1], record.tools, record.where, extra)
    return Prompt(record.prompt, record.tools, record.where, _columns(record))


def _unpaired(record: Comparison) -> list[Part]:
    made = Unpaired(record.prompt, record.chosen, True, record.tools, f"{record.where}/chosen", _columns(record))
    other = replace(made, completion=record.rejected, label=False, where=f"{record.where}/rejected")
    return [(made.where, made), (other.where, other)]


def _columns(record: Comparison | Unpaired) -> dict:
    margin = getattr(record, "margin", None)
    return record.extra if margin is None else {**record.extra, "margin": margin}
