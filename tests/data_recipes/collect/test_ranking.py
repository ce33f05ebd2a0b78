"""Bradley-Terry with ties: choix, arithmetic by hand, limits, a loop in plain Python, the graph, the bootstrap."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from data_recipes.collect import davidson, ranking
from data_recipes.collect.davidson import Battles
from data_recipes.collect.rank_report import notes, tables
from data_recipes.errors import Failed, Refused
from tests.data_recipes.collect.made_votes import vote


def battles(first, second, outcome, *, length=None, names="abcdefgh") -> Battles:
    first_V, second_V, outcome_V = np.array(first), np.array(second), np.array(outcome, dtype=float)
    runs = max(first_V.max(), second_V.max()) + 1
    length_V = np.zeros(len(first_V)) if length is None else np.array(length)
    each_V = np.arange(len(first_V))
    return Battles(tuple(names[:runs]), first_V, second_V, outcome_V, length_V, each_V, each_V * 0)


def drawn(seed: int, b: list[float], votes: int, *, eta: float = -math.inf, beta: float = 0.0) -> Battles:
    """Votes drawn from the model itself."""
    rng = np.random.default_rng(seed)
    first_V = rng.integers(len(b), size=votes)
    second_V = (first_V + rng.integers(1, len(b), size=votes)) % len(b)
    length_V = rng.normal(size=votes)
    z_V = np.array(b)[first_V] - np.array(b)[second_V] + beta * length_V
    win_V, tie_V, _ = davidson.probabilities(z_V, np.array(eta))
    u_V = rng.random(votes)
    outcome_V = np.where(u_V < win_V, 1.0, np.where(u_V < win_V + tie_V, 0.0, -1.0))
    return battles(first_V, second_V, outcome_V, length=length_V)


def fitted(made: Battles, **how) -> davidson.Fit:
    return davidson.fit(made, np.ones((1, len(made.first_V))), **how)


# -------------------------------------------------------------------------------------------------------------- the model


@pytest.mark.parametrize("seed", range(3))
def test_without_ties_it_is_choix(seed):
    choix = pytest.importorskip("choix")
    made = drawn(seed, [0.8, 0.2, -0.3, -0.7, 0.0], 400)
    data = [(int(one), int(other)) if won > 0 else (int(other), int(one))
            for one, other, won in zip(made.first_V, made.second_V, made.outcome_V, strict=True)]
    theirs = choix.ilsr_pairwise(5, data, max_iter=1000, tol=1e-12)
    np.testing.assert_allclose(fitted(made).b_RM[0], theirs - theirs.mean(), atol=1e-8)


def test_two_runs_by_hand():
    # 3 wins to 1: b_0 - b_1 = ln 3
    b = fitted(battles([0] * 4, [1] * 4, [1, 1, 1, -1])).b_RM[0]
    assert b[0] - b[1] == pytest.approx(math.log(3), abs=1e-9)
    # 6 wins, 4 ties, 2 losses (Davidson): odds of win to loss exp(z) = 3, P(tie) / sqrt(P(win) P(loss)) = nu = 4 / sqrt(12)
    found = fitted(battles([0] * 12, [1] * 12, [1] * 6 + [0] * 4 + [-1] * 2))
    assert found.b_RM[0, 0] - found.b_RM[0, 1] == pytest.approx(math.log(3), abs=1e-6)
    assert math.exp(found.eta_R[0]) == pytest.approx(4 / math.sqrt(12), rel=1e-6)


def test_davidson_has_the_published_probabilities_and_bradley_terry_as_its_limit():
    strong, weak, nu = 3.0, 0.5, 0.7
    win, tie, lose = davidson.probabilities(np.array(math.log(strong / weak)), np.array(math.log(nu)))
    total = strong + weak + nu * math.sqrt(strong * weak)
    assert (win, tie, lose) == pytest.approx((strong / total, nu * math.sqrt(strong * weak) / total, weak / total))
    win, tie, lose = davidson.probabilities(np.array(1.3), np.array(-np.inf))
    assert (win, tie, lose) == pytest.approx((1 / (1 + math.exp(-1.3)), 0, 1 / (1 + math.exp(1.3))))


def test_which_side_is_named_first_changes_nothing():
    made = drawn(1, [0.5, 0.0, -0.5], 300, eta=-0.5)
    turned = battles(made.second_V, made.first_V, -made.outcome_V, length=-made.length_V)
    for by_length in (False, True):
        one, other = fitted(made, by_length=by_length), fitted(turned, by_length=by_length)
        np.testing.assert_allclose(one.b_RM, other.b_RM, atol=1e-9)
        np.testing.assert_allclose(one.beta_R, other.beta_R, atol=1e-9)


def loop_gradient(made: Battles, found: davidson.Fit) -> list[float]:
    """The log-likelihood's slope in b, eta and beta by differences, vote by vote."""

    def likelihood(b, eta, beta):
        total = 0.0
        for one, other, outcome, x in zip(made.first_V.tolist(), made.second_V.tolist(), made.outcome_V.tolist(),
                                          made.length_V.tolist(), strict=True):
            z = b[one] - b[other] + beta * x
            parts = {1.0: math.exp(z / 2), 0.0: math.exp(eta), -1.0: math.exp(-z / 2)}
            total += math.log(parts[outcome] / sum(parts.values()))
        return total

    b, eta, beta, step = found.b_RM[0].tolist(), float(found.eta_R[0]), float(found.beta_R[0]), 1e-5
    slopes = [(likelihood([value + step * (place == run) for place, value in enumerate(b)], eta, beta)
               - likelihood([value - step * (place == run) for place, value in enumerate(b)], eta, beta)) / (2 * step)
              for run in range(len(b))]
    slopes.append((likelihood(b, eta + step, beta) - likelihood(b, eta - step, beta)) / (2 * step))
    return [*slopes, (likelihood(b, eta, beta + step) - likelihood(b, eta, beta - step)) / (2 * step)]


