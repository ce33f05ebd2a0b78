"""The rewards of a rollout: rules, a reward run on the policy's own base, or a reward model of its own beside it.

Each is called as TRL calls reward functions. A reward run that shares base, tokenizer and template is an adapter among the
others and is given the sampled ids; any other model is loaded beside and is given text.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from data_recipes.errors import Failed, Refused
from reward.calibration import Scale
from reward.combine import RunningScale, combine
from reward.learned import RewardModel
from reward.rules import text_of
from reward.scorers import Rule, row_name

from alignment.ppo.roles import Roles

BATCH = 16  # rows a forward pass of a reward model


@dataclass
class OpenReward:
    """One reward, ready to score.

    score: as TRL's reward functions. texts: scores of (prompt messages, text) pairs, for calibration; None for a rule.
    role: its adapter's name where it shares the base. scale: of its scores on held-out pairs.
    """

    name: str
    score: Callable[..., list[float]]
    texts: Callable[[list, list[str]], list[float]] | None = None
    role: str | None = None
    scale: Scale = field(default_factory=lambda: Scale(0.0, 1.0))


RESERVED = {"prompts", "completions", "completion_ids", "prompt_ids", "where", "stopped"}


def judge(reward: OpenReward, renderer, asked: list, answers: list[list[int]], said: list | None = None) -> list[float]:
    """Scores of answers (token ids with their stop token) to `asked` (`trainer.Prompted`), in training and evaluation alike.

    said: the answers as messages, where they are more than words (calls of tools and their results).
    The function is given what TRL's reward functions are: prompts, completions, completion_ids and the rows' other columns,
    a None where a row has none; besides `prompt_ids`, `stopped`, and `where`, each prompt's place in the data.
    """
    stops = set(renderer.stop_ids)
    names = dict.fromkeys(name for prompt in asked for name in prompt.columns)
    spoken = copy.deepcopy(said) or [[{"role": "assistant", "content": answer_text(renderer, ids)}] for ids in answers]
    return reward.score(
        prompts=[copy.deepcopy(prompt.messages) for prompt in asked],
        completions=spoken,
        completion_ids=answers,
        prompt_ids=[prompt.ids for prompt in asked],
        where=[prompt.where for prompt in asked],
        stopped=[bool(ids) and ids[-1] in stops for ids in answers],
        **{name: [prompt.columns.get(name) for prompt in asked] for name in names},
    )


class AsTrl:
    """A reward with the name and signature that TRL's trainer calls; the rows are looked up by their `number`."""

    def __init__(self, reward: OpenReward, renderer, prompts: list, *, tools: bool = False) -> None:
        self.reward, self.renderer, self.prompts, self.tools = reward, renderer, prompts, tools
        self.__name__ = reward.name

    def __call__(self, prompts, completions, completion_ids, number, **state) -> list[float]:
        said = completions if self.tools else None
        return judge(self.reward, self.renderer, [self.prompts[i] for i in number], completion_ids, said)


def answer_text(renderer, ids: list[int]) -> str:
    """The words of an answer, without its stop token."""
    return renderer.completion_text(ids[:-1] if ids and ids[-1] in renderer.stop_ids else ids)


def open_rule(rule: Rule) -> OpenReward:
    """A rule as it is; what it returns is checked at each call."""
    return OpenReward(rule.name, rule)


def open_beside(model: RewardModel) -> OpenReward:
    """A reward model of its own, loaded beside the policy and given text."""

    def score(prompts, completions, **columns) -> list[float]:
        wanted = {name: columns[name] for name in ("stopped", "tools", "where") if name in columns}
        return model(prompts, completions, **wanted)

    return OpenReward(model.name, score, lambda prompts, texts: model(prompts, texts))


