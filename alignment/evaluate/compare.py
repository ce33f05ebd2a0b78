"""From scored answers to a comparison: means, paired differences, win rates, and what length has to do with it.

Only numpy; `against` also imports the metrics, and with them `evaluate` and `datasets`.

Axes: M members (seeds) of an arm, P prompts, S samples a prompt. Intervals are over prompts; what differs between
seeds is shown as a spread beside them, since an interval over prompts says nothing about it. Rows may repeat a prompt
(pairs do): then P is rows until they are `pooled`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from data_recipes.intervals import bootstrap_mean, mean_or_share, paired_difference


@dataclass
class Answers:
    """What one arm answered: arrays of shape (M, P, S).

    lengths: in characters, which mean the same for every tokenizer. tokens: as generated. stopped: whether a stop
    token ended it. scores: by the name of the reward. prompts: the number of each row's prompt, shape (P,), where
    several rows have the same one.
    """

    lengths: np.ndarray
    tokens: np.ndarray
    stopped: np.ndarray
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    prompts: np.ndarray | None = None

    def by_prompt(self, values_MPS: np.ndarray) -> np.ndarray:
        """Mean over members, samples and rows of a prompt."""
        return pooled(by_prompt(values_MPS), self.prompts)


def prompt_numbers(keys: list[str]) -> np.ndarray | None:
    """The number of each row's prompt, by its key; None where no two rows have the same."""
    found, numbers = np.unique(keys, return_inverse=True)
    return numbers if len(found) < len(keys) else None


def pooled(values_P: np.ndarray, prompts_P: np.ndarray | None) -> np.ndarray:
    """The mean of each prompt's rows: two rows of one prompt are no independent evidence, and count as one."""
    return values_P if prompts_P is None else np.bincount(prompts_P, weights=values_P) / np.bincount(prompts_P)


def by_prompt(values_MPS: np.ndarray) -> np.ndarray:
    """Mean over members and samples, shape (P,)."""
    assert values_MPS.ndim == 3, values_MPS.shape
    return values_MPS.astype(np.float64).mean(axis=(0, 2))


def spread(values_M) -> dict | None:
    """How much the members differ; None where there is only one."""
    values_M = np.asarray(values_M, dtype=np.float64)
    if len(values_M) < 2:
        return None
    return {
        "members": values_M.tolist(),
        "mean": float(values_M.mean()),
        "std": float(values_M.std(ddof=1)),
        "min": float(values_M.min()),
        "max": float(values_M.max()),
    }


def wins_by_prompt(ours_MPS: np.ndarray, theirs_MPS: np.ndarray) -> np.ndarray:
    """Share of pairs (our answer, their answer to the same prompt) that ours wins; a tie counts half. Shape (P,)."""
    ours_PK, theirs_PK = _flat(ours_MPS), _flat(theirs_MPS)
    assert ours_PK.shape[0] == theirs_PK.shape[0], (ours_PK.shape, theirs_PK.shape)
    return 0.5 * (1 + np.sign(ours_PK[:, :, None] - theirs_PK[:, None, :])).mean(axis=(1, 2))


def ties(ours_MPS: np.ndarray, theirs_MPS: np.ndarray) -> float:
    """Share of pairs with equal scores: many of them leave a win rate near one half without meaning anything."""
    return float((_flat(ours_MPS)[:, :, None] == _flat(theirs_MPS)[:, None, :]).mean())


def describe(answers: Answers, *, seed: int) -> dict:
    """An arm by itself: length and stop rate, and the mean of each reward."""
    found = {
        "answers": int(answers.lengths.size),
        "length_characters": bootstrap_mean(answers.by_prompt(answers.lengths), seed=seed).as_dict(),
        "length_tokens": bootstrap_mean(answers.by_prompt(answers.tokens), seed=seed).as_dict(),
        "stop_rate": mean_or_share(answers.by_prompt(answers.stopped), seed=seed).as_dict(),
        "rewards": {},
    }
    for name, scores_MPS in answers.scores.items():
        found["rewards"][name] = {
            "mean": mean_or_share(answers.by_prompt(scores_MPS), seed=seed).as_dict(),
            "spread": spread([answers.by_prompt(member[None]).mean() for member in scores_MPS]),
            "yes_or_no": bool(np.isin(scores_MPS, (0.0, 1.0)).all()),
        }
    return found


def against(ours: Answers, theirs: Answers, name: str, *, seed: int) -> dict:
    """One reward's comparison of an arm with the first: paired difference, win rate, and the rate at equal length."""
    from reward.metrics import WinRate

    ours_MPS, theirs_MPS = ours.scores[name], theirs.scores[name]
    wins_P, longer_P = (pooled(values, ours.prompts)
                        for values in (wins_by_prompt(ours_MPS, theirs_MPS), longer_by_prompt(ours, theirs)))
    each_M = [pooled(wins_by_prompt(member[None], theirs_MPS), ours.prompts).mean() for member in ours_MPS]
    return {
        "difference": paired_difference(ours.by_prompt(ours_MPS), ours.by_prompt(theirs_MPS), seed=seed).as_dict(),
        **WinRate().compute(predictions=wins_P, references=longer_P, seed=seed),
        "win_rate_spread": spread(each_M),
        "ties": ties(ours_MPS, theirs_MPS),
    }


def longer_by_prompt(ours: Answers, theirs: Answers) -> np.ndarray:
    """How much longer ours is on each prompt, in characters, shape (P,)."""
    return by_prompt(ours.lengths) - by_prompt(theirs.lengths)


def _flat(values_MPS: np.ndarray) -> np.ndarray:
    members, prompts, samples = values_MPS.shape
    return values_MPS.transpose(1, 0, 2).reshape(prompts, members * samples).astype(np.float64)
