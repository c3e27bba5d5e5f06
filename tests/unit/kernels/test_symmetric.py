"""Batches of symmetric systems against LAPACK one by one. The orders take every path: scalar steps, and blocks of
both sizes with ragged cuts."""

import pytest
import torch

from recsys_dist.kernels.symmetric import spd_solve

ORDERS = [1, 2, 17, 65, 80, 81, 131]


def spd_matrices(count: int, n: int, condition: float) -> torch.Tensor:
    """[B, n, n] in float32, of random directions and of eigenvalues from 1 down to 1 / condition."""
    generator = torch.Generator().manual_seed(n)
    random_Bnn = torch.randn(count, n, n, generator=generator, dtype=torch.float64)
    directions_Bnn = torch.linalg.qr(random_Bnn).Q
    eigenvalues_n = condition ** -torch.linspace(0, 1, n, dtype=torch.float64)
    matrix_Bnn = (directions_Bnn * eigenvalues_n) @ directions_Bnn.mT
    return (matrix_Bnn + matrix_Bnn.mT).div_(2).float()


def batch_last(matrix_Bnn: torch.Tensor) -> torch.Tensor:
    return matrix_Bnn.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)


def bordered(matrix_Bnn: torch.Tensor) -> torch.Tensor:
    """[A | r], batch last, with a right-hand side that is the same for all."""
    right_Bn1 = torch.linspace(-1, 2, matrix_Bnn.shape[1], dtype=matrix_Bnn.dtype).expand(len(matrix_Bnn), -1)
    return batch_last(torch.cat([matrix_Bnn, right_Bn1.unsqueeze(2)], dim=2))


def solved(bordered_nmB: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A^-1 r [B, n], A^-1 [B, n, n] and log det A [B]."""
    log_determinant_B = spd_solve(bordered_nmB)
    upper_Bnn = -bordered_nmB[:, :-1].permute(2, 0, 1).triu()
    return bordered_nmB[:, -1].T, upper_Bnn + upper_Bnn.triu(1).mT, log_determinant_B


def relative_errors(found_Bnn: torch.Tensor, true_Bnn: torch.Tensor) -> torch.Tensor:
    return torch.linalg.matrix_norm(found_Bnn - true_Bnn) / torch.linalg.matrix_norm(true_Bnn)


@pytest.mark.parametrize("n", ORDERS)
def test_solutions_inverses_and_log_determinants_agree_with_lapack_one_by_one(n: int) -> None:
    matrix_Bnn = spd_matrices(10, n, condition=1e3).double()
    bordered_nmB = bordered(matrix_Bnn)
    right_Bn = bordered_nmB[:, -1].T.clone()

    solution_Bn, inverse_Bnn, log_determinant_B = solved(bordered_nmB)

    assert relative_errors(inverse_Bnn, torch.linalg.inv(matrix_Bnn)).max() < 1e-12
    torch.testing.assert_close(solution_Bn, torch.linalg.solve(matrix_Bnn, right_Bn))
    torch.testing.assert_close(log_determinant_B, torch.logdet(matrix_Bnn))


@pytest.mark.parametrize("condition", [1e1, 1e5])
@pytest.mark.parametrize("n", ORDERS)
def test_float32_loses_about_as_much_as_lapack_does(n: int, condition: float) -> None:
    matrix_Bnn = spd_matrices(10, n, condition)
    bordered_nmB = bordered(matrix_Bnn)
    right_Bn1 = bordered_nmB[:, -1].T.unsqueeze(2).clone()
    true_Bnn, true_log_B = torch.linalg.inv(matrix_Bnn.double()), torch.logdet(matrix_Bnn.double())
    true_Bn1 = true_Bnn @ right_Bn1.double()
    lower_Bnn = torch.linalg.cholesky(matrix_Bnn)
    lapack_error = relative_errors(torch.cholesky_inverse(lower_Bnn), true_Bnn).max()
    lapack_solution_error = relative_errors(torch.cholesky_solve(right_Bn1, lower_Bnn), true_Bn1).max()
    lapack_log_error = (2 * lower_Bnn.diagonal(dim1=1, dim2=2).log().sum(1) - true_log_B).abs().max()

    solution_Bn, inverse_Bnn, log_determinant_B = solved(bordered_nmB)

    assert relative_errors(inverse_Bnn, true_Bnn).max() < 3 * lapack_error + 1e-7
    assert relative_errors(solution_Bn.unsqueeze(2), true_Bn1).max() < 3 * lapack_solution_error + 1e-6
    assert (log_determinant_B - true_log_B).abs().max() < 3 * lapack_log_error + 1e-6 * n


@pytest.mark.parametrize("n", [3, 81])
@pytest.mark.parametrize("pivot", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_matrix_that_is_not_positive_definite_gives_nan_and_leaves_its_neighbours_alone(
    n: int, pivot: float
) -> None:
    matrix_Bnn = spd_matrices(5, n, condition=10.0)
    expected = solved(bordered(matrix_Bnn))
    matrix_Bnn[2, n - 1, :] = matrix_Bnn[2, :, n - 1] = 0.0
    matrix_Bnn[2, n - 1, n - 1] = pivot

    found = solved(bordered(matrix_Bnn))

    assert found[0][2].isnan().all()
    assert found[2].isnan().tolist() == [False, False, True, False, False]
    kept = [0, 1, 3, 4]
    assert all(torch.equal(one[kept], other[kept]) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize(("n", "count"), [(2, 1003), (17, 500), (65, 103), (81, 70), (131, 20)])
def test_bits_depend_neither_on_the_batch_nor_on_threads(n: int, count: int) -> None:
    matrix_Bnn = spd_matrices(count, n, condition=1e2)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = solved(bordered(matrix_Bnn))
        for num_threads, start, stop in [(2, 0, count), (2, 3, 4), (1, 5, 12), (1, 7, count)]:
            torch.set_num_threads(num_threads)
            found = solved(bordered(matrix_Bnn[start:stop]))
            assert all(torch.equal(one, other[start:stop]) for one, other in zip(found, expected, strict=True))
    finally:
        torch.set_num_threads(threads)