class SharedReward:
    """A reward run as an adapter on the policy's base: a forward pass under another name, and its score head."""

    def __init__(self, name: str, role: str, roles: Roles, renderer) -> None:
        self.name, self.role, self.roles = name, role, roles
        self.reader = RewardModel(None, renderer, name=name)

    def __call__(self, prompts, completions, *, completion_ids, prompt_ids, where, **columns) -> list[float]:
        """Scores the ids that were sampled, at their last token."""
        scores = self.ids([before + ids for before, ids in zip(prompt_ids, completion_ids, strict=True)])
        for index, value in enumerate(scores):
            if not np.isfinite(value):
                raise Failed(f"the score is {value}", where=f"--reward {self.name}, "
                             f"{row_name(index, completions[index], where)}", expected="a finite number")
        return scores

    def texts(self, prompts: list, texts: list[str]) -> list[float]:
        """Scores of texts, rendered as the reward run renders its own rows."""
        rows = [self.reader.row(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        self.reader.refuse_long(rows, self.roles.policy.config)
        return self.ids(rows)

    @torch.no_grad()
    def ids(self, rows: list[list[int]], batch: int = BATCH) -> list[float]:
        """Scores of token rows, padded on the right, taken at the last real token."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]), reverse=True)
        scores = [0.0] * len(rows)
        with self.roles.acting(self.role):
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                for index, value in zip(chosen, self._batch([rows[i] for i in chosen]), strict=True):
                    scores[index] = value
        return scores

    def _batch(self, rows: list[list[int]]) -> list[float]:
        ids_BT, real_BT = right_padded(rows, self.reader.renderer.pad_id, next(self.roles.policy.parameters()).device)
        return self.roles.heads[self.role](at_ends(self.roles.hidden(self.role, ids_BT, real_BT), real_BT)).tolist()

    def opened(self) -> OpenReward:
        return OpenReward(self.name, self, self.texts, role=self.role)


def right_padded(rows: list[list[int]], pad_id: int, device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and which of them are real, shape (B, T) each."""
    width = max(map(len, rows))
    ids_BT = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows], device=device)
    real_BT = torch.arange(width)[None, :] < torch.tensor([len(row) for row in rows])[:, None]
    return ids_BT, real_BT.to(device)


def at_ends(hidden_BTH: torch.Tensor, real_BT: torch.Tensor) -> torch.Tensor:
    """Hidden states at each row's last real token, shape (B, H)."""
    return hidden_BTH[torch.arange(len(hidden_BTH), device=hidden_BTH.device), real_BT.sum(1) - 1]


def calibrate(rewards: list[OpenReward], pairs_of: Callable[[str], list], recorded: dict, ui) -> None:
    """Sets each model's scale from scores of held-out pairs, both sides together; or from `recorded`, where a run goes on.

    Raises:
        Refused: there are no such pairs; the run's data is not where it was.
    """
    for reward in rewards:
        if reward.texts is None:
            continue
        if reward.name in recorded:
            reward.scale = Scale(**recorded[reward.name])
            continue
        pairs = pairs_of(reward.name)
        if not pairs:
            raise Refused(
                f"'{reward.name}' has no held-out pairs to take its scale from",
                where="ppo.normalise",
                expected="a reward run whose data lies where it was, with a share held out",
                do="Say --set ppo.normalise=running (or none).",
            )
        reward.scale = Scale.of(pair_scores(reward, pairs).reshape(-1))
        recorded[reward.name] = asdict(reward.scale)
        ui.say(f"{reward.name}: scores have mean {reward.scale.mean:.3f} and deviation {reward.scale.std:.3f} "
               f"on {len(pairs)} held-out pairs")


def pair_scores(reward: OpenReward, pairs: list) -> np.ndarray:
    """Scores of the chosen and the rejected side, shape (pairs, 2)."""
    prompts = [[turn.as_dict() for turn in pair.prompt] for pair in pairs]
    sides = [[text_of([turn.as_dict() for turn in getattr(pair, side)]) for pair in pairs] for side in ("chosen", "rejected")]
    return np.array([reward.texts(copy.deepcopy(prompts), texts) for texts in sides]).T


@dataclass
class Objective:
    """From the scores of all sources to the one number that is maximised."""

    rewards: list[OpenReward]
    how: str = "sum"
    weights: list[float] | None = None
    deviations: float = 1.0
    running: RunningScale | None = None
    clip: float | None = None

    def proxy(self, scores_BS: np.ndarray) -> np.ndarray:
        """Combined scores on their calibrated scales, shape (B,): what is reported as the proxy."""
        scaled = [reward.scale.normalise(scores_BS[:, s]) for s, reward in enumerate(self.rewards)]
        return combine(np.array(scaled), self.how, weights=self.weights, deviations=self.deviations)

    def maximised(self, proxy_B: np.ndarray) -> np.ndarray:
        """After running statistics (which take the batch in first) and clipping, shape (B,)."""
        if self.running is not None:
            self.running.update(proxy_B)
            proxy_B = self.running.normalise(proxy_B)
        return proxy_B if self.clip is None else np.clip(proxy_B, -self.clip, self.clip)
