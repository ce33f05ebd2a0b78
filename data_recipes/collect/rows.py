"""Rows of each kind from outcomes. `view` gives each item's prompt and answers; what is no row is counted by reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from data_recipes.collect.aggregate import Outcome, acceptance, accepted
from data_recipes.collect.model import Answer

EDITED = "edited"
WINNER = {"first": "model_a", "second": "model_b", "tie": "tie", "both_good": "tie", "both_bad": "tie (bothbad)"}


@dataclass(frozen=True)
class Content:
    """What stands behind an item: its conversation, its two answers, functions offered, and the prompt's name."""

    messages: tuple[dict, ...]
    answers: tuple[Answer, Answer]
    list_name: str
    prompt_id: str
    tools: list | None = None


def pair_rows(view, found: Sequence[Outcome], left_out: Counter, *, whole: bool, margin: bool, edits: bool,
              acceptable_only: bool) -> list[dict]:
    """Comparisons. whole: prompt and answer together on each side, as a reward model reads them; else the prompt apart."""
    rows = []
    for outcome in found:
        content = view.content(outcome.item)
        for better, worse, strength, kind in _pairs(content, outcome, left_out, edits, acceptable_only):
            if not better.text.strip() or not worse.text.strip():
                left_out["pairs with an empty answer"] += 1
                continue
            rows.append(_pair_row(content, outcome, better, worse, strength, kind, whole, margin))
    return rows


def _pairs(content: Content, outcome: Outcome, left_out: Counter, edits: bool,
           acceptable_only: bool) -> Iterator[tuple[Answer, Answer, float, str]]:
    """Better and worse answer, by how much, and whether it was chosen or edited."""
    if edits:
        for text, _ in edited(content, outcome):
            for answer in content.answers:
                yield Answer(text, EDITED), answer, 1.0, EDITED  # an edit says that it is better, not by how much
    if outcome.better is None:
        left_out[f"items without a better answer: {outcome.why}"] += 1
    elif acceptable_only and outcome.acceptable[outcome.better] is False:
        left_out["pairs whose better answer is not acceptable"] += 1
    else:
        answers = content.answers
        yield answers[outcome.better], answers[1 - outcome.better], outcome.strength, "chosen"


def _pair_row(content: Content, outcome: Outcome, better: Answer, worse: Answer, strength: float, kind: str, whole: bool,
              margin: bool) -> dict:
    prompt = list(content.messages)
    sides = {"chosen": [_turn(better)], "rejected": [_turn(worse)]}
    row = {side: prompt + turn for side, turn in sides.items()} if whole else {"prompt": prompt, **sides}
    if content.tools:
        row["tools"] = content.tools
    if margin:
        row["margin"] = round(strength, 6)
    return {**row, "strength": round(strength, 6), "agreement": round(outcome.agreement, 6), "kind": kind,
            **_origin(content, outcome, chosen=better, rejected=worse)}


def kto_rows(view, found: Sequence[Outcome], left_out: Counter, *, rule: str, edits: bool, by_choice: bool) -> list[dict]:
    """Single answers with a label. An answer that stands in several pairs is one row (each: one a vote).

    by_choice: an answer of which nobody said whether it is acceptable is good where it was the better one, else bad.
    """
    rows = []
    for content, outcome, answer, told, chosen in _judged(view, found, rule, edits):
        said = [value for value in told if value is not None]
        label = accepted(said or (chosen if by_choice else ()), unanimous=rule == "unanimous")
        if label is None or not answer.text.strip():
            left_out[_unlabelled(said, chosen, by_choice) if label is None else "empty answers"] += 1
            continue
        tools = {"tools": content.tools} if content.tools else {}
        rows.append({"prompt": list(content.messages), "completion": [_turn(answer)], "label": label, **tools,
                     "label_from": "acceptable" if said else "choice", **_origin(content, outcome, completion=answer)})
    return rows


