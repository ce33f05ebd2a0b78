"""Habits, and the tests that may be looked at after every vote: by hand, at limits, by loops, with false alarms counted."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest

from data_recipes.collect import concerns, quality
from data_recipes.collect.stats_report import report, tables
from tests.data_recipes.collect.made_votes import vote


# ---------------------------------------------------------------------------------------------------------------- habits


def test_sides_and_lengths_are_told_from_the_screen_and_the_texts():
    assert quality.took_left(vote("ana", 1, 2, swapped=True)) is True  # the second was on the left, and won
    assert quality.took_left(vote("ana", 1, 2)) is False
    assert quality.took_left(vote("ana", 1, -2)) is True
    assert quality.took_left(vote("ana", 1, 0)) is None
    assert quality.took_longer(vote("ana", 1, 1, first="ab", second="abc")) is True
    assert quality.took_longer(vote("ana", 1, -1, first="ab", second="abc")) is False
    assert quality.took_longer(vote("ana", 1, 1, first="abc", second="xyz")) is None


def test_gold_items_and_repeats():
    assert quality.gold_right(vote("ana", 1, -3, kind="gold", gold="first"))
    assert not quality.gold_right(vote("ana", 1, 3, kind="gold", gold="first"))
    assert quality.gold_right(vote("ana", 1, 0, kind="gold", gold="tie", verdict="both_good"))
    assert not quality.gold_right(vote("ana", 1, 0, kind="gold", gold="both_bad", verdict="both_good"))
    votes = [vote("ana", 1, 3), vote("ana", 2, -1), vote("ana", 11, 1, kind="repeat", of=1),
             vote("ana", 12, 0, kind="repeat", of=2), vote("ana", 13, 1, kind="repeat", of=3)]  # item 3 has no vote any more
    assert quality.consistent(votes) == [True, False]


def test_habits_by_hand():
    votes = [
        vote("ana", 1, 1, visible_ms=60_000, words=300),
        vote("ana", 2, -1, visible_ms=60_000, words=900),  # too fast
        vote("ana", 3, 0, visible_ms=0, words=900),  # no time was measured
        vote("ana", 4, 1, kind="training", gold="first", visible_ms=3_480_000),
    ]
    found = quality.habits(votes)
    assert found["votes"] == 3 and found["hours"] == pytest.approx(1.0)
    assert (found["left"]["value"], found["left"]["n"]) == (0.5, 2)
    assert found["too_fast"]["value"] == 0.5 and found["words_a_minute"] == 600
    assert found["ties"]["value"] == pytest.approx(1 / 3)
    assert found["gold"] == {"undefined": "no gold items", "n": 0}
    assert found["consistency"]["undefined"] == "no repeats"


def test_what_was_set_aside_is_counted_without_what_was_undone():
    def event(seq, kind, undoes=None, name="ana", list_name="main"):
        return {"seq": seq, "kind": kind, "undoes": undoes, "annotator": name, "list": list_name}

    events = [event(1, "skip"), event(2, "vote"), event(3, "flag"), event(4, "undo", 1), event(5, "skip"), event(6, "undo", 2),
              event(7, "skip", name="model", list_name="round-2")]
    assert quality.set_aside(events) == {"ana": {"skip": 1, "flag": 1}, "model": {"skip": 1}}
    assert quality.set_aside(events, "main")["ana"] == {"skip": 1, "flag": 1}
    found = report([vote("ana", 1, 1), vote("model", 1, 1, role="judge")], quality.set_aside(events))
    assert (found["people"][0]["skipped"], found["people"][0]["flagged"], found["judges"][0]["skipped"]) == (1, 1, 1)


# ------------------------------------------------------------------------------------------------------------- the tests


def test_evidence_by_hand_and_at_its_limits():
    # h = n = 2, p = 1/2: B(3, 1) / (1/4) = 4 / 3
    assert concerns.evidence(2, 2, 0.5) == pytest.approx(4 / 3)
    assert concerns.evidence(0, 0, 0.3) == pytest.approx(1.0)
    assert concerns.evidence(50, 100, 0.5) < 1  # what p explains well is evidence for it
    assert concerns.evidence(100, 100, 0.5) == pytest.approx(2.0**100 / 101)
    assert concerns.evidence(10**6, 10**6, 0.5) > 1e300  # no overflow


def test_evidence_is_that_of_exact_fractions():
    for hits, n, p in ((3, 7, Fraction(1, 2)), (9, 10, Fraction(3, 10)), (0, 6, Fraction(4, 5))):
        beta = Fraction(math.factorial(hits) * math.factorial(n - hits), math.factorial(n + 1))
        assert concerns.evidence(hits, n, float(p)) == pytest.approx(float(beta / (p**hits * (1 - p) ** (n - hits))), rel=1e-12)


def test_evidence_has_mean_one_under_its_share():
    """What makes Ville's inequality hold: sum over all outcomes of P(outcome) E(outcome) = 1."""
    for n, p in ((12, 0.5), (20, 0.3)):
        total = sum(math.comb(n, h) * p**h * (1 - p) ** (n - h) * concerns.evidence(h, n, p) for h in range(n + 1))
        assert total == pytest.approx(1.0, rel=1e-12)


