"""How a run's rows are rendered: the options that it inherits, those that fit its kind of model, and the parent's template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from data_recipes.errors import Refused

from alignment.config.sections import SftData
from alignment.runs import differences
from alignment.sources import Source

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
        given["tools"] = json.loads(Path(data.tools).expanduser().read_text(encoding="utf-8"))
    limits = {name: getattr(data, name) for name in ("max_length", "max_target_length") if hasattr(data, name)}
    return {**inherited, **given, **limits}


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
