"""How new a text is: ROUGE-L against a pool, as in Self-Instruct (arXiv:2212.10560, section 2.2).

The overlap of words bounds ROUGE-L from above (a common subsequence has no word more often than either text), so that
the quadratic subsequence is looked for only where it could matter; the outcome is the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

# Chinese, Japanese and Thai are written without spaces: there each character is taken as a word.
ALONE = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
WORD = re.compile(rf"[{ALONE}]|[^\W_{ALONE}]+")


class Words:
    """Words in any script; rouge-score's own tokenizer knows only a-z, and would call everything else new."""

    def tokenize(self, text: str) -> list[str]:
        """Lower-case words."""
        return WORD.findall(text.casefold())


def rouge_l(one: str, other: str) -> float:
    """ROUGE-L F1 of two texts, by the rouge-score package with our words."""
    return _scorer().score(one, other)["rougeL"].fmeasure


def _scorer():
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=Words())


class Pool:
    """Texts that a new one is compared with."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts: list[str] = []
        self.counts: list[Counter] = []
        self.scorer = _scorer()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Takes a text in."""
        self.texts.append(text)
        self.counts.append(Counter(Words().tokenize(text)))

    def nearest(self, text: str, least: float = 0.0) -> tuple[float, str]:
        """The largest ROUGE-L to a text of the pool, and that text; (0, "") where none reaches `least`."""
        mine, best = Counter(Words().tokenize(text)), (0.0, "")
        for other, words in zip(self.texts, self.counts, strict=True):
            total = mine.total() + words.total()
            bound = 2 * (mine & words).total() / total if total else 0.0
            if bound > best[0] and bound >= least:
                found = self.scorer.score(other, text)["rougeL"].fmeasure
                best = max(best, (found, other)) if found >= least else best
        return best
