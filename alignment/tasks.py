"""What a model is made to do: the transformers class that holds it, PEFT's task type, and the labels of its head. Light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment.sources import Source, hub_file, read_object
from data_recipes.errors import Refused


@dataclass(frozen=True)
class Task:
    """One use of a model.

    name: causal, seq2seq, score (one number for a conversation), labels (of a text) or tokens (a label for each token).
    peft: PEFT's task type. maker: name of the transformers class that picks the architecture.
    labels: names of the labels in the order of their ids. problem: transformers' `problem_type` of a labels task.
    """

    name: str
    peft: str
    maker: str
    labels: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def has_head(self) -> bool:
        """Whether the model has a head of its own in place of the vocabulary's."""
        return self.name in {"score", "labels", "tokens"}

    @property
    def has_labels(self) -> bool:
        """Whether it is a classifier, of texts or of tokens."""
        return self.name in {"labels", "tokens"}

    def auto_class(self) -> Any:
        """The transformers class; imports transformers."""
        import transformers

        return getattr(transformers, self.maker)

    def settings(self) -> dict[str, Any]:
        """What the model's config is told of the head: sizes and names."""
        if self.name == "score":
            return {"num_labels": 1}
        if not self.labels:
            return {}
        named = {"id2label": dict(enumerate(self.labels)), "label2id": {name: i for i, name in enumerate(self.labels)}}
        return {"num_labels": len(self.labels), **named, **({"problem_type": self.problem} if self.problem else {})}

    def entry(self) -> dict[str, Any]:
        """What a run's manifest says of it; `from_entry` reads it."""
        return {"name": self.name, "labels": list(self.labels), "problem": self.problem}


CAUSAL = Task("causal", "CAUSAL_LM", "AutoModelForCausalLM")
SEQ2SEQ = Task("seq2seq", "SEQ_2_SEQ_LM", "AutoModelForSeq2SeqLM")
SCORE = Task("score", "SEQ_CLS", "AutoModelForSequenceClassification")
LANGUAGE = (CAUSAL.name, SEQ2SEQ.name)
DECODER_ONLY = ("reward", "dpo", "ppo")  # stages whose TRL trainers know no encoder
WORDS = {
    "causal": "a language model",
    "seq2seq": "an encoder-decoder language model",
    "score": "a reward model with a score head",
    "labels": "a classifier",
    "tokens": "a classifier of tokens",
}


def labels(names: tuple[str, ...], problem: str) -> Task:
    """A classifier of texts. problem: single_label_classification, multi_label_classification or regression."""
    return Task("labels", "SEQ_CLS", "AutoModelForSequenceClassification", tuple(names), problem)


def tokens(names: tuple[str, ...]) -> Task:
    """A classifier of tokens."""
    return Task("tokens", "TOKEN_CLS", "AutoModelForTokenClassification", tuple(names))


def from_entry(entry: Mapping[str, Any]) -> Task:
    """The task that a manifest's `task` names."""
    if entry["name"] == "labels":
        return labels(tuple(entry["labels"]), entry["problem"])
    if entry["name"] == "tokens":
        return tokens(tuple(entry["labels"]))
    return {task.name: task for task in (CAUSAL, SEQ2SEQ, SCORE)}[entry["name"]]


def of_peft(task_type: str | None) -> Task:
    """The task of an adapter from elsewhere, by PEFT's task type; how many labels it has, its config does not say."""
    found = {task.peft: task for task in (CAUSAL, SEQ2SEQ, SCORE)}
    return tokens(()) if task_type == "TOKEN_CLS" else found.get(task_type or "", CAUSAL)


def of_config(config: Any) -> Task:
    """The task of a transformers folder, by the class that its config names and by its labels."""
    named = " ".join(getattr(config, "architectures", None) or [])
    names = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    if "TokenClassification" in named:
        return tokens(names)
    if "SequenceClassification" in named:
        problem = getattr(config, "problem_type", None)
        return SCORE if len(names) == 1 and problem is None else labels(names, problem or "single_label_classification")
    return language(config)


def language(config: Any) -> Task:
    """The kind of language model that an architecture is."""
    return SEQ2SEQ if getattr(config, "is_encoder_decoder", False) else CAUSAL


def check_direction(config: Any, where: str) -> None:
    """Raises Refused for an encoder such as RoBERTa: transformers loads it as a causal model that sees each word before it
    is predicted, and says so in a log line at most. Imports transformers."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        raise Refused(
            f"this is an encoder ({config.model_type}): it sees the words that it would have to predict",
            where=where,
            expected="a decoder-only or an encoder-decoder model",
            do="Encoders are tuned by align classify.",
        )


def encoder_decoder(source: Source) -> bool:
    """Whether a source is an encoder-decoder language model, by its files alone; a classifier of that shape is none."""
    if entry := (source.manifest or {}).get("task"):
        return entry["name"] == SEQ2SEQ.name
    if source.is_adapter:
        return source.adapter_config().get("task_type") == SEQ2SEQ.peft
    file = hub_file(source, "config.json") if source.kind == "hub" else source.path / "config.json"
    config = read_object(Path(file)) if file else {}
    return bool(config.get("is_encoder_decoder")) and "Classification" not in " ".join(config.get("architectures") or [])


def check_stage(stage: str, source: Source) -> None:
    """Raises Refused for an encoder-decoder model in a stage that trains decoder-only ones."""
    if stage in DECODER_ONLY and encoder_decoder(source):
        raise Refused(
            f"this is an encoder-decoder model, and align {stage} trains decoder-only ones",
            where=source.text,
            expected="a decoder-only model or run (Llama, Qwen, GPT-2 and their like)",
            do="align sft tunes this model further, and align eval --references measures it; for preferences and rewards begin "
            "from a decoder-only model.",
        )
