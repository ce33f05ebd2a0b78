"""The model behind the ranking: Bradley-Terry with Davidson's ties, fitted many times at once. Only numpy.

With strengths b and tie parameter eta, for runs i and j and z = b_i - b_j (+ beta x, the length-controlled twin):

    P(i wins) : P(tie) : P(j wins)  =  exp(z / 2) : exp(eta) : exp(-z / 2)

Davidson, On Extending the Bradley-Terry Model to Accommodate Ties, JASA 65 (1970), equation 2.4, nu = exp(eta); without
ties it is Bradley and Terry, Biometrika 39 (1952): P(i wins) = sigmoid(z).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_recipes.errors import Failed

RIDGE = 0.01  # on b: lets a fit exist where one run won always; moves a rating of 100 votes by about a point
LENGTH_RIDGE = 0.5  # on beta: a few short answers that won are no law; of hundreds of votes it takes less than a hundredth
FLAT = 1e-6  # on eta: a draw may hold no tie, and its eta then stays where it is flat
STEPS, HALVINGS = 100, 30
TOLERANCE = 1e-16  # of the gain that a further step promises, which rounding does not blur as it does the step itself
VOTE_ARRAYS = ("first_V", "second_V", "outcome_V", "length_V", "prompt_V", "person_V")


@dataclass(frozen=True)
class Battles:
    """Votes between runs as arrays of shape (V,): places of both runs, outcome (1 the first won, 0 tie, -1), length term,
    and the numbers of prompt and person, by which votes are drawn again."""

    names: tuple[str, ...]
    first_V: np.ndarray
    second_V: np.ndarray
    outcome_V: np.ndarray
    length_V: np.ndarray
    prompt_V: np.ndarray
    person_V: np.ndarray

    def of(self, keep_V: np.ndarray) -> Battles:
        """Some of the votes."""
        return replace(self, **{name: getattr(self, name)[keep_V] for name in VOTE_ARRAYS})


@dataclass(frozen=True)
class Fit:
    """Strengths of shape (R, M) with mean 0, tie parameters (R,) (-inf without ties), length coefficients (R,)."""

    b_RM: np.ndarray
    eta_R: np.ndarray
    beta_R: np.ndarray


@dataclass(frozen=True)
class _Likelihood:
    """L(theta) of R weighted fits at once, less the penalties; theta of shape (R, P) is (b, maybe beta, maybe eta)."""

    design_VP: np.ndarray  # z = theta @ design.T; eta's column, the last one where there are ties, is 0
    outcome_V: np.ndarray
    weights_RV: np.ndarray
    penalty_PP: np.ndarray
    ties: bool

    def parts(self, theta_RP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """z of shape (R, V) and eta of shape (R, 1)."""
        return theta_RP @ self.design_VP.T, theta_RP[:, -1:] if self.ties else np.full((1, 1), -np.inf)

    def value(self, theta_RP: np.ndarray) -> np.ndarray:
        """L, shape (R,)."""
        z_RV, eta_R1 = self.parts(theta_RP)
        top_RV = np.maximum(np.abs(z_RV) / 2, eta_R1)
        total_RV = top_RV + np.log(np.exp(z_RV / 2 - top_RV) + np.exp(eta_R1 - top_RV) + np.exp(-z_RV / 2 - top_RV))
        said_RV = self.outcome_V / 2 * z_RV + np.where(self.outcome_V == 0, eta_R1, 0.0)
        return (self.weights_RV * (said_RV - total_RV)).sum(axis=1) - ((theta_RP @ self.penalty_PP) * theta_RP).sum(axis=1) / 2

    def slopes(self, theta_RP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gradient of shape (R, P) and negative Hessian of shape (R, P, P).

        With s = 1/2, 0, -1/2 for the outcomes:  dL/dz = s - E[s],  dL/deta = [tie] - P(tie),
        -H_zz = Var s,  -H_ee = P(tie) (1 - P(tie)),  -H_ze = -P(tie) E[s].
        """
        win_RV, tie_RV, lose_RV = probabilities(*self.parts(theta_RP))
        mean_RV = (win_RV - lose_RV) / 2
        gradient_RP = (self.weights_RV * (self.outcome_V / 2 - mean_RV)) @ self.design_VP
        zz_RV = self.weights_RV * ((win_RV + lose_RV) / 4 - mean_RV**2)
        curvature_RPP = np.einsum("rv,vp,vq->rpq", zz_RV, self.design_VP, self.design_VP, optimize=True)
        if self.ties:
            gradient_RP[:, -1] = (self.weights_RV * ((self.outcome_V == 0) - tie_RV)).sum(axis=1)
            curvature_RPP[:, -1, :] = curvature_RPP[:, :, -1] = (self.weights_RV * -tie_RV * mean_RV) @ self.design_VP
            curvature_RPP[:, -1, -1] = (self.weights_RV * tie_RV * (1 - tie_RV)).sum(axis=1)
        return gradient_RP - theta_RP @ self.penalty_PP, curvature_RPP + self.penalty_PP


