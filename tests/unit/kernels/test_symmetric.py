import pytest
import torch

from recsys_dist.kernels.symmetric import eliminate, factorize


@pytest.mark.parametrize("inverse", [eliminate, factorize])
@pytest.mark.parametrize("n", [1, 2, 17, 40])
def test_inverse_and_log_determinant_agree_with_lapack_one_by_one(inverse, n: int) -> None:
    generator = torch.Generator().manual_seed(n)
    root = torch.randn(30, n, n + 3, generator=generator, dtype=torch.float64)
    matrices = root @ root.mT + 0.1 * torch.eye(n, dtype=torch.float64)

    inverse_nnB, log_determinant_B = inverse(matrices.permute(1, 2, 0).clone())

    torch.testing.assert_close(inverse_nnB.permute(2, 0, 1), torch.linalg.inv(matrices), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(log_determinant_B, torch.logdet(matrices))


@pytest.mark.parametrize("inverse", [eliminate, factorize])
def test_a_matrix_that_is_not_positive_definite_gives_nan_and_leaves_its_neighbours_alone(inverse) -> None:
    matrices = torch.stack([torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, 1.0])), 2 * torch.eye(3)])

    inverse_nnB, log_determinant_B = inverse(matrices.permute(1, 2, 0).clone())

    assert torch.isnan(log_determinant_B).tolist() == [False, True, False]
    torch.testing.assert_close(inverse_nnB[:, :, 2], torch.eye(3) / 2)
