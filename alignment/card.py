"""The model card of a run, written from its manifest: what it is, from what, on which rows, with which figures."""

from __future__ import annotations

import yaml

from alignment import adapters

TASKS = {"sft": "text-generation", "dpo": "text-generation", "ppo": "text-generation", "reward": "text-classification"}
LOADERS = {"reward": "AutoPeftModelForSequenceClassification", "sft": "AutoPeftModelForCausalLM"}


def model_card(manifest: dict) -> str:
    """Markdown with the front matter that model hubs read. No path of this machine and no text of a row is in it."""
    stage, base = manifest["stage"], manifest["base"]
    front = {
        "library_name": "peft" if manifest.get("adapter") else "transformers",
        "pipeline_tag": TASKS[stage],
        "tags": ["align", stage],
        **({"base_model": base["id"]} if base["kind"] == "hub" else {}),
    }
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# A model from `align {stage}`",
        _loading(manifest),
        "## Training",
        _table(_facts(manifest)),
        "## Figures",
        _table(manifest["metrics"].items()),
    ]
    return "\n\n".join(sections) + "\n"


def _loading(manifest: dict) -> str:
    if not manifest.get("adapter"):
        return "A whole model: any transformers loader takes this folder."
    loader = LOADERS.get(manifest["stage"], LOADERS["sft"])
    labels = ", num_labels=1" if manifest["stage"] == "reward" else ""
    return f"An adapter: `peft.{loader}.from_pretrained(FOLDER{labels})` loads it on its base."


def _facts(manifest: dict) -> list[tuple[str, object]]:
    training = manifest["config"]["training"]
    return [
        ("rows", manifest["counts"]["train_rows"]),
        ("trained tokens", manifest["counts"]["train_trained"]),
        ("steps", manifest["counts"]["steps"]),
        ("learning rate", training["learning_rate"]),
        ("rows a step", training["batch_size"]),
        ("seed", training["seed"]),
        ("adapter", adapters.in_words(manifest)),
        ("precision", manifest["hardware"]["precision"]),
        ("content", manifest["content_hash"][:16]),
        *((name, version) for name, version in manifest["versions"].items()),
    ]


def _table(rows) -> str:
    lines = [f"| {key} | {value:.6g} |" if isinstance(value, float) else f"| {key} | {value} |" for key, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])
