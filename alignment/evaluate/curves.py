"""What the curves of a run are, what they mean, and what these ones say. Reads metrics.jsonl only; light."""

from __future__ import annotations

import json
import math
from pathlib import Path

from data_recipes.intervals import wilson

from alignment.evaluate.charts import Chart, Curve, Kind, Points, mean, part, series
from alignment.evaluate.curves_ppo import PPO, plane
from alignment.overfitting import describe, from_series


def read_metrics(file: Path) -> list[dict]:
    """Rows of metrics.jsonl; a last line that a kill left unfinished is left out."""
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line.strip()]


def charts(rows: list[dict], stage: str, held_out: int = 0) -> list[Chart]:
    """The charts of a run, in the order in which one should look at them. held_out: how many rows were; 0 where unknown."""
    points = {key: series(rows, key) for key in {key for row in rows for key in row}}
    found = plane(rows) if stage == "ppo" else []
    for kind in KINDS.get(stage, []) + COMMON:
        curves = [Curve(label, points[key]) for key, label in kind.keys.items() if points.get(key)]
        if curves:
            said = kind.read(points) + (kind.weigh(points, held_out) if held_out else [])
            found.append(Chart(kind.title, curves, kind.meaning, said, kind.level, mark=kind.mark(points)))
    return found


# ---------------------------------------------------------------------------------------------- what these curves say


def read_loss(points: dict[str, Points]) -> list[str]:
    """Did the loss fall, and does the held-out one still?"""
    said = []
    if len(train := points.get("loss", [])) >= 4:
        said.append(
            f"The training loss went from {mean(train[: part(train)]):.3f} to {mean(train[-part(train) :]):.3f}."
        )
    if fit := describe(from_series(points)):
        said.append(fit["sentence"])
    if len(general := points.get("eval_replay_loss", [])) >= 2:
        said.append(f"On general rows the held-out loss went from {general[0][1]:.3f} to {general[-1][1]:.3f}.")
    return said


def mark_turning(points: dict[str, Points]) -> tuple[float, float, str] | None:
    """Where the held-out loss was least, where it rose beyond noise afterwards."""
    fit = describe(from_series(points))
    if not fit or not fit["turned"]:
        return None
    return fit["least"]["step"], fit["least"]["value"], f"turns at step {fit['least']['step']}"


def read_accuracy(points: dict[str, Points]) -> list[str]:
    """The held-out accuracy, and how far the training accuracy is from it."""
    held = _held_out_accuracy(points)
    train = points.get("rewards/accuracies") or points.get("accuracy") or []
    said = []
    if held:
        said.append(f"On held-out pairs it ended at {100 * held[-1][1]:.1f} %.")
    if held and train and (gap := mean(train[-part(train) :]) - held[-1][1]) > 0.1:
        said.append(
            f"Training pairs are {100 * gap:.0f} points above the held-out ones: the difference was learned by heart."
        )
    return said


def weigh_accuracy(points: dict[str, Points], held_out: int) -> list[str]:
    """Is the held-out accuracy told from chance by so many pairs?"""
    if not (held := _held_out_accuracy(points)):
        return []
    found = wilson(min(1.0, held[-1][1]) * held_out, held_out)
    word = "above" if found.low > 0.5 else "below" if found.high < 0.5 else ""
    said = f"That is {word} chance" if word else "That is not to be told from chance"
    return [f"{said}: of {held_out:,} pairs its 95 % interval is {100 * found.low:.1f} to {100 * found.high:.1f} %."]


def _held_out_accuracy(points: dict[str, Points]) -> Points:
    return points.get("eval_rewards/accuracies") or points.get("eval_accuracy") or []


def read_dpo_rewards(points: dict[str, Points]) -> list[str]:
    """Chosen answers that become less likely are DPO's best known failure."""
    chosen = points.get("rewards/chosen", [])
    if len(chosen) >= 4 and (end := mean(chosen[-part(chosen) :])) < -0.5:
        return [
            f"The chosen answers' reward fell to {end:.2f}: they too became less likely than under the "
            "reference, only less so than the rejected ones. Look at the samples; a lower learning rate, a larger "
            "beta or an SFT term (loss_type sigmoid and sft) holds them up."
        ]
    return []


