"""The figures of a classifier on held-out rows, each with an interval and the trivial guess beside it. Only numpy.

The unit that is drawn again is the row (the sentence, where words are labelled). An `Answered` is what a model said to rows
whose labels are known; `measured` makes of it what the manifest, the page and the terminal show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_recipes import intervals
from data_recipes.intervals import Interval
from data_recipes.labels import Problem
from reward import calibration
from reward import classification as rates
from reward.entities import from_spans, span_counts, span_types

BINS = 15  # of confidence, as Guo et al. 2017 have them
MAIN = {"single": "macro_f1", "multi": "macro_f1", "regression": "spearman", "BIO": "entity_f1", "plain": "macro_f1"}
LOWER_IS_BETTER = ("loss", "rmse", "mae", "ece")
Statistic = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Answered:
    """Rows, and what was said to them.

    truth: places (N,), labels that hold (N, L) or numbers (N,). logits: (N, C), (N, L), or the numbers said (N,).
    unit: for words, which sentence each belongs to, (N,); else None: each row stands for itself.
    """

    problem: Problem
    truth: np.ndarray
    logits: np.ndarray
    unit: np.ndarray | None = None

    @property
    def units(self) -> int:
        """How many rows (or sentences) there are."""
        return len(self.truth) if self.unit is None else int(self.unit.max()) + 1

    @property
    def guess(self) -> np.ndarray:
        """What was said: a place, labels that hold, or a number."""
        if self.problem.task == "regression":
            return self.logits
        return self.logits > 0 if self.problem.task == "multi" else self.logits.argmax(-1)

    def part(self, units_U) -> Answered:
        """The rows of some units (true or false for each), numbered anew."""
        units_U = np.asarray(units_U, dtype=bool)
        chosen = units_U if self.unit is None else units_U[self.unit]
        unit = None if self.unit is None else (np.cumsum(units_U) - 1)[self.unit[chosen]]
        return replace(self, truth=self.truth[chosen], logits=self.logits[chosen], unit=unit)

    def scaled(self, temperature: float) -> Answered:
        """The same answers with calibrated logits."""
        return replace(self, logits=self.logits / temperature)


def main_figure(problem: Problem) -> str:
    """What one looks at first, and what decides which weights are kept."""
    return MAIN[problem.scheme or problem.task]


def probabilities(problem: Problem, logits) -> np.ndarray:
    """softmax over classes, or a sigmoid for each label, float64."""
    logits = np.asarray(logits, dtype=np.float64)
    if problem.task == "multi":
        return calibration.sigmoid(logits)
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


# --------------------------------------------------------------------------------------------------------------- figures


def statistic(answered: Answered) -> Statistic:
    """All figures as a function of how often each unit counts, (..., U)."""
    made = {"single": _single, "multi": _multi, "regression": _regression, "token": _token}
    return made[answered.problem.task](answered)


def figures(answered: Answered) -> dict[str, float]:
    """The figures alone: what an evaluation in the midst of training logs."""
    return {name: float(value) for name, value in statistic(answered)(np.ones(answered.units)).items()}


def with_intervals(answered: Answered, *, seed: int = 0) -> dict[str, dict]:
    """The figures with their intervals: Wilson where each row is right or wrong, else the bootstrap over units."""
    found = bootstrapped(statistic(answered), answered.units, seed=seed)
    if answered.problem.task in ("single", "multi"):
        right_N = answered.guess == answered.truth
        right_N = right_N if right_N.ndim == 1 else right_N.all(-1)
        found["accuracy"] = intervals.wilson(float(right_N.sum()), len(right_N))
    return {name: jsonable(interval) for name, interval in found.items()}


def bootstrapped(of_weights: Statistic, units: int, *, seed: int = 0) -> dict[str, Interval]:
    """Percentile bootstrap of several figures at once, all from the same draws."""
    values = of_weights(np.ones(units))

    def of_draws(draw_RU: np.ndarray) -> np.ndarray:
        draws = len(draw_RU)
        places = draw_RU + units * np.arange(draws)[:, None]
        counts_RU = np.bincount(places.ravel(), minlength=draws * units).reshape(draws, units)
        found = of_weights(counts_RU.astype(np.float64))
        return np.stack([found[name] for name in values], -1)

    drawn_RK = intervals.drawn_statistics(of_draws, units, seed)
    level = intervals.LEVEL
    held = np.where(np.isnan(drawn_RK).all(0), 0.0, drawn_RK)  # a figure that no draw has
    low, high = np.nanquantile(held, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {name: Interval(float(values[name]), float(low[k]), float(high[k]), units) for k, name in enumerate(values)}


def jsonable(interval: Interval) -> dict:
    """An interval as JSON; what is no number (a correlation with a constant) is null."""
    if not np.isfinite(interval.value):
        return {"value": None, "low": None, "high": None, "n": interval.n}
    return {key: value for key, value in interval.as_dict().items() if key != "level"}


def _single(answered: Answered) -> Statistic:
    classes = len(answered.problem.names)
    counts_NC3 = rates.class_counts(answered.truth, answered.guess, classes)
    scores_NC, truth_NC = probabilities(answered.problem, answered.logits), np.eye(classes, dtype=bool)[answered.truth]

    def of(weights) -> dict:
        area = {"auroc": rates.mean_auroc(scores_NC, truth_NC, weights)}
        return {**rates.single_figures(_summed(weights, counts_NC3)), **area}

    return of


def _multi(answered: Answered) -> Statistic:
    counts_NL3 = rates.label_counts(answered.truth, answered.guess)
    whole_N = (answered.truth == answered.guess).all(-1).astype(np.float64)

    def of(weights) -> dict:
        return {
            "accuracy": weights @ whole_N / weights.sum(-1),
            **rates.multi_figures(_summed(weights, counts_NL3), len(counts_NL3)),
            "auroc": rates.mean_auroc(answered.logits, answered.truth, weights),
        }

    return of


def _regression(answered: Answered) -> Statistic:
    return lambda weights: rates.regression_figures(answered.truth, answered.logits, weights)


def _token(answered: Answered) -> Statistic:
    classes, names = len(answered.problem.names), answered.problem.names
    words_UC3 = _by_unit(rates.class_counts(answered.truth, answered.guess, classes), answered)
    spans_UT3 = None
    if answered.problem.scheme == "BIO":
        truth, guess = (_sentences(places_N, answered, names) for places_N in (answered.truth, answered.guess))
        spans_UT3 = span_counts(truth, guess, span_types(names))

    def of(weights) -> dict:
        found = rates.single_figures(_summed(weights, words_UC3))
        if spans_UT3 is None:
            return found
        return {**from_spans(_summed(weights, spans_UT3)), "accuracy": found["accuracy"]}

    return of


def _summed(weights, counts_UK3) -> np.ndarray:
    """Sums over units, (..., K, 3)."""
    return (weights @ counts_UK3.reshape(len(counts_UK3), -1)).reshape(*weights.shape[:-1], *counts_UK3.shape[1:])


def _by_unit(values_N, answered: Answered) -> np.ndarray:
    """Sums of rows of values within each unit."""
    if answered.unit is None:
        return values_N
    summed = np.zeros((answered.units, *values_N.shape[1:]))
    np.add.at(summed, answered.unit, values_N)
    return summed


def _sentences(places_N, answered: Answered, names: Sequence[str]) -> list[list[str]]:
    sentences: list[list[str]] = [[] for _ in range(answered.units)]
    for unit, place in zip(answered.unit.tolist(), places_N.tolist(), strict=True):
        sentences[unit].append(names[place])
    return sentences


# ------------------------------------------------------------------------------------------------------------ calibration


def confidence(answered: Answered) -> tuple[np.ndarray, np.ndarray, float]:
    """How sure each answer is, whether it is right, both (M,), and the least that one can be sure (of several labels 0.5)."""
    shares = probabilities(answered.problem, answered.logits)
    if answered.problem.task == "multi":
        return np.maximum(shares, 1 - shares).ravel(), (answered.guess == answered.truth).ravel(), 0.5
    return shares.max(-1), answered.guess == answered.truth, 0.0


def temperature_of(answered: Answered) -> float:
    """The temperature that makes the answers' log loss least; a label that holds or not is a choice between 0 and z.

    1 where there is none within bounds: of rows that are all answered rightly no temperature is low enough.
    """
    logits, truth = answered.logits, answered.truth
    if answered.problem.task == "multi":
        logits = np.stack([np.zeros(logits.size), logits.ravel()], -1)
        truth = truth.ravel().astype(np.int64)
    found = calibration.fit_temperature(logits, truth)
    within = 1 / calibration.LARGEST_TEMPERATURE < 0.99 * found < 0.98 * calibration.LARGEST_TEMPERATURE
    return found if within else 1.0


def calibrated(answered: Answered, *, seed: int = 0) -> dict:
    """The temperature, and the calibration error before and after.

    The error after is cross-fitted: each half of the rows is scaled by the temperature of the other half, so that no row is
    judged by a figure that it helped to choose. The temperature that is kept is that of all rows.
    """
    halves = np.random.default_rng(seed).permutation(answered.units) % 2 == 0
    parts = [answered.part(halves), answered.part(~halves)]
    after = answered
    if min(len(part.truth) for part in parts):
        first, second = parts[0].scaled(temperature_of(parts[1])), parts[1].scaled(temperature_of(parts[0]))
        after = _joined(answered, first, second, halves)
    return {
        "temperature": temperature_of(answered),
        "ece_before": jsonable(_ece(answered, seed)),
        "ece_after": jsonable(_ece(after, seed)),
        "reliability_before": _reliability(answered),
        "reliability_after": _reliability(after),
    }


def _joined(answered: Answered, first: Answered, second: Answered, halves) -> Answered:
    chosen = halves if answered.unit is None else halves[answered.unit]
    logits = np.empty_like(answered.logits)
    logits[chosen], logits[~chosen] = first.logits, second.logits
    return replace(answered, logits=logits)


def _ece(answered: Answered, seed: int) -> Interval:
    sure_M, right_M, lowest = confidence(answered)
    gaps_Mb = calibration.calibration_gaps(sure_M, right_M, bins=BINS, lowest=lowest)
    each = len(sure_M) // len(answered.truth)  # labels a row
    gaps_Ub = _by_unit(gaps_Mb.reshape(-1, each, BINS).sum(1), answered)
    count_U = _by_unit(np.full((len(answered.truth), 1), float(each)), answered)[:, 0]

    def of(weights) -> dict:
        return {"ece": np.abs(weights @ gaps_Ub).sum(-1) / (weights @ count_U)}

    return bootstrapped(of, answered.units, seed=seed)["ece"]


def _reliability(answered: Answered) -> list[dict]:
    sure_M, right_M, lowest = confidence(answered)
    return calibration.reliability(sure_M, right_M, bins=BINS, lowest=lowest)


# ------------------------------------------------------------------------------------------------ the trivial guess, groups


def trivial(answered: Answered, train_truth) -> tuple[str, Answered]:
    """What knows nothing of the text says: the commonest class, the labels that mostly hold, or the mean of the training rows.

    train_truth: as `Answered.truth`, of the training rows.
    """
    problem, train_truth = answered.problem, np.asarray(train_truth)
    if problem.task == "regression":
        mean = float(train_truth.mean())
        return f"always {mean:.4g}, the mean", replace(answered, logits=np.full(len(answered.truth), mean))
    if problem.task == "multi":
        said = np.where(train_truth.mean(0) > 0.5, 1.0, -1.0)
        held = [name for name, logit in zip(problem.names, said, strict=True) if logit > 0]
        return f"always {', '.join(held) or 'no label'}", replace(answered, logits=np.tile(said, (len(answered.truth), 1)))
    place = int(np.bincount(train_truth, minlength=len(problem.names)).argmax())
    logits = np.tile(np.eye(len(problem.names))[place], (len(answered.truth), 1))
    return f"always {problem.names[place]}, the commonest", replace(answered, logits=logits)


def by_group(answered: Answered, groups: Sequence[str | None], *, seed: int = 0) -> list[dict]:
    """The rates of each group of rows: how often right (or how far off), and how often each class is called, with intervals.

    groups: of each unit; None leaves a row out.
    """
    found = []
    for group in sorted({group for group in groups if group is not None}):
        part = answered.part([one == group for one in groups])
        found.append({"group": group, "rows": part.units, **_rates(part, seed)})
    return found


def _rates(part: Answered, seed: int) -> dict:
    if part.problem.task == "regression":
        error_N = part.logits - part.truth
        return {
            "mean error": jsonable(intervals.bootstrap_mean(error_N, seed=seed)),
            "mae": jsonable(intervals.bootstrap_mean(np.abs(error_N), seed=seed)),
        }
    if part.problem.task == "token":
        return {main_figure(part.problem): with_intervals(part, seed=seed)[main_figure(part.problem)]}
    names, multi = part.problem.names, part.problem.task == "multi"
    called_NC = part.guess if multi else np.eye(len(names), dtype=bool)[part.guess]
    right_N = (part.guess == part.truth).all(-1) if multi else part.guess == part.truth
    shares = {"accuracy": right_N, **{f"called {name}": called_NC[:, c] for c, name in enumerate(names)}}
    return {name: jsonable(intervals.wilson(float(held_N.sum()), len(held_N))) for name, held_N in shares.items()}


# --------------------------------------------------------------------------------------------------------- all in one table


def measured(answered: Answered, train_truth, *, groups: Sequence[str | None] = (), seed: int = 0) -> dict:
    """All that is known of a classifier on held-out rows, as JSON."""
    words, said_anyway = trivial(answered, train_truth)
    found = {
        "rows": answered.units,
        "main": main_figure(answered.problem),
        "figures": with_intervals(answered, seed=seed),
        "baseline": {"says": words, "figures": with_intervals(said_anyway, seed=seed)},
    }
    if answered.problem.task != "regression":
        found["calibration"] = calibrated(answered, seed=seed)
    if answered.problem.task in ("single", "token"):
        found["confusion"] = rates.confusion(answered.truth, answered.guess, len(answered.problem.names)).tolist()
    if any(group is not None for group in groups):
        found["groups"] = by_group(answered, groups, seed=seed)
    return found