def fit(battles: Battles, weights_RV: np.ndarray, *, by_length: bool = False, ridge: float = 0.0,
        start: Fit | None = None) -> Fit:
    """R weighted fits at once: Newton's method, halving steps that would lead down; L is concave in (b, beta, eta).

    Args:
        weights_RV: how often each vote counts in each fit.
        by_length: fit beta too.
        ridge: ridge / 2 * |b|^2 and LENGTH_RIDGE / 2 * beta^2 are taken off L; 0 is the plain maximum, which exists only
            where `finite` says so.
        start: a fit of the same votes to begin with; it saves half of the steps.

    Raises:
        Failed: without a ridge, where the votes have no finite maximum.
    """
    if not ridge and not finite(battles):
        raise Failed("without a ridge these votes have no finite ratings", expected="ways of wins or ties between all runs")
    if not by_length:
        battles, weights_RV = _counted(battles, weights_RV)
    runs, ties = len(battles.names), bool((battles.outcome_V == 0).any())
    likelihood = _Likelihood(_design(battles, by_length, ties), battles.outcome_V, weights_RV,
                             _penalty(runs, ridge, by_length, ties), ties)
    theta_RP = np.zeros((len(weights_RV), runs + by_length + ties))
    if start is not None:
        theta_RP += np.concatenate([start.b_RM, start.beta_R[:, None][:, :by_length], start.eta_R[:, None][:, :ties]], axis=1)
    theta_RP = _maximum(likelihood, theta_RP)
    b_RM = theta_RP[:, :runs] - theta_RP[:, :runs].mean(axis=1, keepdims=True)
    none_R = np.zeros(len(theta_RP))
    return Fit(b_RM, theta_RP[:, -1] if ties else none_R - np.inf, theta_RP[:, runs] if by_length else none_R)


def _maximum(likelihood: _Likelihood, theta_RP: np.ndarray) -> np.ndarray:
    for _ in range(STEPS):
        gradient_RP, curvature_RPP = likelihood.slopes(theta_RP)
        step_RP = np.linalg.solve(curvature_RPP, gradient_RP[:, :, None])[:, :, 0]
        if (gradient_RP * step_RP).sum(axis=1).max() < TOLERANCE:
            return theta_RP + step_RP
        theta_RP = _uphill(likelihood, theta_RP, step_RP)
    raise Failed(f"the ratings do not settle within {STEPS} steps", where=f"{len(likelihood.outcome_V)} votes")


def _uphill(likelihood: _Likelihood, theta_RP: np.ndarray, step_RP: np.ndarray) -> np.ndarray:
    """The step of each fit, halved until it does not lead down: far from the maximum a full one may overshoot for ever."""
    before_R, size_R = likelihood.value(theta_RP), np.ones(len(theta_RP))
    for _ in range(HALVINGS):
        moved_RP = theta_RP + size_R[:, None] * step_RP
        worse_R = likelihood.value(moved_RP) < before_R - 1e-12 * (1 + np.abs(before_R))
        if not worse_R.any():
            break
        size_R[worse_R] /= 2
    return moved_RP


