"""From a file of items to pairs: each row a prompt with two or more responses, and all that is known of their making.

    {"prompt": "Where is order 17?", "responses": ["It ships on Monday.", "Look it up."], "sources": ["runs/sft", "runs/dpo"]}

`align generate` writes such files; models, decoding settings and seeds beside them (FILE.meta.json) go with each answer.
More than two responses become pairs by a plan. Optional columns: "scores" (one list for each scorer, one number for each
response) for choosing what to ask, "expected" and "why" for gold and training items, and one to group by.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_recipes import turns
from data_recipes.collect.importers import as_ours
from data_recipes.collect.model import VERDICTS, Answer, Item
from data_recipes.errors import Refused
from data_recipes.raw_rows import iter_rows
from data_recipes.records import BadRow, check_finite, check_prompt, wrong_type

PLANS = ("all", "ring", "first", "across")
NAMED = 5
TAKEN = ("prompt", "messages", "responses", "sources", "generation", "scores", "expected", "why", "system", "tools")


@dataclass
class Reading:
    """Pairs of one or more files and the account of their rows. left_out: pairs not asked, by reason."""

    items: list[Item] = field(default_factory=list)
    rows: int = 0
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    left_out: Counter = field(default_factory=Counter)
    formats: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    seen: set[tuple] = field(default_factory=set)

    def check(self, max_rejected: float = 0.0) -> None:
        """Raises Refused where more rows are bad than may be, or there is nothing to ask."""
        if self.items and len(self.refused) <= max_rejected * self.rows:
            return
        if not self.refused:
            why = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            raise Refused(f"there is nothing to ask: {why or 'the file has no rows'}", where="--items")
        first = "; ".join(f"{where} {reason} ({detail})" for where, reason, detail in self.refused[:NAMED])
        raise Refused(f"{len(self.refused)} of {self.rows} rows cannot be used: {first}", where=self.refused[0][0],
                      expected='{"prompt": text or messages, "responses": [two or more texts]}',
                      do="Mend the rows, or let a share of bad ones pass with --max-rejected.")


def read_items(path: Path | str, *, pairs: str = "all", kind: str = "normal", stratify: str | None = None) -> Reading:
    """Reads one file of items: ours, Argilla's or Label Studio's (JSON lines, JSON, CSV, Parquet).

    Args:
        pairs: which pairs are made of more than two responses: `all`; `ring` (each with the next); `first` (the first with
            every other); `across` (those of different sources).
        kind: normal, gold or training; the latter two need "expected".
        stratify: a column whose values are the strata of stratified choice.

    Raises:
        Refused: no such file, or one whose structure is broken. Bad rows are kept in `refused`.
    """
    if pairs not in PLANS:
        raise Refused(f"there is no plan of pairs called {pairs!r}", where="--pairs", expected=", ".join(PLANS))
    found, meta = Reading(), read_meta(Path(path))
    _read(path, found, lambda row, where: _row_items(row, where, found, meta, pairs, kind, stratify))
    return found


def as_rows(path: Path | str) -> tuple[list[dict], Reading]:
    """A file's rows in our shape, checked as `read_items` does; for looking at before they are asked."""
    found = Reading()
    return _read(path, found, lambda row, where: _row_items(row, where, found, {}, "all", "normal", None)), found


def _read(path: Path | str, found: Reading, items_of: Callable[[dict, str], list[Item]]) -> list[dict]:
    """The good rows in our shape; `found` gets their items, and the account of all rows."""
    rows = []
    for where, raw in iter_rows(path, found.notes):
        found.rows += 1
        try:
            if isinstance(raw, BadRow):
                raise raw
            row, form = as_ours(raw)
            found.items += items_of(row, where)
            found.formats[form] += 1
            rows.append(row)
        except BadRow as error:
            found.refused.append((where, error.reason, error.detail))
    return rows


def parts(row: dict) -> tuple[tuple[dict, ...], list[str]]:
    """The conversation of a row that `as_rows` gave, and its answers' texts."""
    return _messages(row), [answer.text for answer in _answers(row, {})]


def meta_of(path: Path) -> Path:
    """Where `align generate` says how the answers of a file were made."""
    return path.with_name(path.name + ".meta.json")


def read_meta(path: Path) -> dict[str, Any]:
    """What `align generate` wrote beside its answers; nothing where there is no such file.

    Raises:
        Refused: it is another file.
    """
    meta = meta_of(path)
    if not meta.is_file():
        return {}
    try:
        read = json.loads(meta.read_text(encoding="utf-8"))
        request = read.get("request", read)
        models = {model["name"]: {key: value for key, value in model.items() if key != "name"} for model in request["models"]}
        return {"models": models, **{key: request[key] for key in ("decoding", "loading", "system") if request.get(key)}}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused("this file beside the answers cannot be read", where=meta, expected="what align generate wrote",
                      do="Rename it, and the answers are taken without their history.") from error