def test_looking_after_each_vote_accuses_at_most_one_in_a_hundred():
    rng, accused = random.Random(0), 0
    for _ in range(1000):
        left = 0
        for n in range(1, 201):
            left += rng.random() < 0.5
            if concerns.evidence(left, n, 0.5) >= concerns.STRONG:
                accused += 1
                break
    assert accused <= 20  # at most 10 are expected; 20 would be four standard deviations


def test_guessing_by_hand_and_at_its_limits():
    # one right and one wrong gold answer: 0.25 / (0.85 * 0.15); one repeat the same: 0.5 / (0.85^2 + 0.15^2)
    assert concerns.guessing([True, False], []) == pytest.approx(0.25 / (0.85 * 0.15))
    assert concerns.guessing([], [True]) == pytest.approx(0.5 / 0.745)
    assert concerns.guessing([], []) == 1.0
    assert concerns.guessing([True] * 20, []) < 1 / 19 < 19 < concerns.guessing([True, False] * 10, [])


def test_guessing_errs_about_as_rarely_as_walds_bounds_say():
    rng = random.Random(1)

    def ends(right: float, same: float) -> str:
        gold, repeats = [], []
        for _ in range(100):
            gold.append(rng.random() < right)
            repeats.append(rng.random() < same)
            ratio = concerns.guessing(gold, repeats)
            if ratio >= 19 or ratio <= 1 / 19:
                return "guesses" if ratio >= 19 else "cares"
        return "open"

    careful = [ends(concerns.CAREFUL, 0.745) for _ in range(500)]
    guessers = [ends(0.5, 0.5) for _ in range(500)]
    assert careful.count("guesses") / 500 <= 0.07 and guessers.count("cares") / 500 <= 0.07


# ---------------------------------------------------------------------------------------------------------- single checks


