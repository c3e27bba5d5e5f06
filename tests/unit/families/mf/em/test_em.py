"""The E and M steps on a tiny dense problem, against the formulas written out row by row in float64."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.families.mf.em import e_step, m_step
from recsys_dist.families.mf.em.constrained import Constraint, refined
from recsys_dist.families.mf.em.e_step import Posterior, Statistics
from recsys_dist.families.mf.em.layout import PanelLayout, moment_pairs, packed_size
from recsys_dist.families.mf.em.m_step import SideSums
from recsys_dist.families.mf.em.prior import Prior

CPU = torch.device("cpu")
FACTORS, OWN = 3, 4


def column_products(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    return torch.stack([(left_Cn * right_Cn).sum(0) for left_Cn, right_Cn in pairs])


class OneSide:
    """Posteriors of one side in float64, and all that belongs to it."""

    def __init__(self, name: Side, mask: torch.Tensor, ratings: torch.Tensor, noise_differs: bool) -> None:
        self.layout = PanelLayout.of(name, FACTORS, CPU)
        self.mask, self.ratings = mask.double(), ratings
        self.count = self.mask.sum(1)
        self.prior = Prior.isotropic(OWN, 1.0, CPU)
        self.mean_nR = torch.zeros(OWN, len(mask), dtype=torch.float64)
        self.covariance_TR = torch.zeros(packed_size(OWN), len(mask), dtype=torch.float64)
        self.precision = torch.ones(len(mask), dtype=torch.float64) if noise_differs else None
        self.dof = 5.0
        self.pattern = torch.zeros(mask.shape[1], OWN, dtype=torch.float64)
        self.indicator = self.mask * torch.where(self.count > 0, self.count.clamp(min=1).rsqrt(), 0.0).unsqueeze(1)

    def weights(self) -> torch.Tensor:
        return torch.ones_like(self.count) if self.precision is None else self.precision

    def moments(self, point: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        return e_step.moments_of(self.mean_nR, None if point else self.covariance_TR, self.layout)

    def statistics(self, other: "OneSide", point: bool = False) -> Statistics:
        vectors_DB, moments_WB = other.moments(point)
        return Statistics(
            gram_WB=(moments_WB * other.weights()) @ self.mask.T,
            weighted_DB=(vectors_DB * other.weights()) @ self.ratings.T,
            square_B=self.ratings.square() @ other.weights(),
            count_B=self.count,
            precision_B=self.precision,
            prior_mean_nB=self.prior.mean_n.unsqueeze(1) + (self.indicator @ self.pattern).T,
        )

    def solve(self, other: "OneSide", noise: float) -> SideSums:
        statistics = self.statistics(other)
        posterior = e_step.update(statistics, self.prior, noise, self.layout)
        self.mean_nR, self.covariance_TR = posterior.mean_nB, posterior.covariance_TB
        error_B = e_step.squared_errors(posterior, statistics, self.layout, point=False)
        if self.precision is not None:
            self.precision = e_step.updated_precision(error_B, self.count, self.dof, noise)
        sums_S = m_step.row_sums(
            posterior,
            statistics.prior_mean_nB,
            statistics.count_B,
            error_B,
            self.precision,
            self.dof,
            self.layout,
        )
        return SideSums(sums_S, self.layout)

    def maximise(self, sums: SideSums, weight: float | None) -> None:
        pattern_nn = None if weight is None else weight * self.pattern.T @ self.pattern
        self.prior = m_step.adapted_prior(sums, self.prior, pattern_nn, 0.0)
        if self.precision is not None:
            self.dof = m_step.adapted_dof(sums)
        if weight is not None:
            root_M1 = self.count.clamp(min=1).rsqrt().unsqueeze(1)
            spread_C1 = self.indicator.square().sum(0).unsqueeze(1)
            constraint = Constraint("items", "users", root_M1, spread_C1, weight, column_products)
            left_Mn = (self.mean_nR - self.prior.mean_n.unsqueeze(1)).T - self.indicator @ self.pattern
            refinement = constraint.refine(self.pattern, left_Mn)
            self.pattern = refined(
                {"items": refinement},
                {"users": lambda rows: [self.mask @ rows[0]], "items": lambda rows: [self.mask.T @ rows[0]]},
            )["items"]

    def pattern_price(self, weight: float | None) -> float:
        if weight is None:
            return 0.0
        return 0.5 * weight * float((self.prior.precision_nn * (self.pattern.T @ self.pattern)).sum())


class Problem:
    """Both sides of a tiny problem; user 0 has no rating."""

    def __init__(self, seed: int, noise_differs: bool = False, weight: float | None = None) -> None:
        rng = np.random.default_rng(seed)
        mask = torch.from_numpy(rng.random((12, 9)) < 0.5)
        mask[0] = False
        ratings = torch.from_numpy(rng.normal(0, 1, (12, 9))) * mask
        self.users = OneSide("users", mask, ratings, noise_differs)
        self.items = OneSide("items", mask.T, ratings.T, noise_differs)
        self.items.mean_nR = torch.from_numpy(rng.normal(0, 0.5, (OWN, 9)))
        self.noise, self.count, self.weight = 1.0, int(mask.sum()), weight

    def epoch(self) -> float:
        """One epoch; returns the bound before its M step."""
        user_sums = self.users.solve(self.items, self.noise)
        item_sums = self.items.solve(self.users, self.noise)
        bound = m_step.log_likelihood(item_sums.squared_error, self.count, self.noise)
        for side, sums in ((self.users, user_sums), (self.items, item_sums)):
            bound -= m_step.divergence(sums, side.prior, OWN) + side.pattern_price(self.weight)
        self.noise = item_sums.squared_error / self.count
        self.users.maximise(user_sums, self.weight)
        self.items.maximise(item_sums, self.weight)
        return bound


def full(packed_T: torch.Tensor, layout: PanelLayout) -> np.ndarray:
    matrix = np.zeros((OWN, OWN))
    matrix[layout.own_rows_T, layout.own_columns_T] = packed_T
    matrix[layout.own_columns_T, layout.own_rows_T] = packed_T
    return matrix


def second_moment(side: OneSide, row: int) -> np.ndarray:
    """E[z z^T] of one row, [D, D]."""
    vector = side.moments()[0][:, row].numpy()
    moment, own = np.outer(vector, vector), side.layout.own_n.numpy()
    moment[np.ix_(own, own)] += full(side.covariance_TR[:, row], side.layout)
    return moment


@pytest.mark.parametrize("noise_differs", [False, True])
@pytest.mark.parametrize("weight", [None, 2.0])
def test_the_posterior_equals_the_formula_row_by_row(noise_differs: bool, weight: float | None) -> None:
    problem = Problem(0, noise_differs, weight)
    for _ in range(3):
        problem.epoch()
    users, items, noise = problem.users, problem.items, problem.noise
    prior_precision, own, constant = np.linalg.inv(users.prior.covariance_nn.numpy()), [0, 1, 2, 3], 4
    prior_mean = users.prior.mean_n.numpy() + (users.indicator @ users.pattern).numpy()
    alpha, beta = users.weights().clone(), items.weights()
    posterior = e_step.update(users.statistics(items), users.prior, noise, users.layout)
    for user in range(12):
        gram, right = np.zeros((5, 5)), np.zeros(5)
        for item in np.flatnonzero(users.mask[user]):
            gram += float(beta[item]) * second_moment(items, int(item))
            right += float(beta[item] * users.ratings[user, item]) * items.moments()[0][:, item].numpy()
        precision = float(alpha[user]) * gram[np.ix_(own, own)] / noise + prior_precision
        shift = (
            float(alpha[user]) * (right[own] - gram[own, constant]) / noise + prior_precision @ prior_mean[user]
        )
        np.testing.assert_allclose(
            posterior.mean_nB[:, user], np.linalg.solve(precision, shift), rtol=1e-9, atol=1e-11
        )
        covariance = full(posterior.covariance_TB[:, user], users.layout)
        np.testing.assert_allclose(covariance, np.linalg.inv(precision), rtol=1e-9, atol=1e-12)


def test_a_user_without_ratings_keeps_the_prior_and_enters_no_sum() -> None:
    problem = Problem(0)
    problem.users.prior = Prior(torch.linspace(-1, 1, OWN).double(), 0.5 * torch.eye(OWN).double())

    sums = problem.users.solve(problem.items, problem.noise)

    torch.testing.assert_close(problem.users.mean_nR[:, 0], problem.users.prior.mean_n)
    assert sums.count == 11


@pytest.mark.parametrize("noise_differs", [False, True])
def test_squared_error_is_the_expectation_over_both_posteriors(noise_differs: bool) -> None:
    problem = Problem(1, noise_differs)
    problem.epoch()
    users, items = problem.users, problem.items
    statistics = items.statistics(users)
    posterior = Posterior(items.mean_nR, items.covariance_TR, torch.zeros(9).double())

    errors = e_step.squared_errors(posterior, statistics, items.layout, point=False)

    for item in range(9):
        expected = 0.0
        for user in np.flatnonzero(users.mask[:, item]):
            rating = float(users.ratings[user, item])
            mean = float(users.moments()[0][:, user] @ items.moments()[0][:, item])
            # E[(a.z)^2] = trace(E[a a^T] E[z z^T])
            second = float(np.trace(second_moment(users, int(user)) @ second_moment(items, int(item))))
            expected += float(users.weights()[user]) * (rating**2 - 2 * rating * mean + second)
        assert float(errors[item]) == pytest.approx(expected, rel=1e-9)


def test_squared_errors_of_float32_statistics_keep_their_digits() -> None:
    problem = Problem(1)
    problem.epoch()
    statistics = problem.items.statistics(problem.users)
    posterior = Posterior(problem.items.mean_nR, problem.items.covariance_TR, torch.zeros(9).double())

    double, single = (
        e_step.squared_errors(posterior.to(dtype), statistics.to(dtype), problem.items.layout, point=False)
        for dtype in (torch.float64, torch.float32)
    )

    assert single.dtype == torch.float64
    torch.testing.assert_close(single, double, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("noise_differs", [False, True])
@pytest.mark.parametrize("weight", [None, 2.0])
def test_the_bound_never_falls_on_a_hundred_random_problems(noise_differs: bool, weight: float | None) -> None:
    for seed in range(25):  # in each of the four forms
        problem, last = Problem(seed, noise_differs, weight), -math.inf
        for _ in range(10):
            bound = problem.epoch()
            assert bound >= last - 1e-9 * abs(last), (seed, last, bound)
            last = bound


def test_the_bound_of_the_ridge_never_falls() -> None:
    for seed in range(100):
        problem, last, weight = Problem(seed), -math.inf, 2.0
        users, items = problem.users, problem.items
        for _ in range(8):
            users.prior = items.prior = Prior.isotropic(OWN, problem.noise / weight, CPU)
            user_sums, item_sums = users.solve(items, problem.noise), items.solve(users, problem.noise)
            bound = m_step.log_likelihood(item_sums.squared_error, problem.count, problem.noise)
            bound -= m_step.divergence(user_sums, users.prior, OWN) + m_step.divergence(
                item_sums, items.prior, OWN
            )
            assert bound >= last - 1e-9 * abs(last)
            last, sides = bound, [(user_sums, users.layout), (item_sums, items.layout)]
            problem.noise = m_step.ridge_noise(item_sums.squared_error, problem.count, sides, weight)


def test_the_precision_and_its_prior_are_where_the_bound_is_highest() -> None:
    """Moving the posterior mean of alpha, or nu, to either side lowers the bound."""
    problem = Problem(3, noise_differs=True)
    for _ in range(3):
        problem.epoch()
    users, statistics = problem.users, problem.users.statistics(problem.items)
    posterior = e_step.update(statistics, users.prior, problem.noise, users.layout)
    error_B = e_step.squared_errors(posterior, statistics, users.layout, point=False)

    def bound(precision_B: torch.Tensor, dof: float, shape_dof: float) -> float:
        """Of alpha ~ Gamma(a, a / mean) with a as `shape_dof` makes it, under the prior of `dof`."""
        shape_B = (shape_dof + statistics.count_B) / 2
        posterior_gamma = torch.distributions.Gamma(shape_B, shape_B / precision_B)
        prior_gamma = torch.distributions.Gamma(
            torch.full_like(shape_B, dof / 2), torch.full_like(shape_B, dof / 2)
        )
        log_B = torch.digamma(shape_B) - (shape_B / precision_B).log()
        gain_B = statistics.count_B / 2 * log_B - torch.distributions.kl_divergence(posterior_gamma, prior_gamma)
        return float((gain_B - precision_B * error_B / (2 * problem.noise))[1:].sum())

    best_B = e_step.updated_precision(error_B, statistics.count_B, users.dof, problem.noise)
    at_best = bound(best_B, users.dof, users.dof)
    sums = SideSums(
        m_step.row_sums(
            posterior,
            statistics.prior_mean_nB,
            statistics.count_B,
            error_B,
            best_B,
            users.dof,
            users.layout,
        ),
        users.layout,
    )
    error = float((error_B * best_B)[1:].sum()) / (2 * problem.noise)
    assert at_best == pytest.approx(sums.precision_bound - error, rel=1e-9)
    assert at_best > max(bound(best_B * factor, users.dof, users.dof) for factor in (0.97, 1.03))
    best_dof = m_step.adapted_dof(sums)
    of_dof = bound(best_B, best_dof, users.dof)
    assert of_dof > max(bound(best_B, best_dof * factor, users.dof) for factor in (0.95, 1.05))


@pytest.mark.parametrize("side", ["users", "items"])
@pytest.mark.parametrize("factors", [1, 3, 12, 20])
def test_packed_moments_are_products_plus_covariances_in_any_number_of_panels(factors: int, side: Side) -> None:
    layout, pairs = PanelLayout.of(side, factors, CPU), moment_pairs(factors)
    rows, columns = torch.tensor(pairs).T
    mean_nB, covariance_TB = torch.randn(factors + 1, 5), torch.randn(packed_size(factors + 1), 5)

    vectors_DB, point_WB = e_step.moments_of(mean_nB, None, layout)
    _, moments_WB = e_step.moments_of(mean_nB, covariance_TB, layout)

    expected = vectors_DB[rows] * vectors_DB[columns]
    assert torch.equal(point_WB[: len(pairs)], expected)
    expected[layout.own_slice] += covariance_TB
    assert torch.equal(moments_WB[: len(pairs)], expected)
    assert not moments_WB[len(pairs) :].any()


def test_solves_in_single_precision_keep_what_is_summed_in_double() -> None:
    problem = Problem(0, noise_differs=True)
    statistics = problem.users.statistics(problem.items)

    single = statistics.to(torch.float32)

    assert {single.gram_WB.dtype, single.weighted_DB.dtype, single.prior_mean_nB.dtype} == {torch.float32}
    assert single.square_B.dtype == torch.float64
