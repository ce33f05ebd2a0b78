"""Hostile texts as HTML, by parsing what is made of them: no active element, no address that is fetched, nothing hidden."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest

from data_recipes.collect.model import Answer, Item
from data_recipes.collect.web import markup
from tests.data_recipes.collect import web_world as world
from tests.data_recipes.collect.hostile import PAYLOADS
from tests.data_recipes.collect.web_world import ORIGIN, fields, signed_in

ALLOWED = {"class": {"span"}, "start": {"ol"}, "tabindex": {"pre", "table"}}


class Found(HTMLParser):
    """Elements with their attributes, and text, as a browser's parser would read them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_corpus_is_large():
    assert len(set(PAYLOADS)) >= 150


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_only_plain_elements_come_out(payload):
    found = Found(markup.render(payload))
    for tag, attributes in found.elements:
        assert tag in markup.TAGS, tag
        for name, value in attributes.items():
            assert tag in ALLOWED.get(name, ()), (tag, name)
            assert name != "class" or value in ("link", "address")
    assert not any(markup.is_hidden(char) for char in found.text)


def test_what_is_good_in_markdown_stays():
    blocks = ("# A", "**b** *c* `d`", "- e\n- f", "3. g", "| h | i |\n|---|---|\n| j | k |", "```python\nl < m\n```", "> n")
    html = markup.render("\n\n".join(blocks))
    for part in ("<h3>A</h3>", "<strong>b</strong>", "<em>c</em>", "<code>d</code>", "<li>e</li>", '<ol start="3">',
                 "<th>h</th>", "<td>j</td>", "python</span>", "l &lt; m", "<blockquote>"):  # fmt: skip
        assert part in html, part


def test_links_and_images_become_text_with_their_address():
    html = markup.render("[bank](https://evil.example/x) ![cat](https://evil.example/cat.png) <https://plain.example>")
    text = Found(html).text
    assert "bank (https://evil.example/x)" in text and "[image: cat] (https://evil.example/cat.png)" in text
    assert text.count("https://plain.example") == 1 and "href" not in html and "src" not in html


def test_hidden_characters_are_shown_and_those_that_languages_need_stay():
    assert markup.visible("a\u202eb\u2066c\u200bd\ufeffe\x00f\U000e0041") == (
        "a⟨U+202E⟩b⟨U+2066⟩c⟨U+200B⟩d⟨U+FEFF⟩e⟨U+0000⟩f⟨U+E0041⟩")  # fmt: skip
    kept = "שלום\u200f عربي نیم\u200cفاصله क्\u200dष 👩\u200d🔬 tab\tline\nend"
    assert markup.visible(kept) == kept
    assert markup.without_hidden("a\u202eb\r\nc") == "ab\nc"
    assert "⟨U+202E⟩" in markup.render("```\n\u202e\n```") and "⟨U+202E⟩" in markup.render("`\u202e`")


def test_tool_calls_are_shown_and_cannot_leave_their_block():
    call = {"type": "function", "function": {"name": "look`up", "arguments": {"text": "```\n<script>x</script>"}}}
    html = markup.render(markup.message_text({"role": "assistant", "content": "", "tool_calls": [call]}))
    assert html.count("<pre") == 1 and "<script" not in html and "&lt;script" in html


def test_very_long_and_deep_texts_are_rendered_in_seconds():
    begun = time.perf_counter()
    for text in ("> " * 5000 + "x", "[" * 50_000, "*" * 50_000, "`" * 50_001, "<" * 50_000, "a " * 150_000, "| a " * 3000,
                 "- " * 3000 + "x", "![" * 20_000):  # fmt: skip
        markup.render(text)
    assert time.perf_counter() - begun < 15


# --------------------------------------------------------------------------------------------------- through the pages

PAGE_TAGS = markup.TAGS | {
    "html", "head", "meta", "title", "link", "script", "body", "a", "header", "nav", "div", "form", "input", "button", "kbd",
    "main", "section", "article", "progress", "bdi", "fieldset", "legend", "label", "dialog", "textarea", "select", "option",
}  # fmt: skip


def test_pages_with_the_whole_corpus_have_the_shape_of_pages_without(tmp_path):
    """Hostile texts as system prompt, question, both answers, tags, guidelines, reasons, comments, edits and tools."""
    shapes = []
    for name, texts in (("plain", ["plain words"] * len(PAYLOADS)), ("hostile", list(PAYLOADS))):
        with world.collection(tmp_path / f"{name}.db", [_item(texts, at) for at in range(0, len(texts) - 7, 8)], overlap=1,
                              people=("ana",), guidelines="\n\n".join(texts)) as store:  # fmt: skip
            shapes.append([_shape(page) for page in _pages(store, texts)])
    assert shapes[0] == shapes[1]


def _item(texts: list[str], at: int) -> Item:
    *turns, first, second = (text if text.strip() else "x" for text in texts[at : at + 8])
    roles = ("system", "user", "assistant", "user", "assistant", "user")
    messages = tuple({"role": role, "content": text} for role, text in zip(roles, turns, strict=True))
    return Item(messages, Answer(f"{at} {first}"), Answer(f"{at} {second}!"))


def _pages(store, texts: list[str]):
    """Every page, after comments and skips that say hostile things."""
    client, lead = signed_in(store, "ana"), signed_in(store, "lead")
    headers = {**ORIGIN, "accept": "application/json"}
    for number in range(len(texts) // 8):
        page = client.get("/work").text
        if 'id="vote"' not in page:
            break
        yield page
        said = texts[number % len(texts)].replace("\x00", "")[:400] or "x"
        for kind, more in (("comment", {"text": said}), ("skip", {"reason": said})):
            reply = client.post("/entry", data={**fields(page, kind), **more}, headers=headers)
            assert reply.status_code == 200, reply.text
    yield client.get("/guidelines").text
    yield client.get("/mine").text
    yield lead.get("/lead").text


def _shape(page: str) -> list[tuple]:
    """A page's own elements: all that no Markdown makes, with the names of their attributes."""
    found = Found(page)
    assert not {tag for tag, _ in found.elements} - PAGE_TAGS
    for tag, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc", "ping")], attributes
        for name in ("href", "src", "action", "formaction", "poster", "data"):
            assert (attributes.get(name) or "/").startswith(("/", "#")), (tag, attributes)
    return [(tag, tuple(sorted(attributes))) for tag, attributes in found.elements if tag not in markup.TAGS]
