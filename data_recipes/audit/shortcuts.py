"""Whether the better answer can be told without reading the question: by its length, its words alone, its layout.

A reward model that is trained on such pairs learns the shortcut first, and a policy then exploits it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_recipes.audit.judged import Pair, auc, folds, needs_judged, pairs, rate, verdicts, win_rate
from data_recipes.audit.model import CLEAN, LOOK, Bars, Context, Figure, Finding, Row
from data_recipes.audit.registry import check
from data_recipes.intervals import Interval
from data_recipes.style import EMOJI, FORMATS

SECTION = "Preference shortcuts"
NOTABLE = 0.05  # a rate is a shortcut where its whole interval is farther than this from a coin's 0.5
FEATURES, TERMS = 20_000, 12

STYLES: dict[str, Callable[[str], float]] = {
    "list items": lambda text: len(FORMATS["lists"].findall(text)),
    "headings": lambda text: len(FORMATS["headings"].findall(text)),
    "bold": lambda text: text.count("**") // 2,
    "code": lambda text: text.count("```"),
    "paragraphs": lambda text: len(re.findall(r"\n\s*\n", text)),
    "exclamation marks": lambda text: text.count("!"),
    "question marks": lambda text: text.count("?"),
    "emoji": lambda text: len(EMOJI.findall(text)),
    "digits": lambda text: sum(sign.isdigit() for sign in text),
    "first person": lambda text: len(re.findall(r"\bI\b", text)),
}


@check("longer-wins", "The longer answer wins", SECTION, needs=needs_judged,
       mend="cap: {per: source, rows: 1000}; more pairs whose better answer is the shorter",
       why="Length is the best known shortcut: a policy trained on it grows longer, not better (arXiv:2310.03716).")
def longer_wins(rows: Sequence[Row], context: Context) -> Finding:
    """How often the answer of more words is the better one; ties are left out."""
    found = rate(rows, lambda text: len(text.split()), context.seed)
    if found is None:
        return Finding("longer-wins", "The longer answer wins", CLEAN, "All answers are equally long.")
    of_pairs = bool(pairs(rows))
    what = "So often, where two answers differ in words, the longer one is the better." if of_pairs else (
        "The chance that a good answer has more words than a bad one.")
    figure = Figure("longer is better", found, 0.5, marked=_level(found) == LOOK)
    return Finding("longer-wins", "The longer answer wins", _level(found), f"{what} Chance is 50 %.", total=found.n,
                   unit="pairs" if of_pairs else "answers", figures=(figure,), measure=found)


@check("answer-classifier", "A classifier that sees no question", SECTION, needs=needs_judged,
       mend="filter: {quality: [refusal]}, or whatever the words below point to",
       why="What tells the better answer without its question is a tell: a source's phrases, a model's name, a refusal.")
def answer_classifier(rows: Sequence[Row], context: Context) -> Finding:
    """Accuracy of a linear classifier on words of the answer alone, cross-validated by prompt; and the words it goes by."""
    judged = _Paired(pairs(rows)) if pairs(rows) else _Single(verdicts(rows))
    scores = np.zeros(len(judged.prompts))
    for train, test in folds(judged.prompts):
        if len(train) and len(test):
            scores[test] = judged.fitted(train).score(test)
    found = judged.interval(scores, context.seed)
    terms = _terms(judged.names, judged.fitted(np.arange(len(judged.prompts))).weights)
    text = f"{judged.what} Chance is 50 %. Five folds, a prompt in one fold only."
    figure = Figure("told by the answer's words alone", found, 0.5, marked=_level(found) == LOOK)
    return Finding("answer-classifier", "A classifier that sees no question", _level(found), text, total=found.n,
                   unit=judged.unit, figures=(figure,), bars=terms, measure=found)


@check("style", "Layout and manner", SECTION, needs=needs_judged,
       mend="style: {guide: [FILE]}; rewrite both answers in one layout",
       why="Judges prefer lists and bold; a policy then writes lists and bold (arXiv:2409.11704).")
def style(rows: Sequence[Row], context: Context) -> Finding:
    """For each count of a feature: how often the answer that has more of it is the better one."""
    rates = {name: rate(rows, measure, context.seed) for name, measure in STYLES.items()}
    known = {name: found for name, found in rates.items() if found is not None}
    figures = tuple(Figure(f"more {name}", found, 0.5, marked=_level(found) == LOOK) for name, found in known.items())
    marked = [name for name, found in known.items() if _level(found) == LOOK]
    rare = [name for name in rates if name not in known]
    text = f"Tell the better answer: {', '.join(marked)}." if marked else "No feature tells the better answer."
    text += f" Too rare to say: {', '.join(rare)}." if rare else ""
    return Finding("style", "Layout and manner", LOOK if marked else CLEAN, text, len(marked), len(known), "features",
                   figures=figures)


def _level(found: Interval) -> str:
    return LOOK if found.low > 0.5 + NOTABLE or found.high < 0.5 - NOTABLE else CLEAN


@dataclass
class _Fitted:
    """A linear model: its weights, one a word, and the scores it gives to positions."""

    weights: np.ndarray
    score: Callable[[np.ndarray], np.ndarray]


class _Paired:
    """Comparisons: a logistic model on the difference of both answers' words, without an intercept."""

    what, unit = "So many pairs are told right by the words of the answers alone.", "pairs"

    def __init__(self, found: list[Pair]) -> None:
        self.names, words = _words([pair.chosen for pair in found] + [pair.rejected for pair in found])
        self.difference = words[:len(found)] - words[len(found):]
        self.prompts = [pair.prompt for pair in found]

    def fitted(self, train: np.ndarray) -> _Fitted:
        """Both orders of each pair are shown, so that the model cannot learn which side comes first."""
        from scipy.sparse import vstack

        shown = vstack([self.difference[train], -self.difference[train]])
        weights = _logistic(intercept=False).fit(shown, np.repeat([1, 0], len(train))).coef_[0]
        return _Fitted(weights, lambda test: self.difference[test] @ weights)

    def interval(self, scores: np.ndarray, seed: int) -> Interval:
        """Accuracy; a score of nothing is half right."""
        return win_rate(list((scores > 0) + 0.5 * (scores == 0)), self.prompts, seed)


