"""All checks over rows, and the report as one JSON-able document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

# The order of these imports is the order of the report: each registers its checks.
from data_recipes.audit import (  # noqa: F401
    counts, tokens, languages, duplicates, answers, encoding, personal, leakage, shortcuts, conflicts, people, domain,
    house_style, synthetic,
)
from data_recipes.audit.model import LEVELS, Context, Figure, Finding, NotDone, Row
from data_recipes.audit.registry import CHECKS

FORMAT = 1
SECTIONS = ("Rows", "Answers", "Duplicates", "Leakage", "Preference pairs", "Preference shortcuts", "Bias and tone", "Domain")


@dataclass
class Report:
    """findings: in the order of SECTIONS. not_done: checks that had nothing to work on. broken: thresholds."""

    findings: list[Finding] = field(default_factory=list)
    not_done: list[NotDone] = field(default_factory=list)
    sources: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken: list[dict] = field(default_factory=list)
    rows: int = 0
    refused: int = 0

    def of_level(self, level: str) -> list[Finding]:
        """The findings of one level."""
        return [found for found in self.findings if found.level == level]

    def document(self) -> dict[str, Any]:
        """The report as JSON. It holds pieces of rows: keep it where the rows may be."""
        return {
            "format": FORMAT, "rows": self.rows, "refused": self.refused, "sources": self.sources, "notes": self.notes,
            "levels": {level: len(self.of_level(level)) for level in LEVELS},
            "broken": self.broken, "findings": [_document(found) for found in self.findings],
            "not_done": [asdict(one) for one in self.not_done],
        }


def audit(rows: Sequence[Row], context: Context, *, only: Sequence[str] = (),
          say: Callable[[str], None] | None = None) -> Report:
    """Runs the checks, all or those named, and sorts what they found by section.

    Args:
        only: names of checks. say: is told the title of each check before it begins.
    """
    report = Report(rows=len(rows), refused=len(context.refused))
    for found in _results(rows, context, only, say):
        (report.not_done if isinstance(found, NotDone) else report.findings).append(found)
    order = {section: at for at, section in enumerate(SECTIONS)}
    report.findings.sort(key=lambda found: order[found.section])
    return report


def _results(rows: Sequence[Row], context: Context, only: Sequence[str], say) -> Iterator[Finding | NotDone]:
    for check in CHECKS.values():
        if only and not {check.name, *check.also}.intersection(only):
            continue
        if say:
            say(check.title)
        yield from check.run(rows, context)


def _document(found: Finding) -> dict[str, Any]:
    value = found.value
    return {
        "name": found.name, "title": found.title, "section": found.section, "level": found.level, "text": found.text,
        "count": found.count, "total": found.total, "unit": found.unit, "measure": value.as_dict() if value else None,
        "why": found.why, "mend": found.mend, "figures": [_figure(figure) for figure in found.figures],
        "bars": [{"title": bars.title, "bars": [list(bar) for bar in bars.bars]} for bars in found.bars],
        "places": [asdict(place) for place in found.places],
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {"label": figure.label, **figure.interval.as_dict(), "neutral": figure.neutral, "marked": figure.marked}
