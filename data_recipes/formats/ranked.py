"""Several answers to one prompt with scores or ranks, taken apart into pairs: UltraFeedback, HelpSteer, lists of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from statistics import fmean
from typing import Any, NamedTuple

from data_recipes import turns
from data_recipes.formats.base import Fields, Gathered, PassedOver, keyed, number, told
from data_recipes.formats.pairs import helpsteer_prompt, preference
from data_recipes.records import BadRow, Message, check_text

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")  # UltraFeedback, arXiv:2310.01377
TEXTS = ("answer", "response", "completion", "text", "content")


class Answer(NamedTuple):
    """One of several answers. score: more is better. about: columns that its pairs carry as chosen_... and rejected_..."""

    text: str
    score: float
    about: dict[str, Any]


def chosen_pairs(answers: list[Answer], ranked: str = "all") -> Iterator[tuple[Answer, Answer] | PassedOver]:
    """(better, worse) of answers to one prompt, the best first; equal scores are no pair and are passed over.

    Args:
        ranked: "all" pairs, the "best" against each other one, or the two "ends" alone.
    """
    if len(answers) < 2:
        yield PassedOver("one-answer", "there is nothing to compare it with")
        return
    ordered = sorted(answers, key=lambda answer: -answer.score)
    found = {"best": [(ordered[0], other) for other in ordered[1:]], "ends": [(ordered[0], ordered[-1])]}
    for better, worse in found.get(ranked) or combinations(ordered, 2):
        tie = better.score == worse.score
        yield PassedOver("tie", f"two answers have the score {better.score:g}") if tie else (better, worse)


def pair_rows(fields: Fields, prompt: Any, answers: list[Answer], *, margins: bool = True) -> Iterator[dict | PassedOver]:
    """Rows of prompt, chosen and rejected, with the row's other columns; margin is the difference of scores."""
    rest = fields.rest()
    for found in chosen_pairs(answers, fields.ranked or "all"):
        if isinstance(found, PassedOver):
            yield found
            continue
        better, worse = found
        row = {**rest, "prompt": prompt, "chosen": better.text, "rejected": worse.text}
        if margins:
            row["margin"] = better.score - worse.score
        for side, answer in (("chosen", better), ("rejected", worse)):
            row.update({f"{side}_{name}": value for name, value in answer.about.items()})
        yield row


# ------------------------------------------------------------------------------------------------------- UltraFeedback


def _ultrafeedback(fields: Fields) -> Iterator[dict | PassedOver]:
    """Scored by the mean of the aspects' ratings; by the overall score only where these are missing.

    In some two thousand published rows an overall score of 1 was written as 10 (github.com/OpenBMB/UltraFeedback/issues/8);
    the aspects do not have that fault. Their scale is another, so one measure serves all completions of a row.
    """
    prompt, items = fields.value("instruction"), fields.items("completions", "completions")
    fields.used.add("models")  # repeated with each answer
    for measure in (_aspects, *(_column(key) for key in ("overall_score", "fine-grained_score", "score"))):
        scores = [measure(item) for item in items]
        if None not in scores:
            return pair_rows(fields, prompt, [_rated(item, score) for item, score in zip(items, scores, strict=True)])
    raise BadRow("missing-field", "no rating that all completions have: annotations with a Rating, or overall_score")


def _rated(item: dict, score: float) -> Answer:
    model = {"model": item["model"]} if "model" in item else {}
    return Answer(check_text("response", item.get("response")), score, {"score": score, **model})


def _aspects(item: dict) -> float | None:
    """The mean of the ratings; an aspect that does not apply is rated N/A and left out."""
    found = item.get("annotations")
    aspects = [found.get(name) for name in ASPECTS] if isinstance(found, dict) else []
    ratings = [aspect.get("Rating") for aspect in aspects if isinstance(aspect, dict)]
    numbers = [number("Rating", rating) for rating in ratings if rating not in (None, "N/A")]
    return round(fmean(numbers), 6) if numbers else None


