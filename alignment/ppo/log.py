"""What a PPO run says of each step and rollout: means over actions, of all processes together."""

from __future__ import annotations

import torch
from torch import Tensor

from alignment.ppo import numerics
from alignment.ppo.rollout import Rollout

NAMES = {"clipped": "clip_share", "approx_kl": "approx_kl_k3"}


class StepLog:
    """Sums over a step's micro-batches, and the seconds by what they were spent on.

    metrics: TRL's lists of figures by name, of which its `log` prints the mean.
    """

    def __init__(self, metrics: dict, accelerator) -> None:
        self.metrics, self.accelerator = metrics, accelerator
        self.sums: dict[str, Tensor] = {}
        self.seconds = {"rollout": 0.0, "scoring": 0.0, "update": 0.0}

    def note(self, name: str, value: float) -> None:
        """One figure of this step."""
        self.metrics[name].append(float(value))

    def add(self, group: str, sums: dict[str, Tensor]) -> None:
        """Sums over the actions of one micro-batch."""
        for name, value in sums.items():
            key = f"{group}/{name}"
            self.sums[key] = self.sums.get(key, 0.0) + value.detach().float()

    def reduced(self) -> dict[str, float]:
        """The step's sums over micro-batches and processes; the sums start again."""
        sums, self.sums = self.sums, {}
        if not sums:
            return {}
        names = sorted(sums)
        together = torch.stack([sums[name] for name in names])
        if self.accelerator.num_processes > 1:
            together = self.accelerator.reduce(together, "sum")
        return dict(zip(names, together.tolist(), strict=True))

    def update(self, sums: dict[str, float], *, stopped: bool) -> None:
        """Means over the step's actions; and the seconds spent since the last update."""
        for name, value in sums.items():
            group, _, what = name.partition("/")
            if what != "actions":
                self.note(f"{group}/{NAMES.get(what, what)}", value / sums[f"{group}/actions"])
        self.note("policy/update_stopped", stopped)
        for name in self.seconds:
            self.note(f"seconds/{name}", self.seconds[name])
            self.seconds[name] = 0.0

    def rollout(self, rollout: Rollout, proxy_B, final_B, kl: dict[str, Tensor], advantages_BT: Tensor,
                coefficient: float) -> None:
        """What there is to say of one rollout. `kl` by estimator; `coefficient` the one that shaped its rewards."""
        made, keep = rollout.figures, rollout.keep
        figures = {
            "score/mean": proxy_B.mean(),
            "score/std": proxy_B.std(),
            "score/final": final_B.mean(),
            **{f"kl/{kind}": an_answer(kl[kind], keep) for kind in numerics.ESTIMATORS},
            "kl/k1_per_token": numerics.masked_mean(kl["k1"], keep),
            "kl/coefficient": coefficient,
            "value/explained_variance": numerics.explained_variance(made["values"], made["returns"], keep),
            "return/mean": numerics.masked_mean(made["returns"], keep),
            "advantage/std": numerics.masked_variance(advantages_BT, keep).sqrt(),
            "length/mean": keep.sum(1).double().mean(),
            "stop_rate": sum(row.stopped for row in rollout.rows) / len(rollout),
            "rollout": rollout.number,
        }
        for name, value in figures.items():
            self.note(name, value)


def an_answer(kl_BT: Tensor, keep_BT: Tensor) -> float:
    """Mean over rows of a row's summed KL, in nats an answer."""
    return torch.where(keep_BT, kl_BT, 0.0).sum(1).mean().item()
