"""Pages that stand by themselves: one file, no script, nothing loaded, every text escaped, a policy to enforce it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

HERE = Path(__file__).parent


def render(template: str, **values: Any) -> str:
    """A page from one of the templates beside this file. Its style is allowed by hash, everything else is refused."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style = (HERE / "page_style.jinja").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    values = {"warnings": [], **values}
    return environment.get_template(template).render(style=Markup(style), style_hash=Markup(digest), **values)


def table(rows: list[tuple], header: tuple = (), title: str = "") -> dict:
    """A table as the templates take it; cells become text."""
    return {"title": title, "header": list(header), "rows": [[cell_text(cell) for cell in row] for row in rows]}


def cell_text(value: Any) -> str:
    """A value for people: numbers short, lists joined, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell_text, value)) or "-"
    return str(value)