def _column(key: str) -> Callable[[dict], float | None]:
    return lambda item: None if item.get(key) is None else number(key, item[key])


# ---------------------------------------------------------------------------------------------------- lists of answers


def _answers(fields: Fields) -> Iterator[dict | PassedOver]:
    """Nectar's rows: a prompt (text or an hh transcript) and answers, each with a rank (1 is best) or a score."""
    prompt = fields.value("prompt")
    if turns.is_transcript(prompt):
        prompt = [turn.as_dict() for turn in turns.from_open_transcript("prompt", prompt)]
    items = fields.items("answers", "answers")
    if len({"score" in item for item in items}) > 1:
        raise BadRow("missing-field", "some of the answers have a score and others have none")
    return pair_rows(fields, prompt, [_listed(item) for item in items], margins="score" in items[0])


def _listed(item: dict) -> Answer:
    key = next((key for key in TEXTS if key in item), TEXTS[0])
    scored = "score" if "score" in item else "rank"
    if scored not in item:
        raise BadRow("missing-field", "an answer has neither rank nor score")
    found = number(scored, item[scored])
    about = {name: item[name] for name in (scored, "model") if name in item}
    return Answer(check_text(key, item.get(key)), found if scored == "score" else -found, about)


def _is_answers(row: dict) -> bool:
    found = row.get("answers")
    return "prompt" in row and isinstance(found, list) and all(isinstance(one, dict) for one in found) and bool(found)


# ----------------------------------------------------------------------------------------------------------- HelpSteer


def by_column(rows: Iterable[tuple[str, dict | BadRow]], key: str) -> Iterator[Gathered]:
    """Rows with the same value of a column joined as {key: value, "rows": [...]}, in order of their first row.

    Holds the whole file. A row that cannot be read, or without the column, stands alone as a BadRow.
    """
    found: dict[Any, list[tuple[str, dict]]] = {}
    for where, row in rows:
        value = row.get(key) if isinstance(row, dict) else row
        if isinstance(value, str):
            found.setdefault(value, []).append((where, row))
        else:
            yield Gathered((where,), value if isinstance(value, BadRow) else BadRow("missing-field", f"no {key}", row))
    for value, group in found.items():
        yield Gathered(tuple(where for where, _ in group), {key: value, "rows": [row for _, row in group]})


def _by_prompt(rows: Iterable[tuple[str, dict | BadRow]]) -> Iterator[Gathered]:
    """HelpSteer's rows joined by prompt; what is wrong with one of them does not touch the others."""
    return by_column(_checked(rows), "prompt")


def _checked(rows: Iterable[tuple[str, dict | BadRow]]) -> Iterator[tuple[str, dict | BadRow]]:
    for where, row in rows:
        try:
            if isinstance(row, dict):
                number("helpfulness", Fields(row).value("helpfulness"))
                Message("assistant", check_text("response", Fields(row).value("response")))
        except BadRow as error:
            row = BadRow(error.reason, error.detail, row)
        yield where, row


def _scored(fields: Fields) -> Iterator[dict | PassedOver]:
    """HelpSteer (arXiv:2311.09528): pairs by helpfulness, as HelpSteer2's card has it; other scores stay beside them."""
    prompt = [turn.as_dict() for turn in helpsteer_prompt(fields)]
    found = fields.items("rows", "rows")
    answers = [_helpful(row) for row in found]
    return pair_rows(fields, prompt, answers)


def _helpful(row: dict) -> Answer:
    about = {name: value for name, value in row.items() if name not in ("prompt", "response")}
    return Answer(row["response"], number("helpfulness", row["helpfulness"]), about)



RANKED_PAIRS = (
    told("ranked", "prompt, and answers with ranks or scores", "prompt answers", _is_answers, preference, parts=_answers),
    keyed("ultrafeedback", "instruction and rated completions", "instruction completions", preference,
          parts=_ultrafeedback),
    keyed("helpsteer", "prompt, response and scores", "prompt response helpfulness", preference, parts=_scored,
          gather=_by_prompt),
)
