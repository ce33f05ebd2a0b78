"""What rewards an answer, by name: a reward run, a folder, a hub id or `module:function`. Light: nothing here imports torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_recipes.errors import Refused
from data_recipes.files import sha256_file

from alignment.runs import check_base, check_parent, relative_to_run
from alignment.runs.identity import identity
from alignment.sources import Source, base_of, resolve


@dataclass(frozen=True)
class RewardSource:
    """One reward. rule: the function, or None for a model; source: where the model lies, or None for a rule."""

    text: str
    rule: Any = None
    source: Source | None = None

    def identity(self) -> dict:
        """What decides whether the same command may continue: a model's content, a rule's code."""
        if self.source is not None:
            return identity(self.source)
        return code_identity("rule", self.text, self.rule.function)

    def parent(self, role: str, output: Path) -> list[dict]:
        """The entry of a reward run among the parents in a child's manifest; a rule or a folder has none."""
        entry = check_parent(self.source, stages=("reward",)) if self.source is not None else None
        return [{**entry, "role": role, "path": relative_to_run(entry["path"], output)}] if entry else []


def code_identity(kind: str, name: str, function: Callable) -> dict:
    """What a function of the user's is: its name, the hash of its file and of the files that it says it `reads`."""
    function = inspect.unwrap(function)
    file = inspect.getsourcefile(function)
    reads = {str(path): sha256_file(path) for path in getattr(function, "reads", ())}
    code = {"kind": kind, "name": name, "code": sha256_file(Path(file)) if file else None}
    return {**code, "reads": reads} if reads else code


def named(text: str, *, flag: str = "--reward", base: str | None = None) -> RewardSource:
    """The reward that `text` names.

    A rule is imported and a reward run's files and base are compared at once: what is wrong must not show hours later.

    Raises:
        Refused: nothing of that name, no rule, a run that is no reward run, or one that was altered.
    """
    from reward.scorers import is_rule, load_rule

    if is_rule(text):
        return RewardSource(text, rule=load_rule(text))
    source = resolve(text)
    if source.kind == "run" and source.manifest["stage"] != "reward":
        raise Refused(
            "this run is no reward model",
            where=f"{flag} {text}",
            expected="a reward run, a folder with a trained score head, or module:function",
        )
    if source.kind == "run":
        check_parent(source, stages=("reward",))
    check_base(source, base_of(source, base=base))
    return RewardSource(text, source=source)