def test_the_likelihood_of_a_loop_is_flat_at_the_fit():
    made = drawn(2, [0.6, 0.0, -0.6], 200, eta=-0.3, beta=0.8)
    found = fitted(made, by_length=True)
    assert max(map(abs, loop_gradient(made, found))) < 1e-4


def test_the_truth_is_found_with_many_votes():
    truth = [0.9, 0.1, -0.2, -0.8]
    found = fitted(drawn(3, truth, 40_000, eta=-0.7, beta=0.5), by_length=True)
    np.testing.assert_allclose(found.b_RM[0], truth, atol=0.05)
    assert found.eta_R[0] == pytest.approx(-0.7, abs=0.05)
    assert found.beta_R[0] == pytest.approx(0.5, abs=0.05)


def test_weights_are_repeated_votes():
    made = drawn(4, [0.4, 0.0, -0.4], 60, eta=-0.5)
    times = np.random.default_rng(0).integers(1, 4, size=60)
    repeated = made.of(np.repeat(np.arange(60), times))
    np.testing.assert_allclose(davidson.fit(made, times[None].astype(float)).b_RM, fitted(repeated).b_RM, atol=1e-8)


def test_draws_without_any_tie_or_with_one_winner_settle():
    made = battles([0] * 60, [1] * 60, [1] * 50 + [0] * 5 + [-1] * 5, length=np.linspace(-2, 2, 60))
    weights_RV = np.zeros((3, 60))
    weights_RV[0, :50] = weights_RV[1, 50:55] = weights_RV[2, 55:] = 40.0  # wins alone, ties alone, losses alone
    for by_length in (False, True):
        found = davidson.fit(made, weights_RV, by_length=by_length, ridge=davidson.RIDGE)
        assert np.isfinite(found.b_RM).all() and found.b_RM[0, 0] > 0 > found.b_RM[2, 0]


