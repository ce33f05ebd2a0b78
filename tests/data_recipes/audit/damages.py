"""Kinds of damage as they are met in real files, each done to one row at a known line, with the finding that must name it.

Rows are what `align data convert` writes: `messages` for demonstrations, prompt/chosen/rejected as messages for pairs. A damage
changes rows in place, so that every other line stays where it was.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Row = dict | bytes  # bytes: a line that is no JSON any more
FOREIGN = ("Toimitus lähti varastostamme maanantaina ja saapuu kotiovellesi ennen viikonloppua; jos näin ei käy, kirjoita "
           "meille uudelleen ja lähetämme sinulle uuden paketin ilman lisämaksua.")
LOOP = "and then we go back to the start "
SECRETS = {"mail": "eva.lindqvist@posteo.de", "phone": "+49 30 901820", "card": "4539 1488 0343 6467",
           "iban": "DE89 3704 0044 0532 0130 00", "key": "ghp_" + "aZ3k" * 9}


@dataclass
class Sheet:
    """The lines of a file while they are damaged. free: lines that no damage has used, drawn from for partners.

    held_out: lines of the other side of a split, one for each leak. evaluation: texts of an evaluation set.
    """

    rows: list[Row]
    rng: random.Random
    free: list[int]
    held_out: list[Row] = field(default_factory=list)
    evaluation: list[str] = field(default_factory=list)

    def partner(self, at: int) -> int:
        """A clean line whose texts are long enough to have near copies."""
        return self.free.pop(next(number for number, one in enumerate(self.free) if one != at and words(self.rows[one]) > 30))

    def vocabulary(self) -> list[str]:
        """Words to edit with."""
        return [word for one in self.free[:50] for word in question(self.rows[one]).split()]


@dataclass(frozen=True)
class Damage:
    """do: damages the row at a line; gives the lines (counted from 0) that the finding must name; `held` for held-out ones."""

    name: str
    finding: str
    do: Callable[[Sheet, int], set[int]]
    kinds: tuple[str, ...] = ("demonstrations", "comparisons")
    held: bool = False


def words(row: Row) -> int:
    return len(question(row).split()) + len(answer(row).split()) if isinstance(row, dict) else 0


def question(row: dict) -> str:
    turns = row["prompt"] if "prompt" in row else row["messages"][:-1]
    return turns[-1]["content"]


def answer(row: dict) -> str:
    return (row["chosen"] if "chosen" in row else row["messages"])[-1]["content"]


def with_question(row: dict, text: str) -> dict:
    key = "prompt" if "prompt" in row else "messages"
    turns, place = list(row[key]), -1 if key == "prompt" else -2
    turns[place] = {"role": "user", "content": text}
    return {**row, key: turns}


def with_answer(row: dict, text: str, side: str = "chosen") -> dict:
    key = side if "chosen" in row else "messages"
    return {**row, key: [*row[key][:-1], {"role": "assistant", "content": text}]}


def edited(text: str, share: float, sheet: Sheet) -> str:
    """The text with every so-manieth word replaced, evenly."""
    new, step = sheet.vocabulary(), round(1 / share)
    return " ".join(sheet.rng.choice(new) if number % step == step - 1 else word for number, word in enumerate(text.split()))


def answered(text: Callable[[dict], str] | str) -> Callable[[Sheet, int], set[int]]:
    """A damage that gives the row another answer."""

    def do(sheet: Sheet, at: int) -> set[int]:
        row = sheet.rows[at]
        sheet.rows[at] = with_answer(row, text(row) if callable(text) else text)
        return {at}

    return do


def changed(change: Callable[[dict], Row]) -> Callable[[Sheet, int], set[int]]:
    """A damage that changes the row itself."""

    def do(sheet: Sheet, at: int) -> set[int]:
        sheet.rows[at] = change(sheet.rows[at])
        return {at}

    return do


def cut_line(row: dict) -> bytes:
    return json.dumps(row).encode()[: len(json.dumps(row)) // 2]


def bad_bytes(row: dict) -> bytes:
    return json.dumps(with_answer(row, "It costs 5 EURO today"), ensure_ascii=False).encode().replace(b"EURO", b"\x80\xff")


def without(row: dict) -> dict:
    key = "chosen" if "chosen" in row else "messages"
    return {name: value for name, value in row.items() if name != key} | {"extra": 1}


def two_users(row: dict) -> dict:
    key = "prompt" if "prompt" in row else "messages"
    return {**row, key: [{"role": "user", "content": "Hello there"}, *row[key]]} if row[key][0]["role"] == "user" else {
        **row, key: [row[key][0], {"role": "user", "content": "Hello there"}, *row[key][1:]]}


def mojibake(row: dict) -> str:
    return answer(row) + " The café’s crème brûlée".encode().decode("cp1252")


def duplicate(sheet: Sheet, at: int) -> set[int]:
    partner = sheet.partner(at)
    sheet.rows[at] = json.loads(json.dumps(sheet.rows[partner]))
    return {max(at, partner)}


def near_duplicate(sheet: Sheet, at: int) -> set[int]:
    partner = sheet.partner(at)
    row = json.loads(json.dumps(sheet.rows[partner]))
    for side in ("chosen", "rejected") if "chosen" in row else ("answer",):
        text = row[side][-1]["content"] if side in row else answer(row)
        row = with_answer(row, edited(text, 0.1, sheet) if len(text.split()) > 9 else text, side)
    sheet.rows[at] = with_question(row, edited(question(row), 0.1, sheet)) if len(question(row).split()) > 9 else row
    return {max(at, partner)}


def leak(share: float) -> Callable[[Sheet, int], set[int]]:
    """The prompt of a held-out row is put before the training row's answer, word for word or edited."""

    def do(sheet: Sheet, at: int) -> set[int]:
        asked = next(number for number, row in enumerate(sheet.held_out)
                     if not row.get("used") and len(question(row).split()) > 10)
        sheet.held_out[asked]["used"] = True
        row, other = sheet.rows[at], sheet.held_out[asked]
        turns = other["prompt"] if "prompt" in other else other["messages"][:-1]
        if share:
            turns = [*turns[:-1], {"role": "user", "content": edited(question(other), share, sheet)}]
        sheet.rows[at] = {**row, "prompt": turns} if "prompt" in row else {"messages": [*turns, row["messages"][-1]]}
        return {asked}

    return do


