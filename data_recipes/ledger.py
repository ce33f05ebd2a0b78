"""The account of every row: read = kept + rejected, always, with the place and the reason of each that was rejected.

A row may give several records, several rows may give one, and a row may hold nothing of the kind asked for without a
fault (a tie where pairs are wanted): so rows and records are counted apart.
    records: read = kept + rejected
    rows:    rows = used (gave a record or more) + refused (gave none, for a fault) + passed over (gave none, without one)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_recipes import files
from data_recipes.errors import Refused

ROWS = ("used", "refused", "passed")
NAMED = 5  # rejected rows named in the message; all of them are in the list


@dataclass
class Ledger:
    """Sources, counts and rejected rows of one reading.

    sources: for each, {"path", "sha256", "format", "why", "rows", "records"}. rejected: counts by reason.
    rejected_rows: {"where", "reason", "detail", "row"} each. max_rejected: the share that may be rejected, 0 to 1.
    passed: what was passed over, counts by reason. rows: raw rows as {"used", "refused", "passed"}, as they were read.
    """

    max_rejected: float = 0.0
    kept: int = 0
    sources: list[dict] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)
    rejected_rows: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROWS, 0))

    @property
    def read(self) -> int:
        """All records that were read, and rows that could not be read as any."""
        return self.kept + self.refused

    @property
    def refused(self) -> int:
        """Records rejected for any reason."""
        return sum(self.rejected.values())

    def reject(self, where: str, reason: str, detail: str, row: Any = None) -> None:
        """Enters a row that was not kept. For one that was kept before, take it from `kept` first (or use `drop`)."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        self.rejected_rows.append({"where": where, "reason": reason, "detail": detail, "row": row})

    def drop(self, where: str, reason: str, detail: str, row: Any = None) -> None:
        """Rejects a row after all that was kept when it was read, as rendering does."""
        self.kept -= 1
        self.reject(where, reason, detail, row)

    def pass_over(self, reason: str) -> None:
        """Counts what is no record of the kind asked for, and no fault."""
        self.passed[reason] = self.passed.get(reason, 0) + 1

    def count_rows(self, rows: int, kept: int, refused: int) -> None:
        """Enters raw rows that made one unit together, by what came of them."""
        self.rows["used" if kept else "refused" if refused else "passed"] += rows

    def totals(self) -> dict:
        """Counts, sources and notes as JSON; no row's text is in it."""
        return {"read": self.read, "kept": self.kept, "rejected": dict(sorted(self.rejected.items())),
                "passed": dict(sorted(self.passed.items())), "rows": {"read": sum(self.rows.values()), **self.rows},
                "sources": [dict(source) for source in self.sources], "notes": list(self.notes)}

    def check(self, max_rejected: float | None = None, write_to: Path | str | None = None) -> None:
        """Stops where more rows are bad than may be, or none is left.

        Args:
            max_rejected: the share of the rows read that may be rejected; by default the one given on reading.
            write_to: a .jsonl file, or a folder for `rejected.jsonl`: all rejected rows are listed there first.

        Raises:
            Refused: naming the first rows, the counts by reason, and the setting that lets a share pass.
        """
        allowed = self.max_rejected if max_rejected is None else max_rejected
        if self.kept and self.refused <= allowed * self.read:
            return
        if self.refused and write_to is not None:
            write_to = Path(write_to)
            write_to = write_to if write_to.suffix == ".jsonl" else write_to / "rejected.jsonl"
            write_rejected(write_to, [self])
        raise self._too_many(allowed, write_to)

    def _too_many(self, allowed: float, listed: Path | None) -> Refused:
        if not self.read:
            paths = ", ".join(str(source["path"]) for source in self.sources)
            if self.passed:
                found = ", ".join(f"{count} {reason}" for reason, count in sorted(self.passed.items()))
                return Refused(f"the rows hold nothing of the kind asked for ({found})", where=paths, expected="one or more")
            return Refused("there are no rows", where=paths, expected="one row or more")
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(self.rejected.items()))
        named = "; ".join(f"{row['where']} {row['reason']} ({row['detail']})" for row in self.rejected_rows[:NAMED])
        more = f"; and {self.refused - NAMED} more" if self.refused > NAMED else ""
        what = f"{self.refused} of {self.read} rows cannot be used ({counts}): {named}{more}"
        return Refused(what, where=self.rejected_rows[0]["where"], expected=_expected(allowed, self.kept),
                       do=self._advice(listed))

    def _advice(self, listed: Path | None) -> str:
        where = f"All of them are listed in {listed}. " if listed else ""
        if not self.kept:
            unclear = self.rejected.keys() & {"missing-field", "wrong-format"}
            way = ", or say how to read them with --set data.format=NAME" if unclear else ""
            return f"{where}Mend the rows{way}."
        if self.rejected.keys() <= {"too-long", "nothing-to-train-on"}:
            where += "Raise --max-length (data.max_length) if the model's context allows. "
        share = math.ceil(self.refused / self.read * 1000) / 1000
        return f"{where}Mend the rows, or let such a share pass with --max-rejected {share:g}."


def write_rejected(path: Path | str, ledgers: Iterable[Ledger]) -> None:
    """Lists the rejected rows of several ledgers in one file, one JSON object a line, atomically."""
    lines = [
        json.dumps(row, ensure_ascii=False, default=str) + "\n" for ledger in ledgers for row in ledger.rejected_rows
    ]
    # what is no character (a lone surrogate) becomes the escape \udXXX, which is how JSON writes it anyway
    files.write_bytes(path, "".join(lines).encode("utf-8", "backslashreplace"))


def _expected(allowed: float, kept: int) -> str:
    if not kept:
        return "at least one row that can be used"
    return f"at most {allowed:.3%} bad rows" if allowed else "no bad row"