def test_where_a_fit_starts_changes_nothing():
    made = drawn(6, [0.4, 0.0, -0.4], 200, eta=-0.5, beta=0.3)
    weights_RV = ranking.draws(made, 20, 0)
    for by_length in (False, True):
        own = fitted(made, by_length=by_length)
        one, other = (davidson.fit(made, weights_RV, by_length=by_length, ridge=davidson.RIDGE, start=start)
                      for start in (None, own))
        np.testing.assert_allclose(one.b_RM, other.b_RM, atol=1e-8)
        np.testing.assert_allclose(one.eta_R, other.eta_R, atol=1e-8)


def test_a_run_that_won_always_is_finite_only_by_the_penalty():
    made = battles([0, 0, 1, 2], [1, 2, 2, 1], [1, 1, 1, 1])
    assert not davidson.finite(made)
    with pytest.raises(Failed, match="no finite ratings"):
        fitted(made)
    b = fitted(made, ridge=davidson.RIDGE).b_RM[0]
    assert np.isfinite(b).all() and b[0] == b.max()
    assert davidson.finite(battles([0, 1, 2], [1, 2, 0], [1, 1, 1]))  # a circle
    assert davidson.finite(battles([0, 0], [1, 1], [1, 0]))  # a tie leads both ways


def test_the_penalty_moves_a_rating_of_many_votes_by_about_a_point():
    made = drawn(5, [0.5, -0.5], 100)
    moved = ranking.POINTS * np.abs(fitted(made).b_RM - fitted(made, ridge=davidson.RIDGE).b_RM).max()
    assert moved < 1.0


# ------------------------------------------------------------------------------------------------------------ from votes


def many(seed: int = 0, items: int = 120, people=("ana", "ben", "cleo"), better: float = 0.75) -> list:
    """dpo beats sft with probability `better`, whoever is asked; the two stand first in turn."""
    rng, made = np.random.default_rng(seed), []
    for item in range(items):
        for name in people:
            sources = ("sft", "dpo") if item % 2 else ("dpo", "sft")
            won = "dpo" if rng.random() < better else "sft"
            texts = {"dpo": "word " * int(rng.integers(5, 30)), "sft": "word " * int(rng.integers(5, 30))}
            made.append(vote(name, item, 1 if sources[1] == won else -1, sources=sources, first=texts[sources[0]],
                             second=texts[sources[1]]))
    return made


def test_rank_puts_the_better_run_first_with_an_interval_and_a_number_of_flips():
    found = ranking.rank(many(), anchor="sft", resamples=200)
    best, other = found["runs"]
    assert (best["name"], other["name"]) == ("dpo", "sft")
    assert other["rating"]["value"] == other["rating"]["low"] == 1000
    assert best["rating"]["low"] > 1000 and best["first"] == 1.0 and best["ranks"] == [1, 1]
    assert (best["wins"], best["losses"]) == (other["losses"], other["wins"])
    # two runs: the second is level when half of the surplus is turned
    assert found["groups"][0]["flips"] == pytest.approx((best["wins"] - best["losses"]) / 2, abs=1)
    assert found["connected"] and found["finite"]


def test_the_same_seed_gives_the_same_numbers_and_no_ties_give_no_tie_parameter():
    one, other = (ranking.rank(many(), resamples=50, seed=3) for _ in range(2))
    assert one == other
    assert one["groups"][0]["tie"] is None


def test_runs_that_were_never_compared_are_ranked_apart():
    votes = [*many(), *(vote("ana", 900 + n, (-1) ** n, sources=("x", "y")) for n in range(6))]
    found = ranking.rank(votes, resamples=50)
    assert not found["connected"]
    assert [sorted(group["names"]) for group in found["groups"]] == [["dpo", "sft"], ["x", "y"]]
    assert "Not connected" in notes(found)[0]
    assert len(tables(found)) == 3


def test_in_a_dead_heat_nobody_is_first():
    votes = [vote("ana", n, 1 if n % 2 else -1, sources=("sft", "dpo")) for n in range(20)]
    found = ranking.rank(votes, resamples=200)
    assert found["groups"][0]["leaders"] == ["dpo", "sft"] and found["groups"][0]["flips"] == 0
    assert "Nobody is first: dpo and sft are level." in notes(found)
    assert sum(run["first"] for run in found["runs"]) == pytest.approx(1)
    one_more = ranking.rank([*votes, vote("ana", 20, 1, sources=("sft", "dpo"))], resamples=50)
    assert "dpo is first; had 1 vote gone the other way, it would not be." in notes(one_more)


