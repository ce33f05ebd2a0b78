"""The index on the disk says what the one in memory says."""

from __future__ import annotations

import random

import numpy as np
import pytest

from data_recipes import dedup, near
from data_recipes.dedup import Groups, leaders, linked, prepare_texts


def texts(seed: int, families: int = 12, members: int = 6) -> list[str]:
    """Families of texts that differ in a few words each, shuffled; some equal, some empty of words."""
    rng = random.Random(seed)
    words = [f"w{number}" for number in range(400)]
    made = ["!!", "!!", "one", "one"]
    for _ in range(families):
        base = rng.choices(words, k=rng.randint(5, 60))
        for _ in range(members):
            copy = list(base)
            for place in rng.sample(range(len(copy)), rng.randint(0, len(copy) // 3)):
                copy[place] = rng.choice(words)
            made.append(" ".join(copy))
    rng.shuffle(made)
    return made


def assigned(given: list[str]) -> list[dedup.Cluster]:
    """What `clusters` has to give, with the groups of one, by an index in memory: datasketch's, whose bands are the same."""
    index, by_text, found = near.Index(), {}, {}
    for at, text in enumerate(given):
        key = near.normal(text)
        if key not in by_text:
            by_text[key] = next(iter(index.near(text)), (at, 1.0))
            if by_text[key][0] == at:
                index.add(at, text)
        leader, score = by_text[key]
        found.setdefault(leader, []).append((at, score))
    return [dedup.Cluster(*map(tuple, zip(*members, strict=True))) for members in found.values()]


def near_pairs(given: list[str]) -> list[tuple[int, int]]:
    """Every pair (earlier, later) of near texts."""
    index, found = near.Index(), []
    for at, text in enumerate(given):
        found += [(other, at) for other, _ in index.near(text)]
        index.add(at, text)
    return found


def on_disk(given: list[str], folder):
    return prepare_texts(given, folder)


@pytest.mark.parametrize("seed", range(3))
def test_leaders_and_links_are_those_of_memory(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(dedup, "CHUNK", 10)  # several chunks, as with many texts
    given = texts(seed)
    with on_disk(given, tmp_path / "one") as held:
        found, score = leaders(held)
    for cluster in assigned(given):
        for member, similarity in zip(cluster.members, cluster.similarities, strict=True):
            assert found[member] == cluster.members[0] and score[member] == pytest.approx(similarity)
    wanted, made = [one for one in assigned(given) if len(one.members) > 1], dedup.clusters(given)
    assert [one.members for one in made] == [one.members for one in wanted]
    groups = Groups(len(given))
    for one, other in near_pairs(given):
        groups.join(one, other)
    with on_disk(given, tmp_path / "two") as held:
        assert linked(held).tolist() == groups.first().tolist()
    assert not list(tmp_path.iterdir())


def test_a_set_that_leads(tmp_path):
    given = texts(0)
    with on_disk([given[0], given[0], *given], tmp_path / "x") as held:
        found, _ = leaders(held, leading=2)
    assert found[:2].tolist() == [0, 1] and found[2] in (0, 1)


def test_what_is_looked_at_is_bounded_and_still_finds_the_near(tmp_path, monkeypatch):
    """In a family of one template, larger than what is gathered for one text, a copy is still found."""
    monkeypatch.setattr(dedup, "GATHERED", 40)
    monkeypatch.setattr(dedup, "MOST", 10)
    rng = random.Random(0)
    frame = "please tell me where my order is and when it will come to the town of my aunt"
    family = [f"{frame} {' '.join(str(rng.random())[2:12] for _ in range(30))}" for _ in range(200)]
    copies = [text + " thanks" for text in family[:50]]
    with on_disk([*family, *copies], tmp_path / "x") as held:
        found, _ = leaders(held, 0.7)
    assert (found[200:] == np.arange(50)).mean() >= 0.95


def test_union_find_by_hand():
    groups = Groups(6)
    groups.join(4, 2)
    groups.join(2, 5)
    groups.join_equal(np.array([1, 1, 7, 8, 9, 8]))
    assert groups.first().tolist() == [0, 0, 2, 2, 2, 2]
