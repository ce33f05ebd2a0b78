"""What a stage would make of the rows: tokens, what is trained, what is cut, pairs that become equal when they are cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data_recipes.audit.counts import histogram, mending, quantiles, refusals
from data_recipes.audit.excerpts import place
from data_recipes.audit.model import FACT, LOOK, PROBLEM, Bars, Context, Figure, Finding, Place, Row, counted
from data_recipes.audit.registry import check
from data_recipes.intervals import bootstrap_ratio
from data_recipes.near import normal
from data_recipes.records import BadRow, Comparison, Demonstration, Text, Unpaired

EDGES = (0, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


@dataclass(frozen=True)
class Measured:
    """A row in tokens. whole: its length (of a pair, the longer side's). read: what a step reads for it: a pair's prompt twice.

    trained: tokens that carry loss.

    same_after_cut: of a pair, whether both sides are equal within the maximum length.
    """

    row: Row
    whole: int
    read: int
    trained: int
    same_after_cut: bool = False


def _needs(rows: Sequence[Row], context: Context) -> str:
    if context.renderer is None:
        return "--model, whose tokenizer and chat template count"
    return "" if any(_has_tokens(row) for row in rows) else "chats, texts or pairs"


@check("tokens", "Lengths in tokens", "Rows", needs=_needs, also=("truncation", "untrainable", "identical-after-cut"),
       why="Only the trained share teaches anything; the rest is what each step costs besides.",
       mend="filter: {max_words: 500}, or a larger data.max_length")
def tokens(rows: Sequence[Row], context: Context) -> Iterator[Finding]:
    """Lengths with the model's own tokenizer and template, and what the maximum length does to the rows."""
    measured, refused = [], []
    for row in filter(_has_tokens, rows):
        try:
            measured.append(_measure(row, context))
        except BadRow as error:
            refused.append(Place(row.where, f"{error.reason}: {error.detail}"))
    if measured:
        yield _lengths(measured)
        yield _truncation(measured, context)
        if any(isinstance(one.row.record, Comparison) for one in measured):
            yield _same_after_cut(measured, context)
    yield counted("untrainable", "Rows that the template refuses", "Rows that cannot be rendered for this model.", refused,
                  len(measured) + len(refused), why="They are dropped by the stage, whatever they hold.",
                  mend="mend the rows, or choose a template that takes them")


@check("identical-pairs", "Pairs with two equal answers", "Preference pairs",
       needs=lambda rows, context: "" if _pairs(rows) or refusals(context, "identical-pairs") else "preference pairs",
       why="A pair whose sides say the same has no answer that is better; its gradient is noise.",
       mend="leave the pairs out; a build refuses those that are equal")
def identical_pairs(rows: Sequence[Row], context: Context) -> Finding:
    """Pairs that are equal, or differ in case, spaces and punctuation alone."""
    found = [place(row, "both answers have the same words", "chosen") for row in _pairs(rows)
             if normal(row.answers["chosen"]) == normal(row.answers["rejected"])]
    places = refusals(context, "identical-pairs") + found
    return counted("identical-pairs", "Pairs with two equal answers", "Both answers are the same but for case, spaces and "
                   "punctuation.", places, len(_pairs(rows)) + len(places) - len(found), unit="pairs",
                   mend=mending(rows, context, "identical-pairs"))


def _pairs(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if isinstance(row.record, Comparison)]


def _has_tokens(row: Row) -> bool:
    return isinstance(row.record, (Demonstration, Comparison, Text, Unpaired))


def _measure(row: Row, context: Context) -> Measured:
    record = row.record
    if isinstance(record, Comparison):
        pair = context.renderer.comparison(record)
        sides = [[*pair.prompt_ids, *ids] for ids in (pair.chosen_ids, pair.rejected_ids)]
        one, other = (side[: context.limit] for side in sides)
        sizes = [len(side) for side in sides]
        return Measured(row, max(sizes), sum(sizes), len(pair.chosen_ids) + len(pair.rejected_ids), one == other)
    if isinstance(record, Unpaired):
        record = Demonstration(record.prompt + record.completion, record.tools, record.where)
    made = context.renderer.demonstration(record)
    return Measured(row, len(made.input_ids), len(made.input_ids), sum(made.trained))


def _lengths(measured: list[Measured]) -> Finding:
    counts, trained = [one.whole for one in measured], [one.trained for one in measured]
    read = [one.read for one in measured]
    share = bootstrap_ratio(trained, read)
    text = f"{sum(read):,} tokens, of which {sum(trained):,} are trained. Rows: {quantiles(counts)}."
    return Finding("tokens", "Lengths in tokens", FACT, text, figures=(Figure("trained share of the tokens", share),),
                   bars=(Bars("tokens of rows", histogram(counts, EDGES)),), measure=share)


def _truncation(measured: list[Measured], context: Context) -> Finding:
    limit = context.limit
    over = [one for one in measured if limit and one.whole > limit]
    places = [place(one.row, f"{one.whole:,} tokens") for one in over]
    own = " (the model's longest context)" if limit != context.max_length else ""
    over_it = f"Rows longer than {limit:,} tokens{own}: a chat is cut there, a pair is left out."
    what = over_it if limit else "No maximum is set."
    return counted("truncation", "Rows longer than the maximum", what, places, len(measured), level=LOOK,
                   why="A cut answer does not end with the stop token, so the model learns not to stop.",
                   mend="filter: {max_words: 500}, or --set data.max_length to what the model takes")


def _same_after_cut(measured: list[Measured], context: Context) -> Finding:
    pairs = [one for one in measured if isinstance(one.row.record, Comparison)]
    places = [place(one.row, f"both sides are the same in their first {context.limit:,} tokens", "chosen")
              for one in pairs if one.same_after_cut]
    return counted("identical-after-cut", "Pairs that are equal once they are cut", "Both sides are equal within the maximum "
                   "length: what differs is never seen.", places, len(pairs), unit="pairs", level=PROBLEM,
                   why="Trainers that cut pairs train on a difference that is not there; the stages here leave such pairs out.",
                   mend="filter: {max_words: 500}")
