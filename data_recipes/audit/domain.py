"""How near the rows lie to a sample of the target domain, by words (TF-IDF) or by an embedding model's vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_recipes.audit.excerpts import place
from data_recipes.audit.model import LOOK, Context, Figure, Finding, Row, counted
from data_recipes.audit.registry import check
from data_recipes.intervals import bootstrap_mean

LEAST, NEAREST = 20, 3  # texts of the target, and how many neighbours among them are averaged
OUTER = 0.01  # the quantile of the target's own similarities that is its border
CHUNK = 2048


def _needs(rows: Sequence[Row], context: Context) -> str:
    if not context.target:
        return "a sample of the target domain: --target FILE"
    held = len(context.target)
    return "" if held >= LEAST else f"{LEAST} texts of the target domain or more (there are {held})"


@check("domain", "Fit to the domain", "Domain", needs=_needs,
       mend="cap: {per: source, rows: 1000}; mix, with more weight on the near sources",
       why="Rows far from what the model will be asked cost steps and pull it elsewhere.")
def domain(rows: Sequence[Row], context: Context) -> Finding:
    """Each source's mean similarity to its nearest target texts, the target's own beside it, and the rows beyond its border."""
    texts = [_text(row) for row in rows]
    vectors, target = _vectors(texts, list(context.target), context)
    scores, own = _nearest(vectors, target, skip_self=False), _nearest(target, target, skip_self=True)
    # a target of one mould is nearer to itself than any other text is, hence no more than half its median
    border = float(min(np.quantile(own, OUTER), np.median(own) / 2))
    figures = [Figure("the target itself", bootstrap_mean(own, seed=context.seed), percent=False)]
    for source in dict.fromkeys(row.source for row in rows):
        held = scores[[row.source == source for row in rows]]
        figures.append(Figure(Path(source).name, bootstrap_mean(held, seed=context.seed), float(own.mean()), percent=False))
    far = sorted((float(score), at) for at, score in enumerate(scores) if score < border)
    places = [place(rows[at], f"similarity {score:.2f}") for score, at in far]
    by = "an embedding model's vectors" if context.embed else "the weights of words (TF-IDF)"
    text = (f"Mean cosine to the {NEAREST} nearest of {len(context.target):,} target texts, by {by}. Outliers lie below "
            f"{border:.2f}, as fewer than one in a hundred target texts do among themselves; the farthest come first.")
    return counted("domain", "Fit to the domain", text, places, len(rows), level=LOOK, figures=tuple(figures))


def _text(row: Row) -> str:
    return " ".join(filter(None, (row.prompt, *row.answers.values())))


def _vectors(texts: list[str], target: list[str], context: Context):
    """Rows and target as vectors of length 1, (N, D) and (M, D); sparse for words."""
    if context.embed is not None:
        found = np.asarray(context.embed(texts + target), np.float64)
        found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return found[:len(texts)], found[len(texts):]
    from sklearn.feature_extraction.text import TfidfVectorizer

    # the target's words alone: a row of none of them has similarity 0, however large its own vocabulary
    made = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)[^\W\d_]{2,}", stop_words="english").fit(target)
    return made.transform(texts), made.transform(target)


def _nearest(vectors, target, skip_self: bool) -> np.ndarray:
    """Mean cosine to the nearest NEAREST target texts, (N,); with `skip_self` a text is no neighbour of itself."""
    found = []
    for start in range(0, vectors.shape[0], CHUNK):
        cosines = vectors[start:start + CHUNK] @ target.T
        cosines = np.asarray(cosines.todense() if hasattr(cosines, "todense") else cosines)
        if skip_self:
            cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -1.0
        found.append(np.sort(cosines, axis=1)[:, -NEAREST:].mean(axis=1))
    return np.concatenate(found)
