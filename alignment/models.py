"""Models from a hub id, a folder or a run: base, adapter, head and tokenizer together, and the proof after saving."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from alignment import libraries  # noqa: F401  (first: the heavy ones load faster by it)

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer

from data_recipes import seq2seq
from data_recipes.errors import Failed, Refused
from data_recipes.render import Preparation, prepare_tokenizer
from data_recipes.templates import prepare_plain, without_defaults

from alignment import dropout, tasks
from alignment.adapters import added_tokens
from alignment.adapters.weights import head_modules, head_name, load_adapter_file, put_adapter, unreadable
from alignment.hardware.plan import best_device, inference_dtype, torch_dtype
from alignment.runs import check_base
from alignment.sources import Source, base_of, hub_file, hub_refusal, resolve
from alignment.tasks import CAUSAL, LANGUAGE, SCORE, SEQ2SEQ, WORDS, Task

# How far a model read back may be from the one in memory: its own arithmetic's noise, by dtype.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 5e-3}
DECODED = 8  # tokens of a probe row that an encoder-decoder's decoder reads


@dataclass
class Loading:
    """How a model is loaded; the `model` section in plain arguments."""

    dtype: str = "auto"
    quantisation: str = "none"
    attention: str = "auto"
    device: str = "auto"
    trust_remote_code: bool = False
    base: str | None = None
    dropout: float | None = None


@dataclass
class Loaded:
    """A model in evaluation mode on its device, with the tokenizer and the template it was trained with."""

    model: torch.nn.Module
    tokenizer: object
    source: Source
    base: Source
    preparation: Preparation
    options: dict = field(default_factory=dict)
    task: Task = CAUSAL

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def stop_ids(self) -> list[int]:
        return list(self.preparation.stop_ids)

    def renderer(self, **overrides) -> seq2seq.AnyRenderer:
        """The renderer with the run's own options (system prompt, tools, thinking), some of them overruled."""
        return seq2seq.make_renderer(self.tokenizer, self.preparation, self.options, **overrides)


def quiet_libraries() -> None:
    """Silences progress bars and notices of the libraries' own: what matters is said by the suite, once."""
    import warnings

    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    for module in ("transformers", "trl", "peft"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=module)
    # of the Trainer's checkpoints: with added tokens they hold the embeddings too, and offline PEFT cannot look a base up
    for said in (r"Setting `save_embedding_layers`", r"Could not find a config file in"):
        warnings.filterwarnings("ignore", message=said, category=UserWarning)


def load_tokenizer(
    source: Source, *, trust_remote_code: bool = False, add_tokens: tuple[str, ...] = (), task: Task | None = None
):
    """The tokenizer with its template and pad token prepared; returns (tokenizer, Preparation).

    A classifier's needs no chat template: one that has none gets none. task: None where it is the source's own.
    """
    holder = source if _has_tokenizer(source) else base_of(source)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            holder.name, trust_remote_code=trust_remote_code, **holder.fetching
        )
    except (OSError, ValueError) as error:
        raise _load_refusal(holder, error) from error
    if source.kind == "run" and isinstance(tokenizer.chat_template, str):
        # a run's own system prompt is in its options too, where a child can say otherwise
        tokenizer.chat_template = without_defaults(tokenizer.chat_template)
    task = task or task_of(source, trust_remote_code=trust_remote_code)
    if task == SEQ2SEQ:
        return tokenizer, seq2seq.prepare(tokenizer, add_tokens=add_tokens)
    prepare = prepare_plain if task.has_labels and not tokenizer.chat_template else prepare_tokenizer
    return tokenizer, prepare(tokenizer, add_tokens=add_tokens)


def _has_tokenizer(source: Source) -> bool:
    if source.kind == "hub":
        return hub_file(source, "tokenizer_config.json") is not None
    return any(source.path.glob("tokenizer*.json"))


def load_config(base: Source, *, trust_remote_code: bool = False):
    """The base's transformers config: enough for plans and counts, without weights."""
    try:
        return AutoConfig.from_pretrained(base.name, trust_remote_code=trust_remote_code, **base.fetching)
    except (OSError, ValueError) as error:
        raise _load_refusal(base, error) from error


