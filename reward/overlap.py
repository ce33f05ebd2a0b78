"""Overlap of answers with reference answers: ROUGE-1, -2 and -L, exact match and BLEU, offline and without other packages.

The words of ROUGE are those of any script, lower-cased; on plain English text the figures are those of the rouge-score
package without stemming. BLEU is sacrebleu's own (13a words, exponential smoothing, one reference): tests compare both.
Only numpy.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_recipes.augment.novelty import Words
from data_recipes.intervals import Interval, bootstrap, mean_or_share, paired_difference

ORDERS = 4  # n-grams of BLEU
BY_ROW = ("rouge1", "rouge2", "rougeL", "exact")
NAMES = (*BY_ROW, "bleu")
# the 13a words of the NIST script mteval-v13a.pl, as sacrebleu cuts them (Post 2018, arXiv 1804.08771)
ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
CUTS = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


@dataclass(frozen=True)
class Overlaps:
    """Of P rows the means over a row's answers, {name: (P,)} from 0 to 1, and BLEU's counts, (P, 2 * ORDERS + 2).

    The counts are matched n-grams by order, all n-grams of the answers by order, and the words of answers and references.
    """

    rows: dict[str, np.ndarray]
    counts_PK: np.ndarray


def overlaps(answers: Sequence[Sequence[str]], references: Sequence[str]) -> Overlaps:
    """Measures P rows, each with one answer or more (seeds, samples), against one reference each."""
    assert len(answers) == len(references), (len(answers), len(references))
    rows = {name: [] for name in BY_ROW}
    for said, reference in zip(answers, references, strict=True):
        found = [row_figures(text, reference) for text in said]
        for name in BY_ROW:
            rows[name].append(np.mean([one[name] for one in found]))
    counts = [sum(bleu_counts(text, right) for text in said) for said, right in zip(answers, references, strict=True)]
    return Overlaps({name: np.array(values) for name, values in rows.items()}, np.array(counts))


def row_figures(answer: str, reference: str) -> dict[str, float]:
    """ROUGE F1 by name, and whether the two texts are the same up to blanks."""
    ours, theirs = Words().tokenize(answer), Words().tokenize(reference)
    return {
        "rouge1": rouge_n(ours, theirs, 1),
        "rouge2": rouge_n(ours, theirs, 2),
        "rougeL": f1(longest_common(ours, theirs), len(ours), len(theirs)),
        "exact": float(answer.split() == reference.split()),
    }


def f1(shared: int, ours: int, theirs: int) -> float:
    """Harmonic mean of shared/ours and shared/theirs, which is 2 shared / (ours + theirs); 0 where nothing is shared."""
    return 2 * shared / (ours + theirs) if shared else 0.0


def rouge_n(ours: Sequence[str], theirs: Sequence[str], n: int) -> float:
    """F1 of shared n-grams, each counted as often as it stands in both (Lin 2004, equation 1)."""
    one, other = grams(ours, n), grams(theirs, n)
    return f1((one & other).total(), one.total(), other.total())


def grams(words: Sequence[str], n: int) -> Counter:
    """How often each n-gram occurs."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, a whole row of the table in the bits of one number.

    Hyyrö, Bit-parallel LCS-length computation revisited (2004), figure 4: V <- (V + (V & M)) | (V & ~M), the zeros counted.
    """
    places: dict[str, int] = {}
    for at, word in enumerate(one):
        places[word] = places.get(word, 0) | 1 << at
    full = row = (1 << len(one)) - 1
    for word in other:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(one) - row.bit_count()


# ---------------------------------------------------------------------------------------------------------------- BLEU


def words_13a(text: str) -> list[str]:
    """Words and marks as BLEU counts them."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for written, meant in ENTITIES:
        text = text.replace(written, meant)
    text = f" {text} "
    for pattern, cut in CUTS:
        text = pattern.sub(cut, text)
    return text.split()


def bleu_counts(answer: str, reference: str) -> np.ndarray:
    """One answer's counts, shape (2 * ORDERS + 2,), as in `Overlaps`; counts of several rows add up."""
    ours, theirs = words_13a(answer), words_13a(reference)
    found = [grams(ours, n) for n in range(1, ORDERS + 1)]
    matched = [(found[n - 1] & grams(theirs, n)).total() for n in range(1, ORDERS + 1)]
    return np.array([*matched, *(one.total() for one in found), len(ours), len(theirs)], dtype=np.float64)


def bleu(counts_RK: np.ndarray) -> np.ndarray:
    """BLEU (0 to 100) of summed counts, shape (R,).

    min(1, exp(1 - r/c)) * exp(mean_n log p_n) (Papineni et al. 2002, section 2.3). The k-th order without a match counts as
    2^-k matches (Chen and Cherry 2014, method 3); an order of which there is no n-gram at all makes it 0.
    """
    assert counts_RK.ndim == 2 and counts_RK.shape[1] == 2 * ORDERS + 2, counts_RK.shape
    matched, total = counts_RK[:, :ORDERS], counts_RK[:, ORDERS : 2 * ORDERS]
    ours, theirs = counts_RK[:, -2], counts_RK[:, -1]
    smoothed = np.where(matched == 0, 0.5 ** np.cumsum(matched == 0, axis=1), matched)
    with np.errstate(divide="ignore", invalid="ignore"):  # where there is nothing to count, which is set to 0 below
        precision = np.exp(np.log(smoothed / total).mean(axis=1))
        scores = 100 * precision * np.exp(np.minimum(0.0, 1 - theirs / ours))
    counted = (matched.sum(axis=1) > 0) & (total > 0).all(axis=1)
    return np.where(counted, scores, 0.0)


# ----------------------------------------------------------------------------------------------------------- intervals


def describe(found: Overlaps, first: Overlaps | None = None, *, seed: int = 0) -> dict[str, dict]:
    """Each figure with its interval over rows; with `first`, the paired difference to it under `difference`."""
    described = {name: _row_entry(name, found, first, seed) for name in BY_ROW}
    entry = bleu_interval(found.counts_PK, None, seed=seed).as_dict()
    if first is not None:
        entry["difference"] = bleu_interval(found.counts_PK, first.counts_PK, seed=seed).as_dict()
    return {**described, "bleu": entry}


def _row_entry(name: str, found: Overlaps, first: Overlaps | None, seed: int) -> dict:
    entry = mean_or_share(found.rows[name], seed=seed).as_dict()
    if first is not None:
        entry["difference"] = paired_difference(found.rows[name], first.rows[name], seed=seed).as_dict()
    return entry


def bleu_interval(counts_PK: np.ndarray, first_PK: np.ndarray | None, *, seed: int = 0) -> Interval:
    """Percentile bootstrap of the corpus's BLEU over rows, or of its difference to another's on the same rows.

    Koehn 2004 (Statistical significance tests for machine translation evaluation), with the rows drawn for both at once.
    """

    def of(draw_RP: np.ndarray) -> np.ndarray:
        drawn = bleu(counts_PK[draw_RP].sum(axis=1))
        return drawn if first_PK is None else drawn - bleu(first_PK[draw_RP].sum(axis=1))

    everything = np.arange(len(counts_PK))[None]
    return bootstrap(lambda: of(everything)[0], of, len(counts_PK), seed)
