"""Texts with a label a word: lists of words and tags, or a text with spans."""

from __future__ import annotations

from typing import Any

from data_recipes import tagging
from data_recipes.formats.base import Fields, told
from data_recipes.records import BadRow, Tagged, check_text, wrong_type

WORDS, TAGS = ("tokens", "words"), ("tags", "ner_tags", "labels")
ENTITY = "an object with start, end and label"


def _named(row: dict, names: tuple[str, ...]) -> str:
    return next((name for name in names if name in row), names[0])


def _tokens(fields: Fields) -> Tagged:
    words, tags = (_listed(fields, _named(fields.row, names)) for names in (WORDS, TAGS))
    text, places = tagging.places_in(words) if all(isinstance(word, str) for word in words) else ("", ())
    return Tagged(tuple(words), tuple(tags), text, places, fields.where, fields.rest())


def _listed(fields: Fields, name: str) -> list:
    value = fields.value(name)
    if not isinstance(value, list):
        raise wrong_type(name, "a list", value)
    return value


def _spans(fields: Fields) -> Tagged:
    text = check_text("text", fields.value("text"))
    spans = [_entity(item, len(text)) for item in _listed(fields, "entities")]
    places = tagging.words_of(text)
    tags = tagging.tags_of(spans, places)
    words = tuple(text[start:stop] for start, stop in places)
    return Tagged(words, tuple(tags), text, tuple(places), fields.where, fields.rest())


def _entity(item: Any, length: int) -> tagging.Span:
    if not isinstance(item, dict):
        raise wrong_type("each of the entities", ENTITY, item)
    label, start, stop = (item.get(key) for key in ("label", "start", "end"))
    if type(label) is not str or not label.strip() or type(start) is not int or type(stop) is not int:
        raise BadRow("wrong-span", f"an entity must be {ENTITY}; it has {', '.join(map(str, item))[:60] or 'nothing'}")
    if not 0 <= start < stop <= length:
        raise BadRow("wrong-span", f"{label} from {start} to {stop} lies outside of the text of {length} characters")
    return tagging.Span(label, start, stop)


TAGGED = (
    told("tokens", "lists of words (tokens) and tags", "tokens tags",
         lambda row: any(name in row for name in WORDS) and any(name in row for name in TAGS), _tokens),
    told("spans", "a text and entities with start, end and label", "text entities",
         lambda row: {"text", "entities"} <= row.keys(), _spans),
)
