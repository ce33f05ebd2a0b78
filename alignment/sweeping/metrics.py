"""By what the runs of a sweep are compared: a figure on held-out rows, of the weights that each run kept. Light."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from data_recipes.errors import Refused

from alignment.config import StageConfig
from alignment.config.names import nearest
from alignment.evaluate.curves import KINDS, read_metrics
from alignment.runs import Run

HELD_OUT = "eval_"
TIMED = ("_runtime", "_per_second")
# The main figure of a stage, the first one that a run has; of others the one by which their runs keep their weights.
MAIN: dict[str, tuple[str, ...]] = {
    "sft": ("eval_loss",),
    "reward": ("eval_accuracy",),
    "dpo": ("eval_rewards/accuracies",),
    "ppo": ("eval_gold", "eval_proxy"),
}
BESIDE: dict[str, tuple[str, ...]] = {
    "sft": ("eval_mean_token_accuracy",),
    "reward": ("eval_loss", "eval_margin"),
    "dpo": ("eval_rewards/margins", "eval_loss"),
    "ppo": ("eval_proxy", "eval_kl_k1", "eval_length"),
    "classify": ("eval_accuracy", "eval_loss"),
}
LOWER = re.compile(r"(^|[_/])(loss|perplexity|entropy|kl|kl_k1|kl_k3|sqrt_kl|error|brier|ece|mse|mae|rmse)($|[_/])")
# Keys that change what a figure means, so that two values of the key cannot be compared by it.
ANOTHER_SCALE: dict[str, str] = {
    "dpo.beta": r"loss|margins|rewards/(chosen|rejected)",
    "dpo.loss_type": r"loss",
    "dpo.loss_weights": r"loss",
    "dpo.label_smoothing": r"loss",
    "training.label_smoothing": r"loss",
    "reward.center_coefficient": r"loss",
    "classify.class_weights": r"loss",
    "data.train_on": r"loss|accuracy|entropy",
    "data.max_length": r".",
    "data.system": r".",
    "data.thinking": r".",
    "model.path": r"loss|entropy",
    "ppo.reward": r"proxy",
    "ppo.weights": r"proxy",
    "ppo.combine": r"proxy",
    "ppo.normalise": r"proxy",
}


@dataclass(frozen=True)
class By:
    """The figure that decides, and which way is better."""

    name: str
    lower: bool

    @property
    def words(self) -> str:
        """`eval_loss, lower is better`."""
        return f"{self.name}, {'lower' if self.lower else 'higher'} is better"

    def best(self, values: Iterable[float]) -> float:
        """The best of some values."""
        return (min if self.lower else max)(values)


def figures_of(run: Run) -> dict[str, float]:
    """The last figures of a finished run; those on held-out rows are of the weights that it kept."""
    metrics = run.manifest.get("metrics") or {}
    found = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    rows = [row for row in read_metrics(run.metrics_file) if any(name.startswith(HELD_OUT) for name in row)]
    kept = (run.manifest.get("kept") or {}).get("step")
    for row in rows:  # one evaluation may be several lines
        if row["step"] == (rows[-1]["step"] if kept is None else kept):
            found |= {name: value for name, value in row.items() if name.startswith(HELD_OUT) and _is_number(value)}
    return {name: value for name, value in found.items() if not name.endswith(TIMED)}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def known_names(stage: str) -> set[str]:
    """Held-out figures that the stage's curves know; what else a run has shows once one is finished."""
    keys = {key for kind in KINDS.get(stage, []) for key in kind.keys}
    return {key for key in keys if key.startswith(HELD_OUT)} | {"eval_loss"} | set(MAIN.get(stage, ()))


def check_name(stage: str, name: str | None, config: StageConfig) -> None:
    """Refuses before any run what cannot be compared: nothing is held out, or a figure that only a slip can have meant."""
    held_out = bool(config.data.validation or config.data.validation_share)
    if not held_out and (name is None or name.startswith(HELD_OUT)):
        raise Refused("no row is held out, so the runs cannot be compared", where="data.validation_share",
                      expected="a share above 0, or --validation FILE")
    known = known_names(stage)
    if name and name not in known and KINDS.get(stage) and (close := nearest(name, known)):
        raise Refused(f"align {stage} has no figure {name!r} on held-out rows", where="--by", do=f"Did you mean {close}?")


def choose(run: Run, name: str | None) -> By:
    """The figure by which runs such as this one are compared: what was asked for, or the stage's main one.

    Raises:
        Refused: it has no such figure; with the nearest name.
    """
    figures = figures_of(run)
    if name is None:
        names = [*MAIN.get(run.stage, [(run.manifest.get("kept") or {}).get("by")]), "eval_loss"]
        name = next((one for one in names if one in figures), "eval_loss")
    if name not in figures:
        held = sorted(one for one in figures if one.startswith(HELD_OUT))
        close = nearest(name, figures)
        raise Refused(f"the runs have no figure {name!r}", where="--by", expected=", ".join(held) or "a held-out figure",
                      do=f"Did you mean {close}?" if close else "")
    return By(name, bool(LOWER.search(name.removeprefix(HELD_OUT))))


def remarks(by: By, keys: Iterable[str]) -> list[str]:
    """What the figure does not tell where these keys differ."""
    said = [
        f"{key} changes what {by.name} means: values of it cannot be compared by this figure"
        for key in keys
        if (pattern := ANOTHER_SCALE.get(key)) and re.search(pattern, by.name)
    ]
    if not by.name.startswith(HELD_OUT):
        said.append(f"{by.name} is measured on the rows that were trained on: it favours what learns them by heart")
    if by.name == "eval_proxy":
        said.append("the proxy is what PPO maximises: the further from the reference, the higher; look at the KL beside it, or "
                    "name a --gold reward")
    return said
