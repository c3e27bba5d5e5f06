import numpy as np
import torch
from scipy import sparse

from recsys_dist.kernels.sparse import Csr, transpose


def random_matrix() -> sparse.csr_matrix:
    matrix = sparse.random(40, 25, density=0.2, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    matrix.data[matrix.indptr[7] : matrix.indptr[8]] = 0
    matrix.eliminate_zeros()
    return matrix


def to_csr(matrix: sparse.csr_matrix) -> Csr:
    return Csr.from_numpy(matrix.indptr, matrix.indices, matrix.data, matrix.shape[1], torch.device("cpu"))


def test_products_equal_the_dense_ones_also_for_an_empty_row() -> None:
    matrix, table = random_matrix(), torch.randn(25, 6)
    dense = torch.from_numpy(matrix.toarray())

    torch.testing.assert_close(to_csr(matrix).weighted_sum(table), dense @ table)
    torch.testing.assert_close(to_csr(matrix).plain_sum(table), (dense != 0).float() @ table)


def test_transpose_is_the_transpose() -> None:
    matrix = random_matrix()
    indptr, indices, values = transpose(matrix.indptr, matrix.indices, matrix.data, 25)

    turned = sparse.csr_matrix((values, indices, indptr), shape=(25, 40))
    assert (turned != matrix.T).nnz == 0
