"""Folding an adapter into its base: the weights' part of `align merge`.

Three comparisons on probe rows: the merged model in memory against base plus adapter, the one read back from disk
against that, and, where the adapter was trained on a quantised base, the distance to that model (which merging cannot
keep: the adapter is folded into the base at its target precision).
"""

from __future__ import annotations

import gc
import importlib.util
from pathlib import Path
from typing import Any

from alignment import libraries  # noqa: F401  (first: the heavy ones load faster by it)

import torch
from peft import PeftModel
from peft.utils import ModulesToSaveWrapper
from torch import Tensor

from data_recipes.errors import Failed, Refused

from alignment.labelling.heads import KEPT, kept_in_config
from alignment.models import Loaded, compare, distance, load_config, load_run, outputs
from alignment.runs import trained_in
from alignment.sources import Source, base_of
from alignment.tasks import Task

# Folding rounds each weight once more than base plus adapter does; relative to the largest output, over all layers.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
QUESTIONS = ("Where is my order?", "Explain in one sentence why the sky is blue.", "Write three words.\nThen stop.")


def fold_and_write(source: Source, folder: Path, request: Any, ui: Any) -> dict:
    """Loads, folds, compares, writes to `folder`, reads back, compares again; returns what was measured.

    Raises:
        Failed: one of the comparisons is beyond its tolerance.
    """
    how = {**request.how, "base": request.base, "dtype": target_dtype(source, request)}
    loaded = load(source, how)
    dtype = weights_dtype(loaded.model)
    rows = probe_rows(loaded)
    expected = outputs(loaded.model, rows)
    with loaded.model.disable_adapter():
        effect = distance(expected, outputs(loaded.model, rows))
    merged = fold(loaded.model)
    seen = outputs(merged, rows)
    merging = compare(expected, seen, tolerance=TOLERANCE[dtype], what="the merged model against base plus adapter")
    warn_where_rounding_eats(merging, effect, dtype, ui)
    save(merged, loaded, folder)
    task, device = loaded.task, loaded.device
    del loaded, merged
    gc.collect()
    back = read_back(folder, task, dtype, rows, device, request.how)
    found = compare(seen, back, tolerance=TOLERANCE[dtype], what="the merged model read back from disk")
    quantised = to_quantised(source, request, rows, back, ui)
    return {
        "head": task.has_head,
        "task": task.entry(),
        "dtype": str(dtype).removeprefix("torch."),
        "compared": {
            "rows": len(rows),
            "tolerance": TOLERANCE[dtype],
            "merged": merging,
            "read_back": found,
            "adapter_effect": effect,
            "to_quantised": quantised,
        },
    }


def load(source: Source, how: dict) -> Loaded:
    """Base plus adapter as what it is, never quantised: four bits would round the adapter away."""
    return load_run(source, **{**how, "quantisation": "none"})


def target_dtype(source: Source, request: Any) -> str:
    """The dtype asked for; `auto` is the one that the base's config names, else float32."""
    if request.dtype != "auto":
        return request.dtype
    config = load_config(
        base_of(source, base=request.base), trust_remote_code=request.how.get("trust_remote_code", False)
    )
    named = str(getattr(config, "dtype", None)).removeprefix("torch.")
    return named if named in {"float32", "bfloat16", "float16"} else "float32"


def weights_dtype(model: torch.nn.Module) -> torch.dtype:
    """The dtype of the base's weights: adapters and heads may be kept finer."""
    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return inner.get_input_embeddings().weight.dtype


def probe_rows(loaded: Loaded) -> list[list[int]]:
    """Six rows: three questions in the run's own template (a classifier's as plain text) and three of random tokens, cut to
    the model's context."""
    if loaded.task.has_labels:
        rows = [loaded.tokenizer(text)["input_ids"] for text in QUESTIONS]
    else:
        renderer = loaded.renderer()
        rows = [renderer.prompt([{"role": "user", "content": text}]) for text in QUESTIONS]
    draw = torch.Generator().manual_seed(0)
    special = set(loaded.tokenizer.all_special_ids)
    words = torch.tensor([token for token in range(len(loaded.tokenizer)) if token not in special])
    rows += [words[torch.randint(len(words), (length,), generator=draw)].tolist() for length in (3, 17, 64)]
    context = getattr(loaded.model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    return [row[-context:] if context else row for row in rows]


def fold(model: torch.nn.Module) -> torch.nn.Module:
    """The plain model with the adapter's change added to its weights.

    Raises:
        Refused: an adapter kind that PEFT cannot fold.
    """
    if not hasattr(getattr(model, "base_model", None), "merge_and_unload"):
        raise Refused(
            "PEFT cannot fold an adapter of this kind", where="adapter.kind", expected="LoRA, rsLoRA, DoRA or the like"
        )
    unwrap_heads(model)
    return model.merge_and_unload(safe_merge=True).eval()  # safe: a NaN raises instead of being written


def unwrap_heads(model: torch.nn.Module) -> None:
    """Puts heads that were trained whole in their place: PEFT's IA3 hands on the `weight` of what it unwraps, which BERT's
    pooler and RoBERTa's head, each of several layers, have not."""
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            model.set_submodule(name, module.modules_to_save[module.active_adapter])


def warn_where_rounding_eats(merging: float, effect: float, dtype: torch.dtype, ui: Any) -> None:
    """Says so where rounding at this dtype is not small beside what the adapter does at all."""
    if merging > effect / 2 and effect > 0:
        ui.warn(
            f"the adapter moves the outputs by {effect:.1e}, and folding it at {dtype} changes them by {merging:.1e}: "
            "much of what it learnt is lost to rounding. Take --dtype float32 to keep it."
        )


def save(merged: torch.nn.Module, loaded: Loaded, folder: Path) -> None:
    """Model in safetensors, tokenizer and the template that the run was trained with.

    Raises:
        Failed: a weight is not finite.
    """
    for name, parameter in merged.named_parameters():
        if not torch.isfinite(parameter).all():
            raise Failed(f"the merged weight '{name}' is not finite")
    if found := (loaded.source.manifest or {}).get("classify"):
        setattr(merged.config, KEPT, kept_in_config(found))
    merged.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def read_back(folder: Path, task: Task, dtype: torch.dtype, rows: list[list[int]], device, how: dict) -> Tensor:
    """Outputs of the folder as plain transformers loads it. Raises Failed where a weight is missing."""
    model, report = task.auto_class().from_pretrained(
        folder, dtype=dtype, output_loading_info=True, trust_remote_code=how.get("trust_remote_code", False)
    )
    if report["missing_keys"]:
        raise Failed(
            f"{len(report['missing_keys'])} weights were not written, first '{sorted(report['missing_keys'])[0]}'"
        )
    return outputs(model.to(device).eval(), rows)


def to_quantised(source: Source, request: Any, rows: list[list[int]], merged: Tensor, ui: Any) -> float | None:
    """How far the merged model is from the quantised one on which the adapter was trained; None where there was none.

    It is reported, not judged: the adapter has also learnt to mend what quantising broke, and the full base is whole.
    """
    kind = trained_in(source)
    if kind == "none":
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        ui.warn(
            f"the adapter was trained on a {kind} base; the distance to that model was not measured, since "
            "bitsandbytes is not installed here"
        )
        return None
    quantised = load_run(source, **{**request.how, "base": request.base, "quantisation": kind})
    found = distance(outputs(quantised.model, rows), merged)
    ui.say(f"distance of the merged model to the {kind} model it was trained as: {found:.1e} (relative, reported only)")
    return found
