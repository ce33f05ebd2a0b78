"""The model card of a run, written from its manifest: what it is, from what, on which rows, with which figures."""

from __future__ import annotations

import yaml

from alignment import adapters
from alignment.evaluate.show import interval

TASKS = {"sft": "text-generation", "dpo": "text-generation", "ppo": "text-generation", "reward": "text-classification"}
SEQ2SEQ = ("text2text-generation", "AutoPeftModelForSeq2SeqLM")
CLASSIFIED = {"labels": "text-classification", "tokens": "token-classification"}
LOADERS = {"reward": "AutoPeftModelForSequenceClassification", "sft": "AutoPeftModelForCausalLM"}


def model_card(manifest: dict) -> str:
    """Markdown with the front matter that model hubs read. No path of this machine and no text of a row is in it."""
    stage, base = manifest["stage"], manifest["base"]
    front = {
        "library_name": "peft" if manifest.get("adapter") else "transformers",
        "pipeline_tag": SEQ2SEQ[0] if _apart(manifest) else TASKS.get(stage) or CLASSIFIED[manifest["task"]["name"]],
        "tags": ["align", stage],
        **({"base_model": base["id"]} if base["kind"] == "hub" else {}),
    }
    sections = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---",
        f"# A model from `align {stage}`",
        _loading(manifest),
        *(classifier(manifest) if stage == "classify" else []),
        "## Training",
        _table(_facts(manifest)),
        "## Figures",
        _table(manifest["metrics"].items()),
    ]
    return "\n\n".join(sections) + "\n"


def _apart(manifest: dict) -> bool:
    return (manifest.get("task") or {}).get("name") == "seq2seq"


def classifier(manifest: dict) -> list[str]:
    """What one has to know of a classifier beside its weights: labels, temperature, and what it reached."""
    found, task = manifest["classify"], manifest["task"]
    lines = [f"Labels, in the order of its outputs: {', '.join(f'`{name}`' for name in task['labels'])}."]
    if found["task"] == "regression":
        lines.append(f"The number is {found['scale'][0]:.6g} + {found['scale'][1]:.6g} x the model's output.")
    elif found["temperature"] != 1.0:
        by = f"{found['temperature']:.4g}"
        lines.append(f"Its logits are to be divided by {by} (temperature scaling, fitted on held-out rows).")
    lines.append("`align classify predict FOLDER --data new.csv --output labels.csv` does all of this.")
    sections = ["## Labels", " ".join(lines)]
    if not (measured := found.get("evaluation")):
        return sections
    trivial = measured["baseline"]
    rows = [(name, interval(value, 3), interval(trivial["figures"][name], 3)) for name, value in measured["figures"].items()]
    if "calibration" in measured:
        error = {when: measured["calibration"][f"ece_{when}"] for when in ("before", "after")}
        rows += [(f"calibration error, {when}", interval(value, 3), "") for when, value in error.items()]
    head = [f"| on {measured['rows']} held-out rows | with 95 % interval | {trivial['says']} |", "|---|---|---|"]
    return [*sections, "## Held-out figures", "\n".join([*head, *(f"| {a} | {b} | {c} |" for a, b, c in rows)])]


def _loading(manifest: dict) -> str:
    if not manifest.get("adapter"):
        return "A whole model: any transformers loader takes this folder."
    loader = SEQ2SEQ[1] if _apart(manifest) else LOADERS.get(manifest["stage"], LOADERS["sft"])
    labels = ", num_labels=1" if manifest["stage"] == "reward" else ""
    if manifest["stage"] == "classify":
        loader = f"AutoPeftModelFor{'Token' if manifest['task']['name'] == 'tokens' else 'Sequence'}Classification"
        labels = f", num_labels={len(manifest['task']['labels'])}"
    own = manifest["adapter"]["kind"] == "bottleneck"  # a kind of the suite's, which PEFT has to be told of
    first = "After `import alignment`, " if own else ""
    return f"An adapter. {first}`peft.{loader}.from_pretrained(FOLDER{labels})` loads it on its base."


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