def _judged(view, found: Sequence[Outcome], rule: str, edits: bool) -> list[tuple]:
    """Each answer once, with what was told of it in all of its pairs, and with whether it was the better one in them."""
    kept: dict[tuple, tuple[Content, Outcome, Answer, list[bool | None], list[bool]]] = {}
    for number, outcome in enumerate(found):
        content = view.content(outcome.item)
        for side, answer in enumerate(content.answers):
            key = (content.prompt_id, answer.text, *((number,) if rule == "each" else ()))
            *_, told, chosen = kept.setdefault(key, (content, outcome, answer, [], []))
            told += [acceptance(vote)[side] for vote in outcome.votes]
            chosen += [outcome.better == side] if outcome.better is not None else []
        for text, _ in edited(content, outcome) if edits else ():
            key = (content.prompt_id, text, EDITED)
            kept.setdefault(key, (content, outcome, Answer(text, EDITED), [], []))[3].append(True)
    return list(kept.values())


def _unlabelled(said: list[bool], chosen: list[bool], by_choice: bool) -> str:
    """Why an answer has no label."""
    if said:
        return "answers whose votes do not agree on whether they are acceptable"
    if chosen and not by_choice:
        return "answers of which nobody said whether they are acceptable, only which is better"
    return "answers better in some pairs and worse in others" if chosen else "answers of ties and of votes that do not agree"


def sft_rows(view, found: Sequence[Outcome], left_out: Counter, *, edits: bool, only_edited: bool) -> list[dict]:
    """Demonstrations: an item's edited answers, or, where there are none, the better one unless it is not acceptable."""
    rows, seen = [], set()
    for outcome in found:
        content = view.content(outcome.item)
        answers = [Answer(text, EDITED) for text, _ in edited(content, outcome)] if edits else []
        better = outcome.better
        if not (answers or only_edited or better is None or outcome.acceptable[better] is False):
            answers = [content.answers[better]]
        if not answers:
            left_out["items without an answer to learn from"] += 1
        for answer in answers:
            if (key := (content.prompt_id, answer.text)) in seen or not answer.text.strip():
                left_out["answers that are empty or rows already"] += 1
                continue
            seen.add(key)
            tools = {"tools": content.tools} if content.tools else {}
            kind = EDITED if answer.source == EDITED else "chosen"
            rows.append({"prompt": list(content.messages), "completion": [_turn(answer)], **tools, "kind": kind,
                         **_origin(content, outcome, completion=answer)})
    return rows


def arena_rows(view, found: Sequence[Outcome], left_out: Counter) -> list[dict]:
    """Battles in the columns of FastChat's arena, one for each outcome whose answers say who wrote them."""
    rows = []
    for outcome in found:
        content, vote = view.content(outcome.item), outcome.votes[0]
        first, second = content.answers
        if not (first.source and second.source) or first.source == second.source:
            left_out["items whose answers have no sources, or one and the same"] += 1
            continue
        verdict = vote.verdict if len(outcome.votes) == 1 else _verdict(outcome)
        rows.append({
            "question_id": content.prompt_id, "model_a": first.source, "model_b": second.source, "winner": WINNER[verdict],
            "judge": vote.annotator if len(outcome.votes) == 1 else "all", "turn": 1, "anony": True, "tstamp": vote.at,
            "strength": round(outcome.strength, 6), "conversation_a": [*content.messages, _turn(first)],
            "conversation_b": [*content.messages, _turn(second)],
        })
    return rows


def _verdict(outcome: Outcome) -> str:
    if outcome.better is not None:
        return ("first", "second")[outcome.better]
    return "both_bad" if outcome.why == "both bad" else "tie"


def edited(content: Content, outcome: Outcome) -> list[tuple[str, str]]:
    """Edited texts of an outcome's votes that differ from both answers, with the side that was edited; each once."""
    originals = {answer.text.strip() for answer in content.answers}
    changed = [vote.edited for vote in outcome.votes if vote.edited and vote.edited[1].strip() not in originals]
    return list({text: side for side, text in changed}.items())


def _turn(answer: Answer) -> dict:
    return {"role": "assistant", "content": answer.text}


def _origin(content: Content, outcome: Outcome, **answers: Answer) -> dict:
    """Where a row comes from. `history` is JSON text: nested values of many shapes would break Arrow's columns."""
    history = {name: {"source": answer.source, **answer.made} for name, answer in answers.items()}
    votes = [{"event": vote.client_id, "signed": vote.signed, "guideline": vote.guideline} for vote in outcome.votes]
    return {"list": content.list_name, "item": outcome.item, "prompt_id": content.prompt_id, "votes": len(outcome.votes),
            "history": json.dumps({**history, "votes": votes}, ensure_ascii=False, sort_keys=True)}
