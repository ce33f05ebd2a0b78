"""Labels of words: how a text is cut into words, and spans written as B-, I- and O (IOB2).

IOB2 (Ratnaparkhi 1998; Tjong Kim Sang and Veenstra 1999): the first word of each span is B-TYPE, the further ones I-TYPE, all
else O. Strict here: an I- that follows no word of its own type is a fault, since readers disagree about what it means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from data_recipes.records import BadRow

OUTSIDE = "O"
# Scripts that write no blanks between words: a character is a word, as BERT's own tokenizers have it.
_UNSPACED = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORDS = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+|[^\w\s]|_")


class Span(NamedTuple):
    """A span with its type. start, stop: of words or of characters, the stop one past the last."""

    label: str
    start: int
    stop: int


def words_of(text: str) -> list[tuple[int, int]]:
    """Where each word of a text lies: runs of letters and digits, and every other mark by itself."""
    return [match.span() for match in WORDS.finditer(text)]


def places_in(words: Sequence[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Words joined by blanks, and where each of them lies in that text."""
    places, at = [], 0
    for word in words:
        places.append((at, at + len(word)))
        at += len(word) + 1
    return " ".join(words), tuple(places)


def is_bio(tags: Iterable[str]) -> bool:
    """Whether tags are of spans; otherwise each is a label by itself, as parts of speech are."""
    return any(str(tag).startswith(("B-", "I-")) for tag in tags)


def check_bio(tags: Sequence[str]) -> None:
    """Raises BadRow: wrong-tags, where a tag is not O, B-TYPE or I-TYPE, or an I- continues nothing."""
    before = OUTSIDE
    for number, tag in enumerate(tags, 1):
        mark, _, label = tag.partition("-")
        if tag != OUTSIDE and (mark not in ("B", "I") or not label):
            raise BadRow("wrong-tags", f"the tag of word {number} is {tag!r}, not O, B-TYPE or I-TYPE")
        if mark == "I" and label and before not in (f"B-{label}", f"I-{label}"):
            raise BadRow("wrong-tags", f"{tag} of word {number} continues no span of its type; IOB2 begins each with B-{label}")
        before = tag


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The spans of checked tags, in words. An I- that continues nothing, as a model may give it, begins no span."""
    found: list[Span] = []
    for at, tag in enumerate(tags):
        mark, _, label = tag.partition("-")
        if mark == "B":
            found.append(Span(label, at, at + 1))
        elif mark == "I" and found and found[-1].stop == at and found[-1].label == label:
            found[-1] = found[-1]._replace(stop=at + 1)
    return found


def tags_of(spans: Iterable[Span], places: Sequence[tuple[int, int]]) -> list[str]:
    """Spans of characters as the tags of words.

    Raises:
        BadRow: wrong-span, where one lies outside of the text, ends inside of a word, or overlaps another.
    """
    begins = {start: at for at, (start, _) in enumerate(places)}
    ends = {stop: at for at, (_, stop) in enumerate(places)}
    tags = [OUTSIDE] * len(places)
    for span in spans:
        if span.start not in begins or span.stop not in ends or begins[span.start] > ends[span.stop]:
            raise BadRow("wrong-span", f"{span.label} from {span.start} to {span.stop} does not begin and end with a word")
        first, last = begins[span.start], ends[span.stop]
        if any(tag != OUTSIDE for tag in tags[first : last + 1]):
            raise BadRow("wrong-span", f"{span.label} from {span.start} to {span.stop} overlaps another span")
        tags[first : last + 1] = [f"B-{span.label}", *[f"I-{span.label}"] * (last - first)]
    return tags