def load_base(base: Source, how: Loading, *, task: Task = CAUSAL, whole: bool = False) -> torch.nn.Module:
    """The base weights as the model that the task needs. A head that the folder has not is new: zero for scores, otherwise
    drawn as its architecture does it, from torch's generator.

    Raises:
        Refused: weights of the trunk are missing; with `whole`, those of a head too.
    """
    quiet_libraries()
    own, extra = model_dropout(base, how), task.settings()
    if how.attention != "auto":
        extra["attn_implementation"] = how.attention
    if how.quantisation != "none":
        extra["quantization_config"] = _quantisation(how.quantisation, whole_modules(base, how, task))
    try:
        model, report = task.auto_class().from_pretrained(
            base.name,
            dtype=torch_dtype(how.dtype),
            use_safetensors=True,
            trust_remote_code=how.trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # for a head of other labels; `_check_loading` refuses all else, by name
            **base.fetching,
            **extra,
            **dict.fromkeys(own, how.dropout),
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise _load_refusal(base, error) from error
    dropout.restore(model.config, own)
    new = _check_loading(report, base, head_modules(model) if task.has_head and not whole else [])
    if task == SCORE and new:
        torch.nn.init.zeros_(model.get_submodule(head_name(model)).weight)
    return model if how.quantisation != "none" else model.to(best_device(how.device))


def model_dropout(base: Source, how: Loading) -> dict[str, float]:
    """The dropout fields of the base's config that `how.dropout` overrules while its modules are built, with their values."""
    if how.dropout is None:
        return {}
    return dropout.fields_to_set(load_config(base, trust_remote_code=how.trust_remote_code))


def _check_loading(report: dict, base: Source, heads: list[str]) -> list[str]:
    """The weights that are new. One that is missing would be random, silently: only those of a new head may be.

    Raises:
        Refused: a weight of the trunk is missing or has another shape.
    """
    absent = [*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])]
    missing = [name for name in absent if not name.startswith(tuple(f"{head}." for head in heads))]
    if missing:
        raise Refused(
            f"{len(missing)} weights are missing or have another shape than config.json says, first '{sorted(missing)[0]}'",
            where=base.name,
            expected="a whole model in safetensors, with its trained head where it has one",
        )
    return absent


def whole_modules(base: Source, how: Loading, task: Task) -> list[str] | None:
    """What stays in full precision on a quantised base, found without weights: a head, BERT's pooler with it, is trained whole.

    None: transformers' own choice, the output layer.
    """
    if not task.has_head:
        return None
    config = load_config(base, trust_remote_code=how.trust_remote_code)
    config.update(task.settings())
    with torch.device("meta"):
        return head_modules(task.auto_class().from_config(config, trust_remote_code=how.trust_remote_code))


def _quantisation(kind: str, whole: list[str] | None):
    """bitsandbytes settings: NF4 with double quantisation as in QLoRA (arXiv 2305.14314, section 3), or LLM.int8."""
    from transformers import BitsAndBytesConfig

    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=whole)
    return BitsAndBytesConfig(
        llm_int8_skip_modules=whole,
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def _load_refusal(source: Source, error: Exception) -> Refused:
    """One paragraph for a model that cannot be loaded; transformers' ValueError is about code that comes with it."""
    if isinstance(error, ValueError) and "trust_remote_code" in str(error):
        return Refused(
            f"transformers does not load this model ({str(error).splitlines()[0][:200]})",
            where=source.name,
            do="Code that comes with a model is run only where it is written out: --set model.trust_remote_code=true "
            "(--trust-remote-code in the other commands).",
        )
    if isinstance(error, SafetensorError):
        return unreadable(source.name, error)
    if source.kind == "hub":
        return hub_refusal(source, error)
    return Refused(
        f"the model cannot be loaded ({str(error).splitlines()[0][:200]})",
        where=source.name,
        expected="a transformers folder with safetensors weights and a tokenizer",
        do="A model that is kept as .bin has to be saved as safetensors first: pickled weights run code when read.",
    )


def load_policy(source: Source | str | Path, **how) -> Loaded:
    """Base and adapter as a language model in evaluation mode. Keyword arguments are those of `Loading`.

    Raises:
        Refused: the source is a reward run, its base is not there or has changed, or nothing can be loaded.
    """
    return _load(source, Loading(**how), LANGUAGE, "a policy")


def load_scorer(source: Source | str | Path, **how) -> Loaded:
    """Base, adapter and trained score head as a scoring model in evaluation mode.

    Raises:
        Refused: where the folder holds no trained score head; a random one would score noise.
    """
    return _load(source, Loading(**how), (SCORE.name,), "a reward run or a folder with a trained score head")


def load_run(source: Source | str | Path, **how) -> Loaded:
    """Loads a run by its folder as what it is: a policy, a scorer or a classifier. Raises Refused as `load_policy` does."""
    return _load(source, Loading(**how), tuple(WORDS), "a run")


def task_of(source: Source, *, trust_remote_code: bool = False) -> Task:
    """What the model of a source is made to do: by its manifest, its adapter's config, or the class its folder names."""
    entry = (source.manifest or {}).get("task")
    if entry:
        return tasks.from_entry(entry)
    if source.is_adapter:
        return tasks.of_peft(source.adapter_config().get("task_type"))
    return tasks.of_config(load_config(source, trust_remote_code=trust_remote_code))


def _load(source: Source | str | Path, how: Loading, wanted: tuple[str, ...], expected: str) -> Loaded:
    source = source if isinstance(source, Source) else resolve(source)
    task = task_of(source, trust_remote_code=how.trust_remote_code)
    if task.name not in wanted:
        raise Refused(f"this is {WORDS[task.name]}", where=source.text, expected=expected)
    base = base_of(source, base=how.base)
    check_base(source, base)
    how = replace(how, dtype=inference_dtype(how.dtype, best_device(how.device)))
    model = load_base(base, how, task=task, whole=not source.is_adapter)  # a new head would score and label by chance
    if source.is_adapter:
        model = attach_for_inference(model, source)
    tokenizer, preparation = load_tokenizer(source, trust_remote_code=how.trust_remote_code, task=task)
    set_special_ids(model, tokenizer, preparation)
    options = ((source.manifest or {}).get("template") or {}).get("options") or {}
    return Loaded(model.eval(), tokenizer, source, base, preparation, options, task)


def attach_for_inference(model: torch.nn.Module, source: Source) -> PeftModel:
    """The source's adapter on its base, frozen, with every tensor proven to have arrived."""
    folder = adapter_folder(source)
    state = load_adapter_file(folder)
    added_tokens.fit(model, PeftConfig.from_pretrained(str(folder)))
    wrapped = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    put_adapter(wrapped, state, "default")
    return wrapped


def adapter_folder(source: Source) -> Path:
    """The folder with the adapter's files, fetched from the hub where it is there."""
    if source.kind != "hub":
        return source.path
    from huggingface_hub import snapshot_download

    patterns = ["adapter_config.json", "adapter_model.safetensors"]
    return Path(snapshot_download(source.hub_id, allow_patterns=patterns, **source.fetching))


def set_special_ids(model: torch.nn.Module, tokenizer, preparation: Preparation) -> None:
    """Writes pad and stop ids where transformers looks for them: a scorer needs the pad id to find the last token."""
    config = model.config.get_text_config()
    config.pad_token_id = tokenizer.pad_token_id
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.generation_config.eos_token_id = list(preparation.stop_ids)


# ------------------------------------------------------------------------------------------------------- proof on saving


def outputs(model: torch.nn.Module, rows: list[list[int]]) -> torch.Tensor:
    """Logits (or scores) of each row alone at its last position, float32 on the CPU, shape (rows, vocabulary or 1).

    Rows go through one by one: no padding, so that a difference is the model's.
    """
    was_training = model.training
    model.eval()
    seen = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row], device=next(model.parameters()).device)
            logits = model(**_to_decode(model, ids), attention_mask=torch.ones_like(ids), use_cache=False).logits
            seen.append((logits if logits.dim() == 2 else logits[:, -1]).float().cpu())
    model.train(was_training)
    return torch.cat(seen)