def read_text(path: Path) -> str:
    """A text file in UTF-8, for guidelines. Raises Refused."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"the text cannot be read: {error}", where=path, expected="a file of UTF-8 text") from error


def word_count(text: str) -> int:
    """Words to read; six characters count as one where a script writes none apart."""
    return max(len(text.split()), len(text) // 6)


# -------------------------------------------------------------------------------------------------------------- one row


def _row_items(row: dict, where: str, found: Reading, meta: dict, pairs: str, kind: str, stratify: str | None) -> list[Item]:
    messages, answers = _messages(row), _answers(row, meta)
    scores = _scores(row, len(answers))
    expected, why = _expected(row, kind, len(answers))
    stratum = "" if stratify is None else str(row.get(stratify, ""))
    extra = {key: value for key, value in row.items() if key not in TAKEN}
    if row.get("tools"):
        extra["tools"] = row["tools"]
    made = []
    for one, two in planned(answers, pairs, found.left_out):
        key = (str(messages), frozenset((answers[one].text.strip(), answers[two].text.strip())))
        if key in found.seen:
            found.left_out["pairs that stand there twice"] += 1
            continue
        found.seen.add(key)
        differences = [scorer[two] - scorer[one] for scorer in scores]
        spread = statistics.pstdev(differences) if len(differences) > 1 else None
        gap = abs(statistics.fmean(differences)) if differences else None
        made.append(Item(messages, answers[one], answers[two], kind, expected, why, stratum, spread, gap, extra, where))
    return made


def planned(answers: list[Answer], plan: str, left_out: Counter) -> list[tuple[int, int]]:
    """Pairs of answers by position, without those that nobody could tell apart."""
    count = len(answers)
    if plan == "ring" and count > 2:
        pairs = [(at, (at + 1) % count) for at in range(count)]
    elif plan == "first":
        pairs = [(0, at) for at in range(1, count)]
    else:
        pairs = list(itertools.combinations(range(count), 2))
    kept = []
    for one, two in pairs:
        if answers[one].text.strip() == answers[two].text.strip():
            left_out["pairs of equal answers"] += 1
        elif plan == "across" and answers[one].source == answers[two].source:
            left_out["pairs of one source"] += 1
        else:
            kept.append((one, two))
    return kept


def _messages(row: dict) -> tuple[dict, ...]:
    if "prompt" not in row and "messages" not in row:
        raise BadRow("missing-field", "no prompt")
    key = "prompt" if "prompt" in row else "messages"
    chat = turns.from_either(key, row[key], "user")
    if row.get("system"):
        if chat[0].role == "system":
            raise BadRow("bad-order", "there is a system column and a system message in the chat")
        chat = (*turns.from_text("system", row["system"], "system"), *chat)
    check_prompt(chat)
    return tuple(message.as_dict() for message in chat)


def _answers(row: dict, meta: dict) -> list[Answer]:
    texts = row.get("responses")
    if not isinstance(texts, list) or len(texts) < 2:
        raise BadRow("missing-field" if texts is None else "wrong-type", "responses must be a list of two or more answers")
    sources = row.get("sources") or [None] * len(texts)
    if not isinstance(sources, list) or len(sources) != len(texts):
        raise BadRow("wrong-type", f"sources must name one for each of the {len(texts)} responses")
    made = _made(row, len(texts))
    return [Answer(_text(text), None if source is None else str(source), {**own, **_history(meta, source)})
            for text, source, own in zip(texts, sources, made, strict=True)]


def _text(value: Any) -> str:
    """One answer: text, or the assistant's one message. It may be empty: a model may say nothing."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict) and value.get("role", "assistant") == "assistant" and not value.get("tool_calls"):
        value = value.get("content")
    if not isinstance(value, str):
        raise wrong_type("a response", "text", value)
    return value


def _made(row: dict, count: int) -> list[dict]:
    """What the row itself says of each answer's making: {"seeds": [...], "stopped": [...], "tokens": [...]}."""
    told = row.get("generation") or {}
    if not isinstance(told, dict) or any(not isinstance(value, list) or len(value) != count for value in told.values()):
        raise BadRow("wrong-type", f"generation must have lists of {count} values, one for each response")
    names = {"seeds": "seed"}
    return [{names.get(key, key): values[at] for key, values in told.items()} for at in range(count)]


def _history(meta: dict, source: Any) -> dict:
    """Run hash and decoding settings of the model that wrote an answer."""
    if source not in meta.get("models", {}):
        return {}
    return {"model": meta["models"][source], **{key: value for key, value in meta.items() if key != "models"}}


def _scores(row: dict, count: int) -> list[list[float]]:
    told = row.get("scores")
    if told is None:
        return []
    if isinstance(told, list) and told and not isinstance(told[0], list):
        told = [told]
    if not isinstance(told, list) or any(not isinstance(one, list) or len(one) != count for one in told):
        raise BadRow("wrong-type", f"scores must be one list of {count} numbers for each scorer")
    return [[check_finite("scores", value) for value in scorer] for scorer in told]


def _expected(row: dict, kind: str, answers: int) -> tuple[str | None, str | None]:
    if kind == "normal":
        return None, None
    expected, why = row.get("expected"), row.get("why")
    if expected not in VERDICTS:
        raise BadRow("missing-field", f"a {kind} item needs \"expected\": {', '.join(VERDICTS)}")
    if answers != 2:
        raise BadRow("wrong-type", f"a {kind} item has two responses, so that what is expected is clear")
    if why is not None and not isinstance(why, str):
        raise wrong_type("why", "text", why)
    return expected, why
