"""Planted near duplicates and leaks with 5, 10 and 20 % of their words changed: what is found, and what is found wrongly.

The campaign prints the table beside other rules on the same rows: datasketch as its documents use it (sets of words, 128
permutations, its default threshold) and at half that bar, datatrove's near duplicates (word 5-grams, 14 bands of 8) and the
n-gram rules of GPT-3 (13, arXiv:2005.14165) and datatrove (12), where one common n-gram is enough.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from data_recipes import near
from data_recipes.decontaminate import Index, Item, overlaps
from data_recipes.dedup import leaders, prepare
from data_recipes.toy import write

REAL = Path(__file__).parents[3] / "shared" / "data" / "alpaca_en_999.json"
RATES = (0.05, 0.10, 0.20)


def edited(rng: random.Random, text: str, rate: float, vocabulary: list[str]) -> str:
    """The text with this share of its words changed, one at least: replaced, left out, or with another put before."""
    words = text.split()
    for place in rng.sample(range(len(words)), max(1, round(rate * len(words)))):
        words[place] = rng.choice((rng.choice(vocabulary), "", f"{rng.choice(vocabulary)} {words[place]}"))
    return " ".join(" ".join(words).split())


def planted(texts: list[str], rate: float, count: int) -> tuple[list[str], dict[int, int]]:
    """Texts with edited copies put in at random places after their originals; copy to original."""
    rng = random.Random(f"{rate}")
    vocabulary = [word for text in texts for word in text.split()]
    originals = rng.sample(range(len(texts)), count)
    copies = [(edited(rng, texts[original], rate, vocabulary), original) for original in originals]
    rng.shuffle(copies)
    return [*texts, *(text for text, _ in copies)], {len(texts) + at: original for at, (_, original) in enumerate(copies)}


def ours(texts: list[str], folder: Path) -> dict[int, set[int]]:
    """What each text is merged into."""
    shingles = [near.shingles(text) for text in texts]
    with prepare(((one, near.signature(one)) for one in shingles), folder) as held:
        found, _ = leaders(held)
    return {at: {int(leader)} for at, leader in enumerate(found) if leader != at}


def by_datasketch(texts: list[str], size: int, **settings) -> dict[int, set[int]]:
    """What each text meets in the index, which holds those before it that met nothing."""
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(**settings), {}
    for at, text in enumerate(texts):
        words = text.split()
        minhash = MinHash(num_perm=index.h)
        minhash.update_batch([" ".join(words[start:start + size]).encode() for start in range(max(1, len(words) - size + 1))])
        if met := index.query(minhash):
            found[at] = set(met)
        else:
            index.insert(at, minhash)
    return found


def figures(found: dict[int, set[int]], copies: dict[int, int]) -> tuple[float, float]:
    """(recall, precision): copies that met their original; of all that met anything, those that are copies of it."""
    right = sum(copies.get(at) in met for at, met in found.items())
    return right / len(copies), right / max(1, len(found))


def any_ngram(texts: list[str], items: list[str], size: int) -> set[int]:
    """Texts that have one n-gram in common with an item."""
    def grams(text: str) -> set[tuple[str, ...]]:
        words = near.words(text)
        return set(zip(*(words[start:] for start in range(size)), strict=False))

    held = set().union(*map(grams, items))
    return {at for at, text in enumerate(texts) if grams(text) & held}


def leaked(texts: list[str], rate: float, count: int) -> tuple[list[str], list[str], set[int]]:
    """Training texts, evaluation items, and the places of texts into whose middle an edited item was put."""
    rng = random.Random(f"leak {rate}")
    items, hosts = texts[:count], list(texts[count:])
    vocabulary = [word for text in texts for word in text.split()]
    places = rng.sample(range(len(hosts)), count)
    for item, place in zip(items, places, strict=True):
        words = hosts[place].split()
        hosts[place] = " ".join([*words[:len(words) // 2], edited(rng, item, rate, vocabulary), *words[len(words) // 2:]])
    return hosts, items, set(places)


def ours_leaked(texts: list[str], items: list[str]) -> set[int]:
    index = Index([Item(str(number), "answer", item) for number, item in enumerate(items)])
    return {at for at, text in enumerate(texts) if overlaps(text, index)}


def share(found: set[int], right: set[int]) -> tuple[float, float]:
    """(recall, precision)."""
    return len(found & right) / len(right), len(found & right) / max(1, len(found))


def unequal(texts: list[str]) -> list[str]:
    """The first of equal texts: the published file has fourteen rows twice, which are no false finds."""
    return list({near.normal(text): text for text in reversed(texts)}.values())[::-1]


def made_texts() -> list[str]:
    """Unrelated texts of 30 to 80 words from a vocabulary of the toy world's size and a long tail."""
    rng = random.Random(0)
    common = [word for row in write.build(0)["demonstrations"][:200] for word in row["messages"][-1]["content"].split()]
    rare = [f"term{number}" for number in range(3000)]

    def word() -> str:
        return rng.choice(common if rng.random() < 0.5 else rare)

    return [" ".join(word() for _ in range(rng.randint(30, 80))) for _ in range(300)]