def _to_decode(model: torch.nn.Module, ids_1T: torch.Tensor) -> dict[str, torch.Tensor]:
    """The row as inputs; an encoder-decoder's decoder reads the row's first tokens too, shifted by the model's own rule."""
    shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    return {"input_ids": ids_1T, **({"decoder_input_ids": shift(labels=ids_1T[:, :DECODED])} if shift else {})}


def tolerance_of(model: torch.nn.Module) -> float:
    """The read-back tolerance for the coarsest dtype among the model's weights."""
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        return TOLERANCE[torch.bfloat16]  # a quantised base computes in bf16
    return max(TOLERANCE[dtype] for dtype in {p.dtype for p in model.parameters()} if dtype in TOLERANCE)


def distance(expected: torch.Tensor, seen: torch.Tensor) -> float:
    """Largest difference of two outputs relative to their size; where that is below 1, the difference itself."""
    return (expected - seen).abs().max().item() / max(1.0, expected.abs().max().item())


def compare(expected: torch.Tensor, seen: torch.Tensor, *, tolerance: float, what: str) -> float:
    """Their `distance`. Raises Failed beyond `tolerance` or at a non-finite value."""
    found = distance(expected, seen)
    if not found <= tolerance:  # written so that a NaN fails too
        raise Failed(
            f"{what} differs by {found:.2e}",
            expected=f"at most {tolerance:.0e}",
            do="The result was not kept; please report this with the manifest.",
        )
    return found


def check_finite(model: torch.nn.Module) -> None:
    """Raises Failed where a trained weight is not finite: no file with a NaN is ever written as a result."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter).all():
            raise Failed(
                f"the weight '{name}' is not finite", do="Lower the learning rate; the last good checkpoint is kept."
            )


def save_and_prove(
    model: torch.nn.Module, tokenizer, folder: Path, probe: list[list[int]], read_back: Callable[[Path], torch.Tensor]
) -> float:
    """Saves model and tokenizer to `folder` and compares with `read_back(folder)`, the saved model's outputs on the probe rows.

    Returns the largest relative distance. Raises Failed where it is beyond the tolerance.
    """
    check_finite(model)
    if folder.exists():
        shutil.rmtree(folder)
    if isinstance(model, PeftModel):
        model.save_pretrained(folder, selected_adapters=["default"], save_embedding_layers=False)
    else:
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty form; ours is written from the manifest
    expected = outputs(model, probe)
    return compare(expected, read_back(folder), tolerance=tolerance_of(model), what="the model read back from disk")