def read_norm(points: dict[str, Points]) -> list[str]:
    """Peaks far above the usual norm."""
    values = sorted(value for _, value in points.get("grad_norm", []))
    if len(values) < 8:
        return []
    middle, most = values[len(values) // 2], values[-1]
    return (
        [f"The largest norm, {most:.2f}, is {most / middle:.0f} times the usual one."]
        if middle > 0 and most > 10 * middle
        else []
    )


# ---------------------------------------------------------------------------------------------- what curves there are

_BOTH_LOSSES = {"loss": "training", "eval_loss": "held out", "eval_replay_loss": "general rows, held out"}
_LN2 = (math.log(2), "ln 2: nothing known")
_PAIR_LOSS = Kind(
    "Loss",
    _BOTH_LOSSES,
    "How surprised the model is by which answer was preferred. It starts at ln 2 = 0.693, a coin's toss, and "
    "should fall in both curves; where only the training curve falls, the pairs are being learned by heart.",
    read_loss,
    _LN2,
    mark_turning,
)
_ACCURACY = {
    "rewards/accuracies": "training",
    "eval_rewards/accuracies": "held out",
    "accuracy": "training",
    "eval_accuracy": "held out",
}
_CHANCE = (0.5, "chance")
KINDS: dict[str, list[Kind]] = {
    "sft": [
        Kind(
            "Loss",
            _BOTH_LOSSES,
            "How surprised the model is by the answers, in nats per trained token. It should fall fast, then "
            "slowly. The held-out curve is the one that counts.",
            read_loss,
            mark=mark_turning,
        ),
        Kind(
            "Tokens guessed right",
            {"mean_token_accuracy": "training", "eval_mean_token_accuracy": "held out"},
            "Share of trained tokens that were the model's first choice.",
        ),
        Kind(
            "Entropy",
            {"entropy": "training", "eval_entropy": "held out"},
            "How undecided the model is about the next token. It falls "
            "with the loss; near zero all answers become the same.",
        ),
    ],
    "reward": [
        _PAIR_LOSS,
        Kind(
            "Accuracy on pairs",
            _ACCURACY,
            "Share of pairs whose chosen answer scores higher. Compare it with the 'longer wins' "
            "accuracy that align eval prints.",
            read_accuracy,
            _CHANCE,
            weigh=weigh_accuracy,
        ),
        Kind(
            "Margin",
            {"margin": "training", "eval_margin": "held out"},
            "Chosen minus rejected score: how sure the model is.",
        ),
        Kind(
            "Scores",
            {"min_reward": "lowest", "mean_reward": "mean", "max_reward": "highest"},
            "The range of scores in each batch. Only "
            "differences are trained, so the mean may wander; reward.center_coefficient holds it.",
        ),
    ],
    "dpo": [
        _PAIR_LOSS,
        Kind(
            "Accuracy on pairs",
            _ACCURACY,
            "Share of pairs for which the policy prefers the chosen answer more than its reference does.",
            read_accuracy,
            _CHANCE,
            weigh=weigh_accuracy,
        ),
        Kind(
            "Rewards",
            {"rewards/chosen": "chosen", "rewards/rejected": "rejected", "rewards/margins": "margin"},
            "beta times how much "
            "more likely an answer became than under the reference. The margin should grow; it is healthy when the "
            "chosen curve stays near zero or above while the rejected one falls.",
            read_dpo_rewards,
            (0.0, "reference"),
        ),
    ],
    "ppo": PPO,
    "classify": [
        Kind(
            "Loss",
            _BOTH_LOSSES,
            "How surprised the model is by the labels (of numbers: the squared error, in units of their deviation). Where only "
            "the training curve falls, the rows are being learned by heart.",
            read_loss,
        ),
        Kind(
            "Held-out figures",
            {f"eval_{name}": name.replace("_", " ") for name in (
                "accuracy", "macro_f1", "entity_f1", "auroc", "matthews", "pearson", "spearman", "r2")},
            "Of the held-out rows, at each evaluation. The weights that were best by classify.metric are kept.",
        ),
    ],
}
COMMON = [
    Kind(
        "Gradient norm",
        {"grad_norm": "before clipping"},
        "The size of each update's gradient. Single peaks are cut by "
        "training.max_grad_norm; a steady rise announces trouble.",
        read_norm,
    ),
    Kind("Learning rate", {"learning_rate": "learning rate"}, "As scheduled: warm-up, then decay."),
    Kind("Speed", {"tokens_per_second": "tokens per second"}, "Dips are evaluations, checkpoints or a busy machine."),
]
