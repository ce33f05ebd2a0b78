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
from reward.length_control import extrapolated, length_controlled


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
    """Share of prompts that ours wins, and that share at equal length, by logistic regression on the difference of lengths.

    Intervals are over prompts: Wilson where each was won or lost, so that 40 of 40 is no certainty, else the bootstrap.
    """

    description = "Share of prompts on which the first policy is better than the second; the same at equal length."
    predictions = "share of a prompt's comparisons that ours won: 1 won, 0 lost, 0.5 tied"
    references = "length of ours minus length of theirs on that prompt, in any unit"
    citation = "Dubois et al., Length-Controlled AlpacaEval, arXiv 2404.04475"

    def _compute(self, predictions, references, seed: int = 0) -> dict:
        return {
            "win_rate": intervals.mean_or_share(predictions, seed=seed).as_dict(),
            "length_controlled": length_controlled(predictions, references, seed=seed).as_dict(),
            "length_controlled_extrapolates": extrapolated(references),
        }


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


def _named(name: str, interval: intervals.Interval) -> dict:
    return {name: interval.value, "low": interval.low, "high": interval.high, "n": interval.n}
