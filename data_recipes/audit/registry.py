"""The table of checks. Order of registration is the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from data_recipes.audit.model import Context, Finding, NotDone, Row

Function = Callable[[Sequence[Row], Context], "Finding | Iterable[Finding]"]
Needs = Callable[[Sequence[Row], Context], str]


@dataclass(frozen=True)
class Check:
    """One check.

    name: what `--fail-on` and `--only` call it. why: why its finding matters. mend: what mends it, a step of a recipe where
    there is one. needs: says what is missing, or "".
    """

    name: str
    title: str
    section: str
    why: str
    mend: str
    function: Function
    needs: Needs
    also: tuple[str, ...] = ()

    def run(self, rows: Sequence[Row], context: Context) -> list[Finding | NotDone]:
        """The check's findings, with what the table knows of them filled in; or why it was not done."""
        if missing := self.needs(rows, context):
            return [NotDone(name, self.title, missing) for name in (self.name, *self.also)]
        found = self.function(rows, context)
        return [self._completed(one) for one in ([found] if isinstance(found, Finding) else found)]

    def _completed(self, found: Finding) -> Finding:
        return replace(found, section=self.section, why=found.why or self.why, mend=found.mend or self.mend)


CHECKS: dict[str, Check] = {}


def check(name: str, title: str, section: str, *, why: str, mend: str, needs: Needs = lambda rows, context: "",
          also: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Registers a check. `also`: further names under which it gives findings."""

    def register(function: Function) -> Function:
        if name in CHECKS:
            raise ValueError(f"there are two checks {name!r}")
        CHECKS[name] = Check(name, title, section, why, mend, function, needs, also)
        return function

    return register


def any_rows(rows: Sequence[Row], context: Context) -> str:
    """For checks that look at rows."""
    return "" if rows else "rows that can be read"
