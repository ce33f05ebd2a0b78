"""The report as one page: no script, nothing loaded, every text escaped, a policy that enforces it; and audit.json."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from data_recipes import files
from data_recipes.audit.excerpts import visible
from data_recipes.audit.model import CLEAN, FACT, LOOK, PROBLEM, Bars, Figure, Finding
from data_recipes.audit.run import SECTIONS, Report
from data_recipes.audit.terminal import amount, headline

HERE = Path(__file__).parent
SHOWN, OPEN = 40, 4  # places of a finding on the page, and of them before they are unfolded; audit.json has all
SMALL = 0.3  # rates below it are drawn larger
WORDS = {PROBLEM: "to mend", LOOK: "to look at", FACT: "fact", CLEAN: "clean"}


def write(report: Report, folder: Path, title: str) -> list[Path]:
    """Writes audit.html and audit.json into a folder; both hold pieces of rows."""
    page, document = folder / "audit.html", folder / "audit.json"
    files.write_text(page, html(report, title))
    files.write_json(document, report.document())
    return [page, document]


def html(report: Report, title: str) -> str:
    """The page. Rows are hostile input: autoescaping, no attribute made from text, no script, no address."""
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                              lstrip_blocks=True)
    environment.filters["visible"] = visible
    style = (HERE / "audit.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    shown = [found for found in report.findings if found.level != CLEAN]
    sections = [(name, [_card(found) for found in shown if found.section == name]) for name in SECTIONS]
    return environment.get_template("audit.html.jinja").render(
        title=title, headline=headline(report), report=report, style=Markup(style), style_hash=Markup(digest),
        sections=[one for one in sections if one[1]], clean=report.of_level(CLEAN),
        counts=[(WORDS[level], level, len(report.of_level(level))) for level in (PROBLEM, LOOK, CLEAN)],
        urgent=[found for found in shown if found.level == PROBLEM], amount=amount, not_done=_not_done(report),
    )


def _card(found: Finding) -> dict[str, Any]:
    return {
        "found": found, "amount": amount(found), "word": WORDS[found.level], "places": found.places[:SHOWN],
        "more": max(0, len(found.places) - SHOWN), "open": OPEN,
        "figures": [_figure(figure, found) for figure in found.figures], "bars": [_bars(bars) for bars in found.bars],
    }


def _figure(figure: Figure, found: Finding) -> dict[str, Any]:
    """An interval as a line on a scale from 0 to 1; where all of a finding are small, to a little above the largest."""
    largest = max(one.interval.high for one in found.figures)
    small = largest < SMALL and not any(one.neutral is not None for one in found.figures)
    top = 1.1 * largest or 1.0 if small else max(1.0, largest)
    at = {name: round(100 * min(1.0, max(0.0, value / top)), 2)
          for name, value in (("low", figure.interval.low), ("high", figure.interval.high), ("value", figure.interval.value))}
    neutral = None if figure.neutral is None else round(100 * min(1.0, figure.neutral / top), 2)
    return {"label": figure.label, "text": figure.interval.text(percent=figure.percent), "n": figure.interval.n, "at": at,
            "neutral": neutral, "marked": figure.marked}


def _bars(bars: Bars) -> dict[str, Any]:
    top = max((value for _, value in bars.bars), default=1) or 1
    return {"title": bars.title, "bars": [
        {"name": name, "text": f"{value:,}" if isinstance(value, int) else f"{value:.2f}", "width": round(100 * value / top, 2)}
        for name, value in bars.bars]}


def _not_done(report: Report) -> list[tuple[str, str]]:
    by_reason: dict[str, list[str]] = {}
    for one in report.not_done:
        by_reason.setdefault(one.reason, []).append(one.name)
    return [(", ".join(names), reason) for reason, names in by_reason.items()]
