"""Over-optimisation seen and stopped: proxy, gold and KL on held-out prompts while the policy is trained on the proxy.

The reward model is a proxy, and what is maximised is no longer a measure (Gao, Schulman and Hilton 2023, arXiv 2210.10760).
At each evaluation the policy answers the same held-out prompts with the same random numbers. The weights that are best by
gold (or, without gold, by proxy within the KL budget) are kept and become the run's result.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object

from alignment.generation.batched import generate
from alignment.generation.decoding import row_seed
from alignment.ppo import numerics
from alignment.ppo.kept import Kept
from alignment.ppo.rewards import OpenReward, answer_text, judge
from alignment.ppo.rollout import Row, keep_of
from data_recipes.intervals import mean_or_share, wilson
from reward.rules import text_of

SHOWN = 8  # answers of each evaluation kept in private/completions.jsonl


@dataclass
class Examiner:
    """Held-out prompts and what they are judged by.

    prompts: `trainer.Prompted`. gold: a reward that is never trained on. pairs: (prompt ids, chosen ids, rejected ids) of
    the reward run's held-out pairs. loaded: the policy for generation. keep: "best" or "last". budget: nats an answer.
    kept: where the best weights lie. held_out: whether no prompt of it is trained on.
    """

    prompts: list
    gold: OpenReward | None
    pairs: list[tuple[list[int], list[int], list[int]]]
    loaded: object
    seed: int
    kept: Kept
    keep: str = "best"
    budget: float | None = None
    samples: Path | None = None
    held_out: bool = True
    best: dict | None = None
    last: dict | None = None

    @property
    def by(self) -> str:
        """What decides which weights are kept."""
        return "gold" if self.gold else "proxy"

    def examine(self, trainer) -> dict[str, float]:
        """Figures on the held-out prompts, means with intervals; keeps the weights where they are the best so far."""
        rows = self._answers(trainer)
        rows, (proxy_B, gold_B, kl_B, k3_B) = _together(trainer, rows, self._measured(trainer, rows))
        figures = {
            **_with_interval("proxy", proxy_B),
            **(_with_interval("gold", gold_B) if self.gold else {}),
            "kl_k1": float(kl_B.mean()),
            "kl_k3": float(k3_B.mean()),
            "sqrt_kl": float(max(kl_B.mean(), 0.0) ** 0.5),
            "length": float(np.mean([sum(row.actions) for row in rows])),
            "stop_rate": float(np.mean([row.stopped for row in rows])),
            **({"tool_calls": float(np.mean([len(_results(row)) for row in rows]))} if trainer.tools else {}),
            **self._pair_figures(trainer),
        }
        self._write(trainer, rows, proxy_B, gold_B)
        self.last = {"step": trainer.state.global_step, **figures}
        if self._is_best(figures):
            self.best = self.last
            if self.keep == "best":
                self.kept.write(trainer)
        return figures

    def _is_best(self, figures: dict[str, float]) -> bool:
        if self.by == "proxy" and self.budget is not None and figures["kl_k1"] > self.budget:
            return False
        return self.best is None or figures[self.by] > self.best[self.by]

    def put_best(self, trainer) -> None:
        """Gives the policy and the critic the weights that were kept."""
        if self.keep == "best":
            self.kept.put(trainer, self.best["step"])

    def summary(self) -> dict:
        """For the manifest: which weights are the result, by what, and what the last ones had."""
        chosen = self.best if self.keep == "best" else self.last
        rule = {"rule": self.keep, "by": self.by, "budget": self.budget, "held_out": self.held_out}
        return {**rule, "step": chosen["step"], "figures": chosen, "last": self.last}

    def state(self) -> dict:
        return {"best": self.best, "last": self.last}

    def restore(self, state: dict) -> None:
        """The standing of a checkpoint. Raises Failed where its best weights are gone or altered."""
        self.best, self.last = state["best"], state["last"]
        if self.keep == "best" and self.best:
            self.kept.check(self.best["step"])

    def forget_others(self) -> None:
        """Removes weights that are the best no more, once no checkpoint leads back to them."""
        self.kept.forget_others(self.best["step"] if self.best else None)

    # ------------------------------------------------------------------------------------------------------------- parts

    def _answers(self, trainer) -> list[Row]:
        """This process's share of the answers, each drawn from its prompt's own seed, so that evaluations are paired."""
        rank, world = trainer.accelerator.process_index, trainer.accelerator.num_processes
        numbers = list(range(len(self.prompts)))[rank::world]
        settings = trainer.settings
        trainer.roles.act("default")
        asked, stops = [self.prompts[i] for i in numbers], set(trainer.renderer.stop_ids)

        def turn(ids: list[list[int]], seeds: list[int]) -> list[list[int]]:
            made = generate(self.loaded, ids, max_new_tokens=settings.max_new_tokens, temperature=settings.temperature,
                            seed=seeds, batch_size=settings.generation_batch, renderer=trainer.renderer)
            return [done.ids + ([done.stop] if done.stopped else []) for done in made]

        def next_turn(ids: list[list[int]]) -> list[list[int]]:
            return turn(ids, [row_seed(self.seed, zlib.crc32(repr(row).encode()), 1) for row in ids])

        with trainer.folding():
            made = turn([prompt.ids for prompt in asked], [row_seed(self.seed, i, 0) for i in numbers])
            plain = [(ids, [True] * len(ids), None) for ids in made]
            made = trainer.converse(asked, made, next_turn) if trainer.tools else plain
        return [Row(i, prompt.ids, ids, actions, ids[-1] in stops, [], said=said)
                for i, prompt, (ids, actions, said) in zip(numbers, asked, made, strict=True)]

    def _measured(self, trainer, rows: list[Row]) -> np.ndarray:
        """Proxy, gold (0 where there is none), and the KL by k1 and k3 of this process's answers, shape (4, B)."""
        if not rows:
            return np.zeros((4, 0))
        proxy_B, gold_B = self._judged(trainer, rows)
        return np.stack([proxy_B, gold_B, *self._distance(trainer, rows)])

    def _judged(self, trainer, rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
        """Proxy and gold of each answer, shape (B,) each."""
        asked, answers = [self.prompts[row.prompt] for row in rows], [row.completion_ids for row in rows]
        said = [row.said for row in rows] if trainer.tools else None
        scores = [judge(reward, trainer.renderer, asked, answers, said) for reward in trainer.objective.rewards]
        gold = judge(self.gold, trainer.renderer, asked, answers, said) if self.gold else [0.0] * len(rows)
        return trainer.objective.proxy(np.array(scores, dtype=np.float64).T), np.array(gold, dtype=np.float64)

    @torch.no_grad()
    def _distance(self, trainer, rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
        """KL from the reference summed over each answer, by k1 and by k3; shape (B,) each."""
        made = trainer.logps_of(rows)
        keep = keep_of(rows)
        kl = (numerics.kl_estimate(*made, kind) for kind in ("k1", "k3"))
        return tuple(torch.where(keep, one, 0.0).sum(1).double().numpy() for one in kl)

    @torch.no_grad()
    def _pair_figures(self, trainer) -> dict[str, float]:
        """How often the policy has moved towards the chosen answer of a held-out pair, and away from the rejected one.

        margin = log(pi / ref)(chosen) - log(pi / ref)(rejected), the implicit reward of DPO; a tie (as at step 0) counts half.
        """
        if not self.pairs:
            return {}
        sides = []
        for side in (1, 2):
            rows = [Row(0, pair[0], pair[side], [True] * len(pair[side]), True, []) for pair in self.pairs]
            logps, ref_logps = trainer.logps_of(rows)
            sides.append(torch.where(keep_of(rows), logps - ref_logps, 0.0).sum(1))
        margin = sides[0] - sides[1]
        share = wilson(float((margin > 0).sum() + 0.5 * (margin == 0).sum()), len(self.pairs))
        return {"pairs": share.value, "pairs_low": share.low, "pairs_high": share.high}

    def _write(self, trainer, rows: list[Row], proxy_B, gold_B) -> None:
        if self.samples is None or not trainer.is_world_process_zero():
            return
        self.samples.parent.mkdir(parents=True, exist_ok=True)
        with self.samples.open("a", encoding="utf-8") as out:
            for i, row in enumerate(rows[:SHOWN]):
                entry = {
                    "step": trainer.state.global_step,
                    "prompt": self.prompts[row.prompt].messages,
                    "answer": text_of(row.said) if row.said else answer_text(trainer.renderer, row.completion_ids),
                    **({"turns": row.said} if row.said else {}),
                    "stopped": row.stopped,
                    "proxy": float(proxy_B[i]),
                    **({"gold": float(gold_B[i])} if self.gold else {}),
                }
                out.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _together(trainer, rows: list[Row], figures_4B: np.ndarray) -> tuple[list[Row], np.ndarray]:
    """Rows and figures of all processes, in the order of the prompts; each answer was judged once."""
    mine = [(row.prompt, row, figures) for row, figures in zip(rows, figures_4B.T, strict=True)]
    if trainer.accelerator.num_processes > 1:
        mine = gather_object(mine)
    ordered = sorted(mine, key=lambda found: found[0])
    return [row for _, row, _ in ordered], np.array([figures for _, _, figures in ordered]).T


def _results(row: Row) -> list[dict]:
    """What tools answered within an answer."""
    return [turn for turn in row.said if turn["role"] == "tool"]


def _with_interval(name: str, values_B: np.ndarray) -> dict[str, float]:
    found = mean_or_share(values_B)
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
