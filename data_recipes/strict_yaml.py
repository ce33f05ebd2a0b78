"""YAML read strictly, with the line of every key.

Read by YAML 1.2's core rules instead of 1.1's: only `true` and `false` are switches, `1e-5` is a number, `no`, `off`,
`12:30` and dates stay text. Repeated keys, several documents, tags and keys that are not text are refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from data_recipes.errors import Refused

INTEGER = re.compile(r"[-+]?\d+")
FLOAT = re.compile(r"[-+]?(\d+\.\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?|\d+[eE][-+]?\d+)")
WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}

# What PyYAML takes a node for by its looks; a node of another tag was given it by hand.
_RESOLVER = yaml.SafeLoader("")

Lines = dict[tuple, int]


def read_file(path: Path | str) -> tuple[dict[str, Any], Lines]:
    """Reads a YAML file whose top level is a mapping.

    Returns:
        The mapping, and the line (from 1) of each key path.

    Raises:
        Refused: it cannot be read, is no YAML, or no mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"the config file cannot be read: {error}", where=str(path)) from None
    value, lines = parse(text, str(path))
    if value is None:
        return {}, {}
    if not isinstance(value, dict):
        raise Refused("a config file is a mapping of sections", where=f"{path}:1", expected="lines such as `training:`")
    return value, lines


def parse(text: str, where: str) -> tuple[Any, Lines]:
    """Parses one YAML document. `where` is the file's name for errors. Raises Refused with the line of the fault."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise Refused(f"not valid YAML: {getattr(error, 'problem', error)}", where=f"{where}{line}") from None
    if node is None:
        return None, {}
    reader = _Reader(where)
    return reader.value(node, ()), reader.lines


def is_cut(text: str) -> bool:
    """Whether YAML would take less than all of a plain text: it leaves out what follows ` #`, and folds lines into one."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return False
    if node is None:
        return bool(text.strip())
    if not isinstance(node, yaml.ScalarNode) or node.style is not None:
        return False
    taken = text[node.start_mark.index : node.end_mark.index]
    return taken != text.strip() or "\n" in taken


class _Reader:
    """Turns YAML nodes into plain values, keeping each key's line."""

    def __init__(self, where: str) -> None:
        self.where, self.lines, self.open = where, {}, []

    def place(self, node: yaml.Node) -> str:
        return f"{self.where}:{node.start_mark.line + 1}"

    def value(self, node: yaml.Node, path: tuple) -> Any:
        """The plain value of a node; `path` is the keys that lead to it."""
        if node.tag != _natural_tag(node):
            raise Refused(f"tags such as {node.tag} are not read", where=self.place(node))
        if isinstance(node, yaml.ScalarNode):
            # A quoted or block scalar is text whatever it looks like.
            return plain(node.value) if node.style is None else self.joined(node)
        if any(node is outer for outer in self.open):
            raise Refused("this alias contains itself", where=self.place(node))
        self.open.append(node)
        inside = self.mapping(node, path) if isinstance(node, yaml.MappingNode) else self.sequence(node, path)
        self.open.pop()
        return inside

    def joined(self, node: yaml.ScalarNode) -> str:
        """A quoted text with whole characters: JSON writes those beyond U+FFFF as two halves, which PyYAML leaves apart."""
        try:
            return node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise Refused("a text holds half a character (a lone surrogate)", where=self.place(node)) from None

    def sequence(self, node: yaml.SequenceNode, path: tuple) -> list:
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def mapping(self, node: yaml.MappingNode, path: tuple) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise Refused("a key has to be a word", where=self.place(key_node))
            if key in made:
                first = self.lines[*path, key]
                raise Refused(f"the key {key} stands twice (first in line {first})", where=self.place(key_node),
                              do="Keep one of the two")
            self.lines[*path, key] = key_node.start_mark.line + 1
            made[key] = self.value(value_node, (*path, key))
        return made


def _natural_tag(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return _RESOLVER.resolve(yaml.ScalarNode, node.value, (node.style is None, node.style is not None))
    return _RESOLVER.resolve(type(node), None, True)


def plain(text: str) -> Any:
    """The value of an unquoted scalar."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text