def _penalty(runs: int, ridge: float, by_length: bool, ties: bool) -> np.ndarray:
    """The ridges, and ones over all b, which fix their mean: along it nothing else changes."""
    penalty_PP = ridge * np.eye(runs + by_length + ties)
    penalty_PP[:runs, :runs] += 1.0
    if by_length:
        penalty_PP[runs, runs] = LENGTH_RIDGE if ridge else 0.0
    if ties:
        penalty_PP[-1, -1] = FLAT
    return penalty_PP


def _counted(battles: Battles, weights_RV: np.ndarray) -> tuple[Battles, np.ndarray]:
    """Votes alike in both runs and the outcome as one, with their weights summed: without lengths nothing else counts."""
    alike_V3 = np.column_stack([battles.first_V, battles.second_V, battles.outcome_V])
    _, first_seen_C, cell_V = np.unique(alike_V3, axis=0, return_index=True, return_inverse=True)
    member_VC = cell_V.reshape(-1, 1) == np.arange(len(first_seen_C))
    return battles.of(first_seen_C), weights_RV @ member_VC.astype(np.float64)


def _design(battles: Battles, by_length: bool, ties: bool) -> np.ndarray:
    """z = design @ (b, beta); the last column, where there are ties, is eta's and stays 0."""
    votes, runs = len(battles.first_V), len(battles.names)
    design_VP = np.zeros((votes, runs + by_length + ties))
    design_VP[np.arange(votes), battles.first_V] += 1
    design_VP[np.arange(votes), battles.second_V] -= 1
    if by_length:
        design_VP[:, runs] = battles.length_V
    return design_VP


def probabilities(z: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """P(win), P(tie), P(loss) of the first run at z = b_i - b_j; any shapes that broadcast, eta = -inf without ties."""
    top = np.maximum(np.abs(z) / 2, eta)
    win, tie, lose = np.exp(z / 2 - top), np.exp(eta - top), np.exp(-z / 2 - top)
    total = win + tie + lose
    return win / total, tie / total, lose / total


# ------------------------------------------------------------------------------------------------------------ the graph


def groups(battles: Battles) -> list[list[int]]:
    """Runs that are linked by votes, in any direction; only within a group can ratings be compared."""
    return _components(len(battles.names), [*zip(battles.first_V, battles.second_V, strict=True),
                                            *zip(battles.second_V, battles.first_V, strict=True)])


def finite(battles: Battles) -> bool:
    """Whether the plain maximum exists: from each run a way of wins (or ties) leads to every other of its group.

    Ford, Solution of a Ranking Problem from Binary Comparisons, Amer. Math. Monthly 64 (1957); for ties Davidson (1970).
    """
    runs, edges = len(battles.names), []
    for one, other, outcome in each(battles):
        edges += [(one, other)] * (outcome >= 0) + [(other, one)] * (outcome <= 0)
    reached = [_reach(start, edges) for start in range(runs)]
    return all(start in reached[other] for start in range(runs) for other in reached[start])


def each(battles: Battles) -> Iterator[tuple[int, int, float]]:
    """First run, second run and outcome of each vote."""
    return zip(battles.first_V.tolist(), battles.second_V.tolist(), battles.outcome_V.tolist(), strict=True)


def _reach(start: int, edges: Sequence[tuple[int, int]]) -> set[int]:
    beyond: dict[int, set[int]] = {}
    for one, other in edges:
        beyond.setdefault(one, set()).add(other)
    seen, waiting = {start}, [start]
    while waiting:
        new = beyond.get(waiting.pop(), set()) - seen
        seen |= new
        waiting += new
    return seen


def _components(runs: int, edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    left, found = set(range(runs)), []
    while left:
        reached = _reach(min(left), edges)
        found.append(sorted(int(run) for run in reached))
        left -= reached
    return found
