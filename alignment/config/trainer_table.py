"""Writes the names of TRL's and PEFT's arguments into two tables: `python -m alignment.config.trainer_table`.

To be run when the range of TRL or PEFT moves; the tables are what lets a wrong `trainer:` key or a wrong entry of
`adapter.options` be refused before those libraries are imported.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import types
import typing
from typing import Any

from alignment.config.trainer import KINDS, TABLE


def table() -> dict[str, Any]:
    """The table as TRL's installed classes state it; imports TRL."""
    import transformers
    import trl

    classes = {"sft": trl.SFTConfig, "reward": trl.RewardConfig, "dpo": trl.DPOConfig, "ppo": trl.GRPOConfig,
               "classify": transformers.TrainingArguments}
    return {"trl": trl.__version__, "stages": {stage: _read(kind) for stage, kind in classes.items()}}


def _read(kind: type) -> dict[str, dict[str, Any]]:
    hints = typing.get_type_hints(kind)
    return {field.name: _field(hints[field.name], field) for field in dataclasses.fields(kind) if field.init}


def _field(hint: Any, field: dataclasses.Field) -> dict[str, Any]:
    kinds, choices = _kinds(hint)
    choices = field.metadata.get("choices") or choices
    return {"types": kinds, **({"choices": list(choices)} if choices else {})}


def _kinds(hint: Any) -> tuple[list[str], list[str]]:
    """The JSON kinds of a type hint, and the values of its enum if it has one."""
    union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    parts = typing.get_args(hint) if union else [hint]
    kinds: list[str] = []
    choices: list[str] = []
    for part in parts:
        origin = typing.get_origin(part) or part
        if isinstance(origin, type) and issubclass(origin, enum.Enum):
            choices += [str(member.value) for member in origin]
            origin = str
        name = "bool" if origin is typing.Literal else "null" if origin is type(None) else origin.__name__
        if name in KINDS and name not in kinds:
            kinds.append(name)
    return kinds, choices


def text() -> str:
    """The table's file: one argument a line, so that a change of TRL reads well in a diff."""
    made = table()
    stages = []
    for stage, fields in made["stages"].items():
        lines = [f"  {json.dumps(name)}: {json.dumps(field)}" for name, field in fields.items()]
        stages.append(f" {json.dumps(stage)}: {{\n" + ",\n".join(lines) + "\n }")
    return f'{{"trl": {json.dumps(made["trl"])},\n"stages": {{\n' + ",\n".join(stages) + "\n}}\n"


def adapter_text() -> str:
    """The file of PEFT's kinds and their arguments, one kind a line; imports PEFT."""
    import peft
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    from alignment.adapters import bottleneck  # noqa: F401  (a kind of our own, registered with PEFT)

    kinds = {kind.value: [field.name for field in dataclasses.fields(made) if field.init]
             for kind, made in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    lines = [f" {json.dumps(kind)}: {json.dumps(names)}" for kind, names in sorted(kinds.items())]
    return f'{{"peft": {json.dumps(peft.__version__)},\n"kinds": {{\n' + ",\n".join(lines) + "\n}}\n"


if __name__ == "__main__":
    from alignment.adapters import TABLE as ADAPTERS
    from data_recipes.files import write_text

    write_text(TABLE, text())
    write_text(ADAPTERS, adapter_text())