def overlap(part: str) -> Callable[[Sheet, int], set[int]]:
    """An evaluation question stands in the row, in the prompt or within the answer."""

    def do(sheet: Sheet, at: int) -> set[int]:
        text, row = sheet.evaluation.pop(0), sheet.rows[at]
        sheet.rows[at] = with_question(row, text) if part == "prompt" else with_answer(row, f"{answer(row)} {text}")
        return {at}

    return do


def flipped(sheet: Sheet, at: int) -> set[int]:
    partner = sheet.partner(at)
    row = sheet.rows[partner]
    sheet.rows[at] = {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
    return {at, partner}


def circle(sheet: Sheet, at: int) -> set[int]:
    partners = [sheet.partner(at), sheet.partner(at)]
    row = sheet.rows[at]
    texts = [[{"role": "assistant", "content": answer(sheet.rows[one])}] for one in (at, *partners)]
    for number, line in enumerate((at, *partners)):
        sheet.rows[line] = {"prompt": row["prompt"], "chosen": texts[number], "rejected": texts[(number + 1) % 3]}
    return {at, *partners}


def same_sides(row: dict) -> dict:
    return {**row, "rejected": row["chosen"]}


def same_words(row: dict) -> dict:
    return with_answer(row, f"{answer(row).upper()} ...", "rejected")


DEMONSTRATIONS, PAIRS = ("demonstrations",), ("comparisons",)
DAMAGES = (
    Damage("a line cut in half", "unreadable", changed(cut_line)),
    Damage("bytes that are no UTF-8", "encoding", changed(bad_bytes)),
    Damage("a missing column", "unreadable", changed(without)),
    Damage("an empty answer", "empty-answers", answered("")),
    Damage("an invisible answer", "empty-answers", answered("\u200b \u200b")),
    Damage("a placeholder", "degenerate-answers", answered("<nooutput>")),
    Damage("signs alone", "degenerate-answers", answered("...")),
    Damage("the prompt as answer", "degenerate-answers", answered(question)),
    Damage("a stock refusal", "refusals", answered("I'm sorry, but as an AI language model I cannot help with that.")),
    Damage("a loop", "repetition", answered(lambda row: answer(row) + " " + LOOP * 8)),
    Damage("two turns of the user in a row", "turns", changed(two_users)),
    Damage("no answer at the end", "turns", changed(lambda row: {**row, "messages": row["messages"][:-1]}), DEMONSTRATIONS),
    Damage("a template's marks", "turns", answered(lambda row: answer(row) + "<|im_end|>\n<|im_start|>user\nAnd then?")),
    Damage("the next turn in the answer", "turns", answered(lambda row: answer(row) + "\n\nHuman: And then?")),
    Damage("UTF-8 read as Windows-1252", "encoding", answered(mojibake)),
    Damage("replacement characters", "encoding", answered(lambda row: answer(row) + " caf\ufffd")),
    Damage("a control character", "encoding", answered(lambda row: "\x0c" + answer(row))),
    Damage("an exact copy", "duplicates", duplicate),
    Damage("a copy with one word in ten changed", "near-duplicates", near_duplicate),
    *(Damage(f"personal data: {kind}", "personal-data", answered(lambda row, text=text: f"{answer(row)} Ask {text} for it."))
      for kind, text in SECRETS.items()),
    Damage("another language", "languages", answered(FOREIGN)),
    Damage("a toxic answer", "toxic", answered(lambda row: f"{answer(row)} Now go to hell, you motherfucker.")),
    Damage("a held-out prompt", "leakage", leak(0), held=True),
    Damage("a held-out prompt, one word in ten changed", "near-leakage", leak(0.1), held=True),
    Damage("an evaluation question as prompt", "overlap", overlap("prompt")),
    Damage("an evaluation question in the answer", "overlap", overlap("answer")),
    Damage("two equal sides", "identical-pairs", changed(same_sides), PAIRS),
    Damage("sides that differ in case", "identical-pairs", changed(same_words), PAIRS),
    Damage("a pair the other way round", "contradictions", flipped, PAIRS),
    Damage("preferences in a circle", "cycles", circle, PAIRS),
)


def write(path: Path, rows: list[Row], pad: int = 0) -> Path:
    """One row a line; `pad` characters of an unread column make the file as long as wanted."""
    with open(path, "wb") as file:
        for row in rows:
            extra = {"pad": "x" * pad} if pad else {}
            line = row if isinstance(row, bytes) else json.dumps({**row, **extra}, ensure_ascii=False).encode()
            file.write(line + b"\n")
    return path


def of_kind(kind: str) -> list[Damage]:
    """The damages that rows of a kind can have."""
    return [damage for damage in DAMAGES if kind in damage.kinds]
