"""The batched kernels against the formulas written out row by row in float64 (the readable reference)."""

import math

import numpy as np
import pytest
import torch

from recsys_dist.models import em
from recsys_dist.models.em import Prior
from recsys_dist.models.factors import Layout, Panels, augmented, packed_size, second_moments

CPU = torch.device("cpu")
FACTORS = 3


class TwoSides:
    """A tiny problem with both sides' posteriors, stepped by the code under test in float64."""

    def __init__(self, seed: int, num_users: int = 12, num_items: int = 9, point: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.mask = torch.from_numpy(rng.random((num_users, num_items)) < 0.5)
        self.mask[0] = False
        self.ratings = torch.from_numpy(rng.normal(0, 1, (num_users, num_items))) * self.mask
        self.users, self.items = Layout.of("users", FACTORS, CPU), Layout.of("items", FACTORS, CPU)
        self.user_prior = self.item_prior = Prior.isotropic(FACTORS + 1, 1.0, CPU)
        self.noise, self.point = 1.0, point
        mean = torch.from_numpy(rng.normal(0, 0.5, (num_items, FACTORS + 1)))
        covariance = torch.zeros(packed_size(FACTORS + 1), num_items, dtype=torch.float64)
        self.item_vectors = augmented(mean, self.items)
        self.item_moments = second_moments(self.item_vectors, covariance, self.items)

    def solve_users(self) -> em.Posterior:
        gram = self.item_moments @ self.mask.double().T
        weighted = (self.ratings @ self.item_vectors).T
        return em.update(gram, weighted, self.mask.any(1), self.user_prior, self.noise, self.users, self.point)

    def solve_items(self, solved: em.Posterior) -> tuple[em.Posterior, float]:
        gram = solved.moments_WB @ self.mask.double()
        weighted = (self.ratings.T @ solved.vectors_BD).T
        rated = self.mask.any(0)
        items = em.update(gram, weighted, rated, self.item_prior, self.noise, self.items, self.point)
        self.item_vectors, self.item_moments = items.vectors_BD, items.moments_WB
        error = (self.ratings**2).sum() + em.squared_error(items, gram, weighted, self.items)
        return items, float(error)

    def bound(self, users: em.Posterior, items: em.Posterior, error: float) -> float:
        return (
            em.log_likelihood(error, int(self.mask.sum()), self.noise)
            - em.divergence(users.sums_S, self.user_prior, self.users)
            - em.divergence(items.sums_S, self.item_prior, self.items)
        )


def full_covariance(posterior: em.Posterior, layout: Layout, row: int) -> np.ndarray:
    covariance = np.zeros((FACTORS + 1, FACTORS + 1))
    for i, j, value in zip(layout.own_rows_T, layout.own_columns_T, posterior.covariance_TB[:, row], strict=True):
        covariance[i, j] = covariance[j, i] = value
    return covariance


def test_user_posterior_equals_the_formula_row_by_row() -> None:
    problem = TwoSides(seed=0)
    users = problem.solve_users()
    problem.solve_items(users)  # now the items have covariances
    problem.user_prior = Prior(
        torch.linspace(-1, 1, FACTORS + 1).double(), 0.5 * torch.eye(FACTORS + 1).double() + 0.1
    )
    problem.noise = 0.7
    solved = problem.solve_users()
    precision_prior = np.linalg.inv(problem.user_prior.covariance_nn.numpy())
    index = {
        pair: place
        for place, pair in enumerate(
            zip(*(p.tolist() for p in (problem.items.pair_rows_P, problem.items.pair_columns_P)), strict=True)
        )
    }
    own, constant = [0, 1, 2, 3], 4
    for user in range(12):
        gram, right = np.zeros((5, 5)), np.zeros(5)
        for item in np.flatnonzero(problem.mask[user]):
            for i in range(5):
                for j in range(5):
                    gram[i, j] += problem.item_moments[index[min(i, j), max(i, j)], item]
            right += float(problem.ratings[user, item]) * problem.item_vectors[item].numpy()
        precision = gram[np.ix_(own, own)] / 0.7 + precision_prior
        mean = np.linalg.solve(
            precision,
            (right[own] - gram[own, constant]) / 0.7 + precision_prior @ problem.user_prior.mean_n.numpy(),
        )
        np.testing.assert_allclose(solved.mean_Bn[user], mean, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            full_covariance(solved, problem.users, user), np.linalg.inv(precision), rtol=1e-9, atol=1e-12
        )


def test_a_user_without_ratings_keeps_the_prior() -> None:
    problem = TwoSides(seed=0)
    problem.user_prior = Prior(torch.linspace(-1, 1, FACTORS + 1).double(), 0.5 * torch.eye(FACTORS + 1).double())

    solved = problem.solve_users()

    torch.testing.assert_close(solved.mean_Bn[0], problem.user_prior.mean_n)
    assert float(solved.sums_S[0]) == 11


def test_squared_error_is_the_expectation_over_both_posteriors() -> None:
    problem = TwoSides(seed=1)
    users = problem.solve_users()
    items, error = problem.solve_items(users)
    expected = 0.0
    for user, item in zip(*np.nonzero(problem.mask.numpy()), strict=True):
        mean = float(users.vectors_BD[user] @ items.vectors_BD[item])
        # E[(a.z)^2] = trace(E[a a^T] E[z z^T])
        second = sum(
            (1 if i == j else 2) * float(users.moments_WB[p, user] * items.moments_WB[p, item])
            for p, (i, j) in enumerate(
                zip(problem.users.pair_rows_P.tolist(), problem.users.pair_columns_P.tolist(), strict=True)
            )
        )
        rating = float(problem.ratings[user, item])
        expected += rating**2 - 2 * rating * mean + second
    assert error == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("prior", ["adaptive", "fixed"])
def test_the_bound_never_falls_on_a_hundred_random_problems(prior: str) -> None:
    regularization = 2.0
    for seed in range(100):
        problem, last = TwoSides(seed=seed), -math.inf
        if prior == "fixed":
            problem.user_prior = problem.item_prior = Prior.isotropic(
                FACTORS + 1, problem.noise / regularization, CPU
            )
        for _ in range(8):
            users = problem.solve_users()
            items, error = problem.solve_items(users)
            bound = problem.bound(users, items, error)
            assert bound >= last - 1e-9 * abs(last)
            last, count = bound, int(problem.mask.sum())
            if prior == "adaptive":
                problem.noise = error / count
                problem.user_prior = em.adapted_prior(users.sums_S, problem.users, 0.0)
                problem.item_prior = em.adapted_prior(items.sums_S, problem.items, 0.0)
            else:
                sides = [(users.sums_S, problem.users), (items.sums_S, problem.items)]
                problem.noise = em.ridge_noise(error, count, sides, regularization)
                problem.user_prior = problem.item_prior = Prior.isotropic(
                    FACTORS + 1, problem.noise / regularization, CPU
                )


def test_point_moments_are_outer_products_of_the_means() -> None:
    problem = TwoSides(seed=2, point=True)
    solved = problem.solve_users()
    rows, columns = problem.users.pair_rows_P, problem.users.pair_columns_P

    expected = solved.vectors_BD[:, rows] * solved.vectors_BD[:, columns]

    torch.testing.assert_close(solved.moments_WB[: len(rows)].T, expected)


def test_panels_hold_the_table_they_were_given() -> None:
    layout = Layout.of("users", 16, CPU)
    moments_WB = torch.randn(sum(layout.widths), 7)
    table = Panels(7, layout, moments_WB)

    table.put(0, moments_WB[:, :3])
    table.put(3, moments_WB[:, 3:])

    assert [panel.shape[1] for panel in table.panels] == [64, 64, 48]
    assert torch.equal(torch.cat(table.panels, 1), moments_WB.T)
