"""Posteriors with independent entries, against the system solved directly in float64."""

import itertools

import numpy as np
import pytest
import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.families.mf.em.conjugate_gradients import ConjugateGradients
from recsys_dist.families.mf.em.diagonal import DiagonalPosterior, row_inner, variance_errors
from recsys_dist.families.mf.em.layout import PanelLayout

CPU = torch.device("cpu")


def systems(rows: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positive definite matrices [R, n, n] and right sides [R, n]; row 0 has nothing to solve."""
    rng = np.random.default_rng(0)
    square = torch.from_numpy(rng.normal(size=(rows, n, n)))
    right = torch.from_numpy(rng.normal(size=(rows, n)))
    right[0] = 0
    return square @ square.mT + torch.eye(n).double(), right


def test_every_row_is_solved_after_as_many_steps_as_it_has_entries_and_gets_no_worse_on_the_way() -> None:
    matrix_Rnn, right_Rn = systems(7, 5)
    exact_Rn, x_Rn = torch.linalg.solve(matrix_Rnn, right_Rn), torch.zeros(7, 5).double()
    solver = ConjugateGradients(right_Rn, row_inner, matrix_Rnn.diagonal(dim1=1, dim2=2).reciprocal())

    errors = []
    for _ in range(5):
        image_Rn = (matrix_Rnn @ solver.direction_Rn.unsqueeze(2)).squeeze(2)
        x_Rn = x_Rn + solver.step(image_Rn)
        gap_Rn = (x_Rn - exact_Rn).unsqueeze(1)
        errors.append((gap_Rn @ matrix_Rnn @ gap_Rn.mT).flatten())

    torch.testing.assert_close(x_Rn, exact_Rn, rtol=1e-6, atol=1e-9)
    assert all((after <= before + 1e-12).all() for before, after in itertools.pairwise(errors))
    assert torch.equal(solver.step(torch.zeros(7, 5).double())[0], torch.zeros(5).double())


@pytest.mark.parametrize("side", ["users", "items"])
def test_expected_squared_error_is_that_of_draws_of_both_posteriors(side: Side) -> None:
    rng = np.random.default_rng(1)
    layout = PanelLayout.of(side, 2, CPU)
    own, other_own = (
        layout.own_n.numpy(),
        PanelLayout.of("items" if side == "users" else "users", 2, CPU).own_n.numpy(),
    )
    mean, variance = rng.normal(size=3), rng.random(3)
    z = np.ones((4, 4))
    z[:, other_own] = rng.normal(size=(4, 3))
    z_variance, rating, weight = np.zeros((4, 4)), rng.normal(size=4), rng.random(4)
    z_variance[:, other_own] = rng.random((4, 3))
    posterior = DiagonalPosterior(torch.from_numpy(mean)[None], torch.from_numpy(variance)[None])
    second, spread = weight @ (z**2 + z_variance), weight @ z_variance
    a = np.ones(4)
    a[own] = mean

    beside = variance_errors(posterior, torch.from_numpy(second)[None], torch.from_numpy(spread)[None], layout)

    draws = 400_000
    a_draws = np.ones((draws, 4))
    a_draws[:, own] = mean + rng.normal(size=(draws, 3)) * variance**0.5
    sampled = 0.0
    for row in range(4):
        z_draws = z[row] + rng.normal(size=(draws, 4)) * z_variance[row] ** 0.5
        sampled += weight[row] * ((rating[row] - (a_draws * z_draws).sum(1)) ** 2).mean()
    assert float(beside) + weight @ (rating - z @ a) ** 2 == pytest.approx(sampled, rel=0.01)


def test_the_covariance_sum_has_nothing_off_its_diagonal() -> None:
    layout = PanelLayout.of("items", 2, CPU)
    posterior = DiagonalPosterior(torch.zeros(2, 3), torch.tensor([[1.0, 2, 3], [10, 20, 30]]))

    total_T = posterior.covariance_sum(torch.tensor([1.0, 0.5]).double(), layout)

    full_nn = torch.zeros(3, 3).double()
    full_nn[layout.own_rows_T, layout.own_columns_T] = total_T
    assert torch.equal(full_nn, torch.diag(torch.tensor([6.0, 12, 18]).double()))
