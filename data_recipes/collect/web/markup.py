"""Model output as safe HTML: Markdown with tables and code, and nothing that acts, loads or hides.

Whatever a model, a prompt or a person wrote is hostile here. Three layers, each enough for the cases it was made for:
markdown-it-py with HTML off (raw tags become text), nh3 with a short list of tags and one attribute, and the page's
content-security policy. Links and images become text with their address shown: a fetched image would tell a third
party who is looking, and a link's label may lie about where it leads.
"""

from __future__ import annotations

import json
import unicodedata
from functools import lru_cache
from typing import Any

# Reorder the text around them (overrides, embeddings, isolates), or cannot be seen at all (zero-width space, word
# joiner, byte-order mark, soft hyphen). Left-to-right marks and the joiners U+200C and U+200D stay as they are: Arabic,
# Hebrew, Indic scripts and emoji are written with them, and they only touch their neighbours.
HIDDEN = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x00AD, 0x180E, 0x200B, *range(0x2060, 0x2065), 0xFEFF, 0x3164}
TAGS = {
    "p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "span",
    "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
# What is longer than so many characters, or has so many brackets, is shown as it stands: the search for the ends of links
# takes quadratic time, and one hostile answer must not hold up everybody.
LONGEST = 100_000
BRACKETS = 2_000
KEPT_RENDERINGS = 512


@lru_cache(maxsize=KEPT_RENDERINGS)
def render(text: str) -> str:
    """Markdown as HTML that may stand in a page as it is.

    Args:
        text: what a model or a person wrote.
    """
    import nh3

    shown = visible(text)
    is_plain = len(shown) > LONGEST or shown.count("[") > BRACKETS
    html = f"<pre>{nh3.clean_text(shown)}</pre>" if is_plain else _parser().render(shown)
    return nh3.clean(html, tags=TAGS, attributes=_ATTRIBUTES, allowed_classes=_CLASSES, url_schemes=set(), link_rel=None)


_ATTRIBUTES: dict[str, set[str]] = {"ol": {"start"}, "pre": {"tabindex"}, "table": {"tabindex"}}
_CLASSES = {"span": {"address", "link"}}


def visible(text: str) -> str:
    """The text with every character that hides or reorders written out, such as ⟨U+202E⟩; new lines and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"⟨U+{ord(char):04X}⟩" if is_hidden(char) else char for char in text.replace("\r\n", "\n"))


def without_hidden(text: str) -> str:
    """The text without those characters: what a person starts from who edits an answer."""
    return "".join(char for char in text.replace("\r\n", "\n") if not is_hidden(char))


def is_hidden(char: str) -> bool:
    """Whether a character reorders what stands around it, or is there without being seen."""
    code = ord(char)
    is_control = unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t"
    return is_control or code in HIDDEN or 0xE0000 <= code <= 0xE007F


def message_text(message: dict[str, Any]) -> str:
    """A message as Markdown: its text, and tool calls as JSON, since an annotator judges those too."""
    content = message.get("content")
    parts = [content] if isinstance(content, str) else []
    for call in message.get("tool_calls") or ():
        function = call.get("function", call)
        called = json.dumps(function.get("arguments"), indent=2, ensure_ascii=False)
        parts.append(f"Calls `{function.get('name')}`:\n\n" + _fence(called, "json"))
    return "\n\n".join(part for part in parts if part)


def _fence(code: str, language: str) -> str:
    """A fenced block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in _runs(code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def _runs(code: str) -> list[str]:
    return "".join(char if char == "`" else " " for char in code).split()


@lru_cache(maxsize=1)
def _parser():
    """markdown-it with tables (the CommonMark preset has none), HTML off; links and images as text."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("js-default", {"html": False, "linkify": False, "typographer": False})
    parser.add_render_rule("image", _image)
    parser.add_render_rule("link_open", _link_open)
    parser.add_render_rule("link_close", _link_close)
    # A block that scrolls sideways must be reachable by keyboard (WCAG 2.1.1).
    parser.add_render_rule("table_open", lambda *_: '<table tabindex="0">')
    parser.add_render_rule("fence", _code)
    parser.add_render_rule("code_block", _code)
    parser.core.ruler.push("lower_headings", _lower_headings)
    return parser


def _image(_self, tokens, index, _options, _env) -> str:
    token = tokens[index]
    return f'<span class="link">[image: {_escaped(token.content)}]</span>{_address(token.attrGet("src"))}'


def _link_open(_self, tokens, index, _options, env) -> str:
    shows_itself = tokens[index].markup == "autolink"
    env.setdefault("addresses", []).append(None if shows_itself else tokens[index].attrGet("href"))
    return '<span class="link">'


def _link_close(_self, _tokens, _index, _options, env) -> str:
    address = env["addresses"].pop()
    return "</span>" if address is None else f"</span>{_address(address)}"


def _lower_headings(state) -> None:
    """An answer's headings stand below the page's own two levels, without gaps between those that it uses."""
    headings = [token for token in state.tokens if token.type in ("heading_open", "heading_close")]
    used = sorted({token.tag for token in headings})
    for token in headings:
        token.tag = f"h{min(used.index(token.tag) + 3, 6)}"


def _code(_self, tokens, index, _options, _env) -> str:
    """A block of code below what stands after its fence, usually a language: an annotator sees all that was written."""
    said = tokens[index].info.strip()
    head = f'<span class="address">{_escaped(said)}</span>\n' if said else ""
    return f'<pre tabindex="0">{head}<code>{_escaped(tokens[index].content)}</code></pre>\n'


def _address(address: Any) -> str:
    return f' <span class="address">({_escaped(str(address or ""))})</span>'


def _escaped(text: str) -> str:
    from html import escape

    return escape(text, quote=True)
