"""How a run's rows are rendered: the options that it inherits, those that fit its kind of model, and the parent's template."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from data_recipes.errors import Refused
from data_recipes.records import BadRow
from data_recipes.turns import tools_of

from alignment.config.sections import SftData
from alignment.data import Rendered
from alignment.runs import differences
from alignment.sources import Source

LIMITS = ("max_length", "max_target_length")
# keys that only one kind of model can honour, with why
ENCODER_DECODER_ONLY = {
    "prefix": "a decoder-only model is told what to do by its chat: put the words into the rows or data.system",
    "max_target_length": "a decoder-only model reads prompt and answer as one row: data.max_length is the limit of both",
}
DECODER_ONLY = {
    "tools": "an encoder-decoder model's text has no place for a list of tools",
    "thinking": "an encoder-decoder model's answer is written without reasoning in front",
}


def renderer_options(source: Source, config: Any) -> dict:
    """The parent's rendering options, overruled by what the config says; nobody types them twice."""
    inherited = ((source.manifest or {}).get("template") or {}).get("options") or {}
    data, own = config.data, ("system", "thinking", "train_on", "prefix")
    given = {name: getattr(data, name, None) for name in own if config.given(f"data.{name}")}
    if data.tools:
        given["tools"] = read_tools(data.tools)
    elif config.given("data.tools"):
        given["tools"] = None
    limits = {name: getattr(data, name) for name in LIMITS if hasattr(data, name)}
    return {**inherited, **given, **limits}


def within_context(options: dict, base: Any, warn: Callable[[str], None], *, taken: int = 0) -> dict:
    """The options with rows no longer than the model has positions, and a warning where more was asked for.

    Behind the last of learned positions a model such as GPT-2 ends with an index error in the midst of training. Rotary ones
    have no end, and a config may scale them: such rows stay, and `beyond_context` looks at those that there are.

    Args:
        base: the base's transformers config. taken: positions in front of each row that a prompt or a prefix takes.
    """
    context = _positions(base) - taken
    names = LIMITS if base.is_encoder_decoder else LIMITS[:1]
    beyond = [name for name in names if (options.get(name) or 0) > context]
    if not beyond or _rotary(base):
        return options
    asked = " and ".join(f"data.{name} {options[name]:,}" for name in beyond)
    warn(f"{asked}: the model has {context:,} positions, and longer rows are cut there (longer pairs refused)")
    return {**options, **dict.fromkeys(beyond, context)}


def beyond_context(base: Any, parts: Iterable[Rendered], *, taken: int = 0) -> str:
    """What is to be said where rows are longer than the rotary positions that the model was trained with; else empty.

    Args:
        base, taken: as in `within_context`. parts: the rows that are kept.
    """
    context = _positions(base) - taken
    # the two sides of an encoder-decoder share no positions, and its rows' `length` is of both
    columns = ("input_ids", "labels") if base.is_encoder_decoder else ("length",)
    values = [value for part in parts for name in columns for value in part.columns.get(name, ())]
    lengths = [value if isinstance(value, int) else len(value) for value in values]
    if not _rotary(base) or not (many := sum(length > context for length in lengths)):
        return ""
    return (f"rows longer than the {context:,} positions that the model was made for: {many:,} of {len(lengths):,}, the "
            f"longest of {max(lengths):,} tokens; --max-length {context} cuts them there (longer pairs are refused)")


def _positions(base: Any) -> float:
    return getattr(base.get_text_config(decoder=True), "max_position_embeddings", None) or math.inf


def _rotary(base: Any) -> bool:
    return bool(getattr(base.get_text_config(decoder=True), "rope_parameters", None))


def read_tools(path: str | Path) -> list | None:
    """The function schemas of a JSON file, in the form that rows' own have. Raises Refused where it holds anything else."""
    file = Path(path).expanduser()
    try:
        return tools_of(file.read_text(encoding="utf-8-sig"))
    except (BadRow, UnicodeDecodeError) as error:
        raise Refused(
            f"the tools cannot be used ({error})",
            where=file,
            expected='a JSON list of functions, such as [{"type": "function", "function": {"name": ...}}]',
        ) from error


def check_keys(config: Any, *, encoder_decoder: bool) -> None:
    """Raises Refused for a key of the `data` section that this kind of model would not honour."""
    for name, why in (DECODER_ONLY if encoder_decoder else ENCODER_DECODER_ONLY).items():
        key, default = f"data.{name}", SftData.model_fields[name].default
        if getattr(config.data, name, default) == default or not config.given(key):
            continue  # a saved config.yaml names every key
        raise Refused(f"{key} does not fit this model: {why}", where=config.origin(key), do="Leave it out.")


def check_template(source: Source, preparation: Any, *, adding: bool) -> None:
    """Raises Refused where the template or the special tokens are not those the parent was trained with.

    adding: tokens are added by name here, so that the special tokens differ.
    """
    manifest = source.manifest or {}
    recorded = (manifest.get("template") or {}).get("fingerprint")
    if recorded and recorded != preparation.template_fingerprint:
        raise Refused(
            "the chat template is not the one the parent was trained with",
            where=source.text,
            expected=f"fingerprint {recorded[:12]}, found {preparation.template_fingerprint[:12]}",
        )
    special = manifest.get("special_tokens") or {}
    changed = differences(special, {**preparation.special_tokens, "added": special.get("added")})  # added there, not here
    if special and changed and not adding:
        raise Refused(
            f"the special tokens are not those of the parent: {'; '.join(changed)}",
            where=source.text,
            expected="the tokenizer that the parent was trained with",
        )