def careful(name: str, items: int, *, error: float = 0.1, seed: int = 0, swap: int = 0) -> list:
    """Votes of somebody who knows the better answer: the second on even items, which is the longer on every third."""
    rng, votes = random.Random(f"{seed}:{name}"), []
    for item in range(items):
        truth = 1 if item % 2 == 0 else -1
        signed = -truth if rng.random() < error else truth
        texts = ("short", "a longer one") if item % 3 == 0 else ("a longer one", "short")
        votes.append(vote(name, item, signed, swapped=(item // 2 + swap) % 2 == 0, first=texts[0], second=texts[1]))
    return votes


def checks_of(votes: list) -> dict[str, tuple[str, list[str]]]:
    return {name: (said.verdict, [concern.check for concern in said.concerns])
            for name, said in concerns.opinions(votes).items()}


def test_careful_people_are_fine_and_one_alone_is_open():
    votes = [*careful("ana", 60), *careful("ben", 60, swap=1), *careful("cleo", 60)]
    assert checks_of(votes) == {name: ("fine", []) for name in ("ana", "ben", "cleo")}
    assert checks_of(careful("ana", 60)) == {"ana": ("open", [])}


def test_right_preference_is_told_like_left():
    votes = [vote("ana", item, 1 if item % 2 else -1, swapped=item % 2 == 0) for item in range(40)]
    said = concerns.opinions(votes)["ana"]
    assert said.concerns[0].check == "side" and "the right side: 100 % [91, 100] (40 of 40)" in said.concerns[0].text


def test_a_liking_for_short_answers_is_told_and_one_that_all_share_is_not():
    short = [vote("dan", item, -1 if item % 3 == 0 else 1, swapped=item % 2 == 0, first=one.first, second=one.second)
             for item, one in enumerate(careful("ana", 60))]
    votes = [*careful("ana", 60), *careful("ben", 60, swap=1), *short]
    assert "prefers the shorter answer" in " ".join(concern.text for concern in concerns.opinions(votes)["dan"].concerns)
    alike = [vote(name, item, 1, swapped=(item + shift) % 2 == 0, first="short", second="a longer one")
             for shift, name in enumerate(("ana", "ben", "cleo")) for item in range(60)]
    assert checks_of(alike) == {name: ("fine", []) for name in ("ana", "ben", "cleo")}


def test_haste_is_told_only_where_time_was_measured():
    hasty = [vote("ana", item, 1 if item % 2 else -1, visible_ms=500, swapped=item % 4 < 2) for item in range(30)]
    assert checks_of(hasty)["ana"][1] == ["fast"]
    imported = [vote("ana", item, 1 if item % 2 else -1, visible_ms=0, swapped=item % 4 < 2) for item in range(30)]
    assert checks_of(imported)["ana"][1] == []


def test_judges_are_no_people():
    votes = [*careful("ana", 30), *(vote("model", item, -1, role="judge") for item in range(30))]
    assert set(concerns.opinions(votes)) == {"ana"}


# ------------------------------------------------------------------------------------------------------------- the report


def test_the_report_sets_a_judge_beside_the_majority():
    votes = [*careful("ana", 40, error=0), *careful("ben", 40, error=0), *careful("cleo", 40, error=0.5)]
    judge = [vote("model", item, 1 if item % 2 == 0 else -1, role="judge") for item in range(40)]
    found = report([*votes, *judge])
    assert found["judges"][0]["kappa"]["value"] == 1.0 and found["judges"][0]["shared_items"] == 40
    assert found["votes"] == {"normal": 120} and found["judge_votes"] == 40
    assert any(title.startswith("Judges") for title, _, _ in tables(found))


def test_items_chosen_by_a_score_are_told_and_the_random_ones_stand_alone():
    votes = [vote(name, item, 1 if item % 2 else -1, strategy="gap" if item < 10 and name == "ana" else
                  "random" if name == "ana" else "finish") for name in ("ana", "ben") for item in range(30)]
    found = report(votes)
    assert found["chosen"] == {"gap": 10, "random": 20}
    assert found["agreement"]["shared_items"] == 30 and found["agreement_random"]["shared_items"] == 20
    assert "10 items were chosen by a score" in " ".join(found["notes"])


def test_the_report_of_a_single_vote_says_what_is_undefined():
    found = report([vote("ana", 1, 1)])
    cells = [cell for _, _, rows in tables(found) for row in rows for cell in row]
    assert "undefined: no item has two votes" in cells and "undefined: no gold items" in cells
    assert not any("nan" in cell for cell in cells)
    assert "nothing can be said of agreement" in found["notes"][0]
