"""`--fail-on leakage>0,duplicates>0.01`: what a report must not exceed."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from data_recipes.audit.model import Finding, NotDone
from data_recipes.audit.run import CHECKS
from data_recipes.errors import Refused

OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
FORM = re.compile(r"\s*([a-z][a-z_-]*)(\.count)?\s*(>=|<=|>|<)\s*(\d+(?:\.\d+)?(?:e-?\d+)?)\s*(%?)\s*", re.IGNORECASE)
EXPECTED = "name>share such as duplicates>0.01 or leakage>0, or name.count>5, with commas between"


@dataclass(frozen=True)
class Threshold:
    """name: of a finding. count: whether its count is meant, else its share or rate."""

    name: str
    sign: str
    limit: float
    count: bool = False

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.name}{'.count' if self.count else ''}{self.sign}{self.limit:g}"

    def broken_by(self, found: Finding) -> bool:
        """Whether the finding is what the threshold names. What was not measured breaks nothing."""
        value = self.value_of(found)
        return value is not None and OPERATORS[self.sign](value, self.limit)

    def value_of(self, found: Finding) -> float | None:
        """The count, or the share or rate."""
        if self.count:
            return found.count
        return found.value.value if found.value else None


def parse(texts: Sequence[str]) -> tuple[Threshold, ...]:
    """Thresholds from the command line.

    Raises:
        Refused: one of another form, or of a check that there is not, with the nearest name.
    """
    return tuple(_parse(part) for text in texts for part in text.split(",") if part.strip())


def names() -> list[str]:
    """All names that findings may have."""
    return [name for check in CHECKS.values() for name in (check.name, *check.also)]


def known(name: str, option: str) -> str:
    """The finding that is written so, in whatever case.

    Raises:
        Refused: there is none; with the nearest name, or one that has all of the name's parts.
    """
    written, there = name.lower().replace("_", "-"), names()
    if written in there:
        return written
    parts = written.split("-")
    near = get_close_matches(written, there, n=1) or [one for one in there if all(part in one for part in parts)]
    raise Refused(f"there is no check '{name}'", where=option, expected=", ".join(there),
                  do=f"Did you mean {near[0]}?" if near else "")


def check_measured(thresholds: Sequence[Threshold], only: Sequence[str]) -> None:
    """Refuses, before anything is read, a threshold on a check that `--only` leaves out."""
    groups = [{check.name, *check.also} for check in CHECKS.values()]
    run = {name for group in groups if group.intersection(only) for name in group}
    for threshold in thresholds:
        if only and threshold.name not in run:
            raise Refused(f"{threshold.text} cannot be checked: --only leaves {threshold.name} out", where="--fail-on",
                          expected=f"--only {','.join([*only, threshold.name])}")


def broken(thresholds: Sequence[Threshold], findings: Sequence[Finding], not_done: Sequence[NotDone]) -> list[dict]:
    """The thresholds that are broken, each with what was found.

    Raises:
        Refused: a threshold on a check that was not done: silence would look like a pass.
    """
    held, missing = {found.name: found for found in findings}, {one.name: one for one in not_done}
    found = []
    for threshold in thresholds:
        if threshold.name not in held:
            lacks = missing[threshold.name].reason if threshold.name in missing else "rows it can look at"
            raise Refused(f"{threshold.text} cannot be checked: {threshold.name} was not measured", where="--fail-on",
                          expected=lacks)
        if threshold.broken_by(held[threshold.name]):
            found.append({"threshold": threshold.text, "found": threshold.value_of(held[threshold.name]),
                          "count": held[threshold.name].count})
    return found


def _parse(text: str) -> Threshold:
    match = FORM.fullmatch(text)
    if not match:
        raise Refused(f"'{text.strip()}' is no threshold", where="--fail-on", expected=EXPECTED)
    name, count, sign, limit, percent = match.groups()
    return Threshold(known(name, "--fail-on"), sign, float(limit) / (100 if percent else 1), bool(count))
