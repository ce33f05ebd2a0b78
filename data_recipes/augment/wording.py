"""The wordings of a recipe's questions: texts with `{{name}}` places, one hash for all, and a file that changes some."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from data_recipes.errors import Refused
from data_recipes.files import sha256_json
from data_recipes.strict_yaml import read_file

PLACE = re.compile(r"\{\{(\w+)\}\}")
HASH_LENGTH = 16


@dataclass(frozen=True)
class Wordings:
    """Texts by name."""

    texts: dict[str, str]

    @property
    def hash(self) -> str:
        """Of all texts together; it stands in each row that they led to."""
        return sha256_json(self.texts)[:HASH_LENGTH]

    def fill(self, name: str, **values: str) -> str:
        """A text with its places filled; what is filled in is not looked at again, so a row may hold `{{name}}`."""
        return PLACE.sub(lambda place: values[place.group(1)], self.texts[name])

    def changed(self, path: Path | str) -> Wordings:
        """These wordings with those of a YAML file in their place.

        Raises:
            Refused: a name that this recipe does not have, no text, or other places than the recipe fills.
        """
        given, lines = read_file(path)
        for name, text in given.items():
            where = f"{path}:{lines[(name,)]}"
            if name not in self.texts:
                close = get_close_matches(name, self.texts, n=1)
                raise Refused(f"this recipe has no wording '{name}'", where=where,
                              expected=f"{close[0]}?" if close else f"one of {', '.join(self.texts)}")
            if not isinstance(text, str) or not text.strip():
                raise Refused(f"the wording '{name}' is no text", where=where)
            if places(text) != places(self.texts[name]):
                raise Refused(f"the wording '{name}' has the places {_said(text)}", where=where,
                              expected=f"exactly {_said(self.texts[name])}")
        return Wordings({**self.texts, **given})


def places(text: str) -> set[str]:
    """Names of a text's places."""
    return set(PLACE.findall(text))


def _said(text: str) -> str:
    return ", ".join(f"{{{{{name}}}}}" for name in sorted(places(text))) or "none"
