"""The kinds of values a config key can take. Strict: nothing is guessed but what YAML writers commonly mean.

YAML 1.1 readers take `1e-5` for text and `no` for false; ours (`strict_yaml`) does neither. What still arrives as text,
from a Python caller or a quoted figure, is coerced here by what the key wants, and only then.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def number(value: Any) -> Any:
    """Text that writes a number becomes it; anything else is left for the type check to refuse."""
    return float(value) if isinstance(value, str) and NUMBER.fullmatch(value) else value


def whole(value: Any) -> Any:
    """`1e3` and `1000.0` are whole numbers too; a bool is not."""
    value = number(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def texts(value: Any) -> Any:
    """Whole numbers in a list of texts are meant as they are written: `labels: [0, 1]`."""
    return [str(item) if type(item) is int else item for item in value] if isinstance(value, list) else value


def switch(value: Any) -> Any:
    """`on`, `yes`, `true` and their opposites."""
    return SWITCHES.get(value.lower(), value) if isinstance(value, str) else value


def several(value: Any) -> Any:
    """One word where a list is wanted is a list of one."""
    return [value] if isinstance(value, str | int | float) and not isinstance(value, bool) else value


# Written last in an Annotated: limits that stand before it are checked after it, and appear in the JSON Schema.
AsNumber = BeforeValidator(number)
AsWhole = BeforeValidator(whole)
Several = BeforeValidator(several)
AsTexts = BeforeValidator(texts)
Switch = Annotated[bool, BeforeValidator(switch)]


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, and nobody changes a setting after it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