def test_a_run_that_won_all_is_told():
    votes = [vote("ana", n, 1, sources=("sft", "dpo")) for n in range(20)]
    found = ranking.rank(votes, resamples=50)
    assert not found["groups"][0]["finite"]
    assert "small penalty" in " ".join(notes(found))
    assert found["groups"][0]["flips"] == 10 or found["groups"][0]["flips"] == 11


def test_length_that_explains_the_wins_is_taken_out():
    """Two equal runs, one of which writes longer; people like the longer answer, so that it wins."""
    rng, votes = np.random.default_rng(0), []
    for item in range(400):
        size = {"short": int(rng.integers(20, 60)), "long": int(rng.integers(30, 90))}
        x = (size["long"] - size["short"]) / (size["long"] + size["short"])
        won = "long" if rng.random() < 1 / (1 + math.exp(-6 * x)) else "short"
        votes.append(vote("ana", item, 1 if won == "long" else -1, sources=("short", "long"), first="x" * size["short"],
                          second="x" * size["long"]))
    found = ranking.rank(votes, anchor="short", resamples=300)
    long = next(run for run in found["runs"] if run["name"] == "long")
    assert long["rating"]["low"] > 1000
    assert long["length_controlled"]["low"] < 1000 < long["length_controlled"]["high"]
    assert found["groups"][0]["length_effect"]["low"] > 0
    assert "longer answer" in " ".join(notes(found))


def test_the_order_in_the_item_file_changes_no_rating():
    votes = many(items=40)
    turned = [replace(one, first=one.second, second=one.first, sources=one.sources[::-1], signed=-one.signed)
              if one.item % 3 else one for one in votes]
    for one, other in zip(*(ranking.rank(made, resamples=20)["runs"] for made in (votes, turned)), strict=True):
        for key in ("rating", "length_controlled"):
            assert one[key]["value"] == pytest.approx(other[key]["value"], abs=1e-6)


def test_votes_that_hang_together_widen_the_interval():
    """The same shares from many people and from few who each always say the same."""
    spread = [vote(f"p{n}", n, 1 if n % 4 else -1, sources=("sft", "dpo")) for n in range(80)]
    clustered = [vote(f"p{n % 4}", n, 1 if n % 4 else -1, sources=("sft", "dpo")) for n in range(80)]
    widths = []
    for votes in (spread, clustered):
        rating = next(run["rating"] for run in ranking.rank(votes, resamples=300)["runs"] if run["name"] == "dpo")
        widths.append(rating["high"] - rating["low"])
    assert widths[1] > 1.5 * widths[0]


def test_what_compares_no_two_runs_is_left_out_and_told():
    votes = [*many(), vote("ana", 500, 1), vote("ana", 501, 1, sources=("dpo", "dpo")),
             vote("ana", 502, 1, sources=("sft", "dpo"), kind="gold", gold="first")]
    found = ranking.rank(votes, resamples=50)
    assert found["left_out"] == {
        "gold items": 1, "items that do not say which runs answered": 1, "two answers of the same run": 1}
    with pytest.raises(Refused, match="no vote compares two runs"):
        ranking.rank([vote("ana", 1, 1)])
    with pytest.raises(Refused, match="no run called"):
        ranking.rank(many(), anchor="base")


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Votes of 60 prompts by 8 people, 120 samples; the pigeonhole bootstrap is cautious where votes do not hang together."""
    truth, covered = ranking.POINTS * math.log(3), 0
    for seed in range(120):
        found = ranking.rank(many(seed, items=60, people=tuple("abcdefgh")), anchor="sft", resamples=300, seed=seed)
        rating = next(run["rating"] for run in found["runs"] if run["name"] == "dpo")
        covered += rating["low"] <= 1000 + truth <= rating["high"]
    assert covered / 120 >= 0.93
