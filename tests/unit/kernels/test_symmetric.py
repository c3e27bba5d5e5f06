"""Batches of symmetric inverses against LAPACK one by one. The orders take every path: scalar steps, and blocks of
both sizes with ragged cuts."""

import pytest
import torch

from recsys_dist.kernels.symmetric import spd_inverse

ORDERS = [1, 2, 17, 48, 49, 65, 131]


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


def relative_errors(found_Bnn: torch.Tensor, true_Bnn: torch.Tensor) -> torch.Tensor:
    return torch.linalg.matrix_norm(found_Bnn - true_Bnn) / torch.linalg.matrix_norm(true_Bnn)


@pytest.mark.parametrize("n", ORDERS)
def test_inverse_and_log_determinant_agree_with_lapack_one_by_one(n: int) -> None:
    matrix_Bnn = spd_matrices(10, n, condition=1e3).double()

    inverse_nnB, log_determinant_B = spd_inverse(batch_last(matrix_Bnn))

    assert relative_errors(inverse_nnB.permute(2, 0, 1), torch.linalg.inv(matrix_Bnn)).max() < 1e-12
    torch.testing.assert_close(log_determinant_B, torch.logdet(matrix_Bnn))


@pytest.mark.parametrize("condition", [1e1, 1e5])
@pytest.mark.parametrize("n", ORDERS)
def test_float32_loses_about_as_much_as_lapack_does(n: int, condition: float) -> None:
    matrix_Bnn = spd_matrices(10, n, condition)
    true_Bnn, true_log_B = torch.linalg.inv(matrix_Bnn.double()), torch.logdet(matrix_Bnn.double())
    lower_Bnn = torch.linalg.cholesky(matrix_Bnn)
    lapack_error = relative_errors(torch.cholesky_inverse(lower_Bnn), true_Bnn).max()
    lapack_log_error = (2 * lower_Bnn.diagonal(dim1=1, dim2=2).log().sum(1) - true_log_B).abs().max()

    inverse_nnB, log_determinant_B = spd_inverse(batch_last(matrix_Bnn))

    assert relative_errors(inverse_nnB.permute(2, 0, 1), true_Bnn).max() < 3 * lapack_error + 1e-7
    assert (log_determinant_B - true_log_B).abs().max() < 3 * lapack_log_error + 1e-6 * n


@pytest.mark.parametrize("n", [3, 65])
@pytest.mark.parametrize("pivot", [-1.0, 0.0, float("nan"), float("inf")])
def test_a_matrix_that_is_not_positive_definite_gives_nan_and_leaves_its_neighbours_alone(
    n: int, pivot: float
) -> None:
    matrix_Bnn = spd_matrices(5, n, condition=10.0)
    expected_nnB, expected_log_B = spd_inverse(batch_last(matrix_Bnn))
    matrix_Bnn[2, n - 1, :] = matrix_Bnn[2, :, n - 1] = 0.0
    matrix_Bnn[2, n - 1, n - 1] = pivot

    inverse_nnB, log_determinant_B = spd_inverse(batch_last(matrix_Bnn))

    assert inverse_nnB[:, :, 2].isnan().all()
    assert log_determinant_B.isnan().tolist() == [False, False, True, False, False]
    kept = [0, 1, 3, 4]
    assert torch.equal(inverse_nnB[:, :, kept], expected_nnB[:, :, kept])
    assert torch.equal(log_determinant_B[kept], expected_log_B[kept])


@pytest.mark.parametrize(("n", "count"), [(2, 1003), (17, 500), (49, 103), (65, 70), (131, 20)])
def test_bits_depend_neither_on_the_batch_nor_on_threads(n: int, count: int) -> None:
    matrix_nnB = batch_last(spd_matrices(count, n, condition=1e2))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected_nnB, expected_log_B = spd_inverse(matrix_nnB.clone())
        for num_threads, start, stop in [(2, 0, count), (2, 3, 4), (1, 5, 12), (1, 7, count)]:
            torch.set_num_threads(num_threads)
            inverse_nnB, log_determinant_B = spd_inverse(matrix_nnB.clone()[:, :, start:stop])
            assert torch.equal(inverse_nnB, expected_nnB[:, :, start:stop])
            assert torch.equal(log_determinant_B, expected_log_B[start:stop])
    finally:
        torch.set_num_threads(threads)
