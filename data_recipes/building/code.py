"""Which code a step is: a hash over its module and all modules of ours that it imports, without comments.

So nobody has to raise a version number, and a changed comment makes no stage anew. The versions of foreign packages that
these modules import are part of it.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from data_recipes import files

OURS = "data_recipes"


@cache
def code_hash(module: str, *beside: str) -> str:
    """The hash of a module of ours with all that it imports of ours, wherever in it the import stands.

    Args:
        beside: modules that count by their own code alone, such as the one that calls the step.
    """
    found: dict[str, str] = {}
    foreign: set[str] = set()
    _collect(module, found, foreign)
    callers = {name: _read(name)[0] for name in beside}
    return files.sha256_json({"modules": found, "packages": versions(foreign), "callers": callers})


def versions(packages: set[str]) -> dict[str, str]:
    """The installed versions of the distributions that these top-level packages come from."""
    known = _distributions()
    names = sorted({name for package in packages for name in known.get(package, ())})
    return {name: metadata.version(name) for name in names}


def _collect(module: str, found: dict[str, str], foreign: set[str]) -> None:
    if module in found or (read := _read(module)) is None:
        return
    found[module], imports = read
    for name in imports:
        top = name.partition(".")[0]
        if top == OURS:
            _collect(name, found, foreign)
        elif top not in sys.stdlib_module_names:
            foreign.add(top)


@cache
def _read(module: str) -> tuple[str, list[str]] | None:
    """A module's own hash and its imports; None for what is a function or a class in one."""
    source = _source_of(module)
    if source is None:
        return None
    tree = ast.parse(source.read_text(encoding="utf-8"))
    imports = _imports(tree, module if source.name == "__init__.py" else module.rpartition(".")[0])
    return files.sha256_text(ast.dump(_without_docstrings(tree))), imports


@cache
def _distributions() -> dict[str, list[str]]:
    return metadata.packages_distributions()


def _imports(tree: ast.AST, package: str) -> list[str]:
    """Every module that is imported, and what is imported from it, since that may be a module too."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [item.name for item in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or package
            names += [base, *(f"{base}.{item.name}" for item in node.names)]
    return names


def _source_of(module: str) -> Path | None:
    """The file of a module of ours; None for what is a function or a class in one."""
    parent = module.rpartition(".")[0]
    if parent and (outer := find_spec(parent)) and outer.submodule_search_locations is None:
        return None
    spec = find_spec(module)
    return Path(spec.origin) if spec and spec.origin else None


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            node.body = body[1:]
    return tree
