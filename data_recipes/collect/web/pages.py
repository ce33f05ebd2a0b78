"""Templates and static files: read once at the start, named by their content, so that a browser never shows an old one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from markupsafe import Markup

from data_recipes.collect.model import Progress
from data_recipes.collect.web import markup

FOLDER = Path(__file__).parent
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
TITLES = {"system": "Instructions to the assistant", "user": "User", "assistant": "Assistant", "tool": "Result of a tool"}


class Pages:
    """Renders templates. `files` holds each static file's bytes and type by name."""

    def __init__(self) -> None:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        found = sorted((FOLDER / "static").iterdir())
        self.files = {path.name: (path.read_bytes(), TYPES[path.suffix]) for path in found if path.suffix in TYPES}
        self._marks = {name: hashlib.sha256(data).hexdigest()[:12] for name, (data, _) in self.files.items()}
        self._jinja = Environment(
            loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True, auto_reload=False,
        )  # fmt: skip
        self._jinja.globals.update(
            static=self.static, shown=markup.visible, markdown=lambda text: Markup(markup.render(text)), visit=None, here=""
        )

    def static(self, name: str) -> str:
        """The address of a static file; another content has another address."""
        return f"/static/{name}?{self._marks[name]}"

    def html(self, template: str, **values: Any) -> str:
        """One page."""
        return self._jinja.get_template(f"{template}.jinja").render(**values)

    def message(self, heading: str, text: str, visit: Any = None, forward: tuple[str, str] | None = None) -> str:
        """A page of one paragraph, and where to go on, as (address, label)."""
        path, label = forward or ("", "")
        return self.html("message", heading=heading, text=text, visit=visit, forward=path, forward_label=label)


def turns_of(messages: tuple[dict, ...]) -> list[dict[str, Any]]:
    """The conversation for the page: role, title, and safe HTML of each turn."""
    return [
        {
            "role": message["role"] if message["role"] in TITLES else "other",
            "title": TITLES.get(message["role"], markup.visible(str(message["role"]))),
            "html": Markup(markup.render(markup.message_text(message))),
        }
        for message in messages
    ]


def remaining_words(progress: Progress) -> str:
    """The time estimate as a person says it; empty where there is none."""
    if not progress.seconds_left or progress.done >= progress.total:
        return ""
    minutes = progress.seconds_left / 60
    if minutes < 1.5:
        return "about a minute left"
    if minutes < 90:
        return f"about {round(minutes)} minutes left"
    return f"about {minutes / 60:.1f} hours left".replace(".0 ", " ")
