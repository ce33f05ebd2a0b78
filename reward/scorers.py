"""What gives a completion a number: a rule of the user's, or a reward model, called as TRL's reward functions are.

    scorer(prompts, completions, **columns) -> list[float]

`prompts` and `completions` are lists of message lists, as TRL gives them for conversational rows; `columns` are the
row's other columns, each a list of the same length. A rule may take texts out of completions with `rules.text_of`.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from data_recipes.errors import Failed, Refused

Messages = list[dict]


class Scorer(Protocol):
    """One number for each completion; higher is better."""

    def __call__(self, prompts: list[Messages], completions: list[Messages], **columns: list) -> list[float]: ...


def is_rule(text: str) -> bool:
    """Whether a --reward names `module:function` (with or without settings) and not a run, a folder or a hub id."""
    module, colon, function = text.partition(":")
    names = module.split(".")
    return (
        bool(colon) and module != "hub" and all(name.isidentifier() for name in names) and function[:1].isidentifier()
    )


def load_rule(text: str) -> Rule:
    """A rule by its name: `my_rules:polite`, or with settings `reward.rules:length_band(low=5, high=60)`.

    The current directory is importable. Settings are plain Python values.

    Raises:
        Refused: what cannot be imported, is not there, is no function, or has settings that do not fit; one paragraph.
    """
    module_name, _, rest = text.partition(":")
    name, settings = _settings(text, rest)
    module = imported(module_name, f"--reward {text}")
    found = getattr(module, name, None)
    if not callable(found):
        offered = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise Refused(
            f"the module '{module_name}' has no function '{name}'",
            where=f"--reward {text}",
            expected=f"one of {', '.join(sorted(offered)) or 'its functions'}",
        )
    needs_settings = getattr(found, "makes_rule", False)
    if settings is None and needs_settings:
        raise Refused(
            f"'{name}' makes a rule from settings",
            where=f"--reward {text}",
            expected=f"{module_name}:{name}{inspect.signature(found)}",
            do="Write its settings in the brackets",
        )
    return Rule(text, found if settings is None else _make(found, settings, text))


@dataclass(frozen=True)
class Rule:
    """A rule with its name; what it returns is checked each time, and the row is named where something is wrong."""

    name: str
    function: Callable[..., list[float]]

    def __call__(self, prompts: list[Messages], completions: list[Messages], **columns: list) -> list[float]:
        """Raises Failed where the rule raises, or returns None, NaN, no number, or a list of another length."""
        try:
            values = self._called(prompts, completions, columns)
        except Refused:
            raise
        except Exception as error:
            row, cause = self._raising_row(prompts, completions, columns, error)
            raise Failed(
                f"the rule raised {type(cause).__name__}: {cause}",
                where=f"--reward {self.name}, {row}",
                do="Mend the rule; --debug shows where it raised",
            ) from cause
        return checked(values, completions, name=f"--reward {self.name}", rows=columns.get("where"))

    def _called(self, prompts, completions, columns: dict):
        """What the function gives; one that is `async`, as TRL takes them too, is awaited."""
        values = self.function(prompts=prompts, completions=completions, **columns)
        if not inspect.iscoroutine(values):
            return values
        import asyncio  # slow to load, and seldom needed

        return asyncio.run(values)

    def _raising_row(self, prompts, completions, columns: dict, error: Exception) -> tuple[str, Exception]:
        """Which row alone makes the rule raise, and how; rules take batches, so the batch's error does not say."""
        for index in range(len(completions)):
            one = {key: [column[index]] for key, column in columns.items()}
            try:
                self._called([prompts[index]], [completions[index]], one)
            except Exception as alone:
                return row_name(index, completions[index], columns.get("where")), alone
        return "on the whole batch, on no row alone", error


def row_name(index: int, completion: Any, rows: list[str] | None) -> str:
    """How an error names one answer: by its row in the data where that is known, and how it begins."""
    return f"{rows[index] if rows else f'row {index + 1}'} ({shortened(completion)})"


def checked(values: Any, completions: list, *, name: str, rows: list[str] | None = None) -> list[float]:
    """The scores as floats.

    rows: where each answer's prompt stands in the data, for errors.

    Raises:
        Failed: not one finite number for each completion; the row is named.
    """
    if values is None or isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
        raise Failed(
            f"the scorer returned {type(values).__name__}", where=name, expected="a list with a number a completion"
        )
    if len(values) != len(completions):
        raise Failed(
            f"the scorer returned {len(values)} scores for {len(completions)} completions",
            where=name,
            expected="one number a completion",
        )
    named = [row_name(index, completion, rows) for index, completion in enumerate(completions)]
    return [_number(value, row, name) for value, row in zip(values, named, strict=True)]


def _number(value: Any, row: str, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Failed(
            f"the score is {value!r}",
            where=f"{name}, {row}",
            expected="a finite number",
        )
    return number


def shortened(completion: Any, length: int = 60) -> str:
    """The beginning of a completion, for an error message."""
    text = completion if isinstance(completion, str) else " ".join(str(turn.get("content")) for turn in completion)
    return repr(text if len(text) <= length else text[: length - 3] + "...")


def _settings(text: str, rest: str) -> tuple[str, dict | None]:
    """Name and settings out of `name` or `name(key=value, ...)`; settings are None where there are no brackets."""
    try:
        tree = ast.parse(rest, mode="eval").body
        if isinstance(tree, ast.Name):
            return tree.id, None
        if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
            return tree.func.id, {keyword.arg: ast.literal_eval(keyword.value) for keyword in tree.keywords}
    except (SyntaxError, ValueError, TypeError) as error:
        raise _unreadable(text) from error
    raise _unreadable(text)


def _unreadable(text: str) -> Refused:
    return Refused(
        "this names no rule",
        where=f"--reward {text}",
        expected="module:function or module:function(key=value, ...) with plain values",
    )


def _make(factory: Callable, settings: dict, text: str) -> Callable:
    try:
        return factory(**settings)
    except TypeError as error:
        raise Refused(
            f"the settings do not fit ({error})",
            where=f"--reward {text}",
            expected=f"{factory.__name__}{inspect.signature(factory)}",
        ) from error


def imported(name: str, where: str) -> Any:
    """A module of the user's by its name; the current directory is importable. Raises Refused, `where` names the setting."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)  # last: a file random.py of the user must not shadow the library
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module of the user's may raise anything while it is imported
        missing = isinstance(error, ModuleNotFoundError) and error.name and name.startswith(error.name)
        what = (
            f"there is no module '{name}'" if missing else f"importing '{name}' raised {type(error).__name__}: {error}"
        )
        raise Refused(what, where=where, expected=f"a module in {here} or an installed one") from error