def test_planted_copies_and_leaks_in_made_texts(tmp_path):
    texts = made_texts()
    for rate in RATES:
        given, copies = planted(texts, rate, 100)
        recall, precision = figures(ours(given, tmp_path / str(rate)), copies)
        assert recall >= 0.95 and precision == 1.0
        hosts, items, places = leaked(texts, rate, 100)
        recall, precision = share(ours_leaked(hosts, items), places)
        assert recall >= 0.95 and precision == 1.0


@pytest.mark.campaign
@pytest.mark.skipif(not REAL.is_file(), reason="the published rows are not here")
def test_planted_copies_and_leaks_in_published_rows(tmp_path):
    rows = json.loads(REAL.read_text(encoding="utf-8"))
    whole = unequal([" ".join(filter(None, (row["instruction"], row["input"], row["output"]))) for row in rows])
    print(f"\nnear duplicates: 400 copies among {len(whole)} rows; recall, precision in %")
    for rate in RATES:
        given, copies = planted(whole, rate, 400)
        arms = {
            "ours": ours(given, tmp_path / str(rate)),
            "datasketch's defaults (words, 0.9)": by_datasketch(given, 1),
            "datasketch (words, 0.5)": by_datasketch(given, 1, threshold=0.5),
            "datatrove's (5-grams, 14 x 8)": by_datasketch(given, 5, num_perm=112, params=(14, 8)),
        }
        found = {name: figures(one, copies) for name, one in arms.items()}
        print(f"{rate:.0%}", *(f"{name} {recall:.1%} {precision:.1%}" for name, (recall, precision) in found.items()), sep="; ")
        assert found["ours"][0] >= (0.99, 0.99, 0.9)[RATES.index(rate)] and found["ours"][1] >= 0.97
    answers = unequal([row["output"] for row in rows])
    print("leaks: 300 answers, each put into another row's; recall, precision in %")
    for least in (1, 12, 30):
        kept = [text for text in answers if len(near.words(text)) >= least]
        for rate in RATES:
            hosts, items, places = leaked(kept, rate, 300)
            arms = {"ours": ours_leaked(hosts, items), "any 13-gram": any_ngram(hosts, items, 13),
                    "any 12-gram": any_ngram(hosts, items, 12), "any 8-gram": any_ngram(hosts, items, 8)}
            found = {name: share(one, places) for name, one in arms.items()}
            said = (f"{name} {recall:.1%} {precision:.1%}" for name, (recall, precision) in found.items())
            print(f"items of {least} words or more, {rate:.0%}", *said, sep="; ")
        assert least == 1 or found["ours"][0] >= 0.9
