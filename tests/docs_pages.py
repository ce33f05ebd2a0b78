"""README.md and docs/*.md as data: blocks, command lines, links, keys. Read by test_docs.py.

Fenced blocks speak by the words after the fence:
    sh              lines that begin with `align ` (or `make `) must be valid; `sh run`: they are run, too
    yaml STAGE      a config file of that stage; yaml style: a style guide
    json KIND NAME  a row of that format
    text tree       a tree of this repository
    text            beginning with `$ align ... --help`: that command's help, word for word
    python          compiles, and its imports from our packages resolve
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]+)?\)")
ENDS = {"|", "||", "&", "&&", ";", ">", ">>", "2>", "<"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the words after its fence, its text."""

    page: Path
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}: {self.text.strip().splitlines()[0][:60] if self.text.strip() else 'empty'}"


def blocks(*words: str) -> list[Block]:
    """All blocks whose fence begins with these words."""
    found = [
        Block(page, tuple(words_.split()), text) for page in PAGES for words_, text in FENCE.findall(prose_of(page))
    ]
    return [block for block in found if block.words[: len(words)] == words]


def prose_of(page: Path) -> str:
    """A page's text."""
    return page.read_text(encoding="utf-8")


def commands(block: Block) -> list[list[str]]:
    """The arguments of each `align` command of a block, from `align ...` and `accelerate launch ... -m alignment ...`."""
    return [found for line in shell_lines(block) for found in _commands_of(line)]


def shell_lines(block: Block) -> list[str]:
    """The lines of a shell block, those that end in a backslash joined with the next."""
    return [line.strip() for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]


def _commands_of(line: str) -> list[list[str]]:
    if "_ALIGN_COMPLETE" in line:
        return []
    parts, found = [[]], []
    for word in shlex.split(line, comments=True):
        if word in ENDS:
            parts.append([] if word.startswith("|") or word in {"&", "&&", ";"} else ["(file)"])
        else:
            parts[-1].append(word)
    for part in parts:
        if part[:1] == ["align"]:
            found.append(part[1:])
        elif part[:2] == ["accelerate", "launch"]:
            found.append(part[part.index("alignment") + 1 :])
    return found


def links(page: Path) -> list[tuple[str, str]]:
    """Relative links of a page, each a path (empty: the page itself) and an anchor (or empty)."""
    return [(path, anchor) for path, anchor in LINK.findall(FENCE.sub("", prose_of(page)))]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, by GitHub's rule."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", prose_of(page)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def tables(page: Path) -> list[list[str]]:
    """All rows of all tables of a page, as cells; headers and rules are among them."""
    lines = [line for line in prose_of(page).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def named_keys(page: Path, sections: set[str]) -> set[str]:
    """Dotted config keys that stand in backticks, alone or before a value."""
    inside = re.findall(r"`([^`\n]+)`", FENCE.sub("", prose_of(page)))
    keys = {match.group() for text in inside for match in re.finditer(r"(?<![\w./-])([a-z]+)\.([a-z_]+)(?![\w./(])", text)}
    return {key for key in keys if key.split(".")[0] in sections and key != "model.safetensors"}


def tree(block: Block) -> list[str]:
    """The paths of a tree, four spaces a level, what follows two spaces being a remark."""
    paths: list[str] = []
    above: list[str] = []
    for line in filter(str.strip, block.text.splitlines()):
        depth = (len(line) - len(line.lstrip())) // 4
        for name in re.split(r" {2,}", line.strip())[0].split():
            paths.append("/".join([*above[:depth], name.rstrip("/")]))
        above = [*above[:depth], name.rstrip("/")]
    return paths