class _Single:
    """Verdicts: a logistic model on the words of one answer."""

    what, unit = "The chance that a good answer scores above a bad one by its words alone.", "answers"

    def __init__(self, rows: list[Row]) -> None:
        self.names, self.found = _words([next(iter(row.answers.values())) for row in rows])
        self.good = np.array([bool(row.label) for row in rows])
        self.prompts = [row.prompt_key for row in rows]

    def fitted(self, train: np.ndarray) -> _Fitted:
        """Fits on these positions; where they have one verdict alone, every score is 0."""
        if len(set(self.good[train])) < 2:
            return _Fitted(np.zeros(len(self.names)), lambda test: np.zeros(len(test)))
        model = _logistic(intercept=True).fit(self.found[train], self.good[train])
        return _Fitted(model.coef_[0], lambda test: model.decision_function(self.found[test]))

    def interval(self, scores: np.ndarray, seed: int) -> Interval:
        """The area under the curve."""
        return auc(scores, self.good, seed)


def _terms(names: np.ndarray, weights: np.ndarray) -> tuple[Bars, ...]:
    """The words that weigh most on either side, with their weights."""
    order = np.argsort(-weights, kind="stable")
    sides = (("words of better answers", order[:TERMS]), ("words of worse answers", order[::-1][:TERMS]))
    return tuple(Bars(title, tuple((str(names[at]), round(abs(float(weights[at])), 3)) for at in places))
                 for title, places in sides)


def _words(texts: list[str]) -> tuple[np.ndarray, Any]:
    """Names of words and word pairs, and their weights in each text; no label is seen, so all texts are taken at once."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    # signs count as words: a source's "**Answer:**" is a tell that letters alone would miss
    least = 2 if len(texts) > 50 else 1
    made = TfidfVectorizer(ngram_range=(1, 2), min_df=least, max_features=FEATURES, sublinear_tf=True,
                           token_pattern=r"[^\W_]+(?:['’][^\W_]+)?|[^\w\s]")
    found = made.fit_transform(texts)
    return made.get_feature_names_out(), found


def _logistic(intercept: bool):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=1.0, fit_intercept=intercept, max_iter=500, solver="liblinear", random_state=0)
