"""Metrics as `evaluate.Metric` subclasses that need no hub: import the class and call `compute`.

    >>> PairwiseAccuracy().compute(predictions=chosen_scores, references=rejected_scores)

Importing this module imports `evaluate` and `datasets`; keep it out of whatever has to start fast. Each result that
has an interval carries it as `low` and `high` at 95 %.
"""

from __future__ import annotations

import math

import datasets
import evaluate
import numpy as np

from data_recipes import intervals
from reward import calibration
from reward.length_control import length_controlled


class OfflineMetric(evaluate.Metric):
    """What the metrics share: two columns of numbers, kept in memory, so that no cache file or lock is involved."""

    description = ""
    predictions = "one number a row"
    references = "one number a row"
    citation = ""

    def __init__(self, **options) -> None:
        super().__init__(**{"keep_in_memory": True, **options})

    def _info(self) -> evaluate.MetricInfo:
        number = datasets.Value("float64")
        return evaluate.MetricInfo(
            description=self.description,
            citation=self.citation,
            inputs_description=f"\npredictions: {self.predictions}\nreferences: {self.references}",
            features=datasets.Features({"predictions": number, "references": number}),
        )


class PairwiseAccuracy(OfflineMetric):
    """Share of pairs whose chosen side has the higher score; a tie counts half. Wilson interval."""

    description = "Share of preference pairs whose chosen completion scores higher; a tie counts half."
    predictions, references = "scores of the chosen completions", "scores of the rejected completions"

    def _compute(self, predictions, references) -> dict:
        wins_B, ties = outcomes(predictions, references)
        return {**_named("accuracy", intervals.wilson(float(wins_B.sum()), len(wins_B))), "ties": ties}


class LongerWins(PairwiseAccuracy):
    """The trivial baseline: accuracy of calling the longer completion the better one. Takes lengths."""

    description = "Accuracy of the rule 'the longer completion is the better one'; a tie counts half."
    predictions, references = "lengths of the chosen completions", "lengths of the rejected completions"


class ExpectedCalibrationError(OfflineMetric):
    """How far the Bradley-Terry probabilities are from the shares that come true; 0 is best."""

    description = "Expected calibration error of sigmoid(chosen - rejected) over ten bins of confidence in [0.5, 1]."
    predictions, references = "scores of the chosen completions", "scores of the rejected completions"
    citation = "Guo et al., On Calibration of Modern Neural Networks, arXiv 1706.04599"

    def _compute(self, predictions, references, bins: int = calibration.BINS) -> dict:
        margins_B = np.asarray(predictions) - np.asarray(references)
        confidence_B, correct_B = calibration.pairwise_confidence(margins_B)
        return {
            "ece": calibration.expected_calibration_error(confidence_B, correct_B, bins=bins),
            "reliability": calibration.reliability(confidence_B, correct_B, bins=bins),
        }


class WinRate(OfflineMetric):
    """Share of prompts on which ours scores higher than theirs; a tie counts half. Bootstrap over prompts."""

    description = "Share of prompts on which the first policy scores higher than the second; a tie counts half."
    predictions, references = "scores of our completions", "scores of theirs on the same prompts"

    def _compute(self, predictions, references, prompts=None, seed: int = 0) -> dict:
        """`prompts` names each row's prompt where one has several rows: the interval is then over prompts."""
        wins_B, ties = outcomes(predictions, references)
        wins_P = mean_by(wins_B, prompts) if prompts is not None else wins_B
        return {**_named("win_rate", intervals.bootstrap_mean(wins_P, seed=seed)), "ties": ties}


class LengthControlledWinRate(OfflineMetric):
    """Win rate at equal length, by logistic regression on the difference of lengths. Bootstrap over prompts."""

    description = "The win rate that would be seen at equal length."
    predictions, references = "1 won, 0 lost, 0.5 tied", "length of ours minus length of theirs"
    citation = "Dubois et al., Length-Controlled AlpacaEval, arXiv 2404.04475"

    def _compute(self, predictions, references, seed: int = 0) -> dict:
        return _named("win_rate", length_controlled(predictions, references, seed=seed))


class Perplexity(OfflineMetric):
    """exp(loss per token), the loss over all tokens of all rows. Bootstrap over rows."""

    description = "Exponential of the mean negative log-likelihood per token."
    predictions, references = "sum of negative log-likelihoods of a row, in nats", "number of tokens in that sum"

    def _compute(self, predictions, references, seed: int = 0) -> dict:
        loss = intervals.bootstrap_ratio(predictions, references, seed=seed)
        bounds = {name: math.exp(getattr(loss, name)) for name in ("low", "high")}
        return {
            "perplexity": math.exp(loss.value),
            **bounds,
            "loss": loss.value,
            "loss_low": loss.low,
            "loss_high": loss.high,
            "tokens": int(sum(references)),
        }


def outcomes(ours_B, theirs_B) -> tuple[np.ndarray, int]:
    """1 where ours is higher, 0 where lower, 0.5 where equal, shape (B,); and how many were equal."""
    ours_B, theirs_B = np.asarray(ours_B, dtype=np.float64), np.asarray(theirs_B, dtype=np.float64)
    return 0.5 * (1.0 + np.sign(ours_B - theirs_B)), int((ours_B == theirs_B).sum())


def mean_by(values_B, keys) -> np.ndarray:
    """Mean of the values of each key, in the order in which the keys first appear."""
    groups: dict = {}
    for value, key in zip(values_B, keys, strict=True):
        groups.setdefault(key, []).append(value)
    return np.array([np.mean(group) for group in groups.values()])


def _named(name: str, interval: intervals.Interval) -> dict:
    return {name: interval.value, "low": interval.low, "high": interval.high, "n": interval.n}
