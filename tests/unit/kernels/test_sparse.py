import numpy as np
import torch
from scipy import sparse

from recsys_dist.kernels.sparse import Csr, Tables, transpose


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

    transposed = sparse.csr_matrix((values, indices, indptr), shape=(25, 40))
    assert (transposed != matrix.T).nnz == 0


def test_the_sums_of_pieces_are_those_of_the_whole_bit_for_bit() -> None:
    ratings = to_csr(random_matrix())
    tables = Tables([torch.randn(25, 6)], torch.randn(25, 3), torch.rand(25, 1))
    whole = ratings.sums(tables).members

    for num_rows in (1, 8, 16, 40, 100):
        pieces = [piece.sums(tables).members for piece in ratings.pieces(num_rows)]
        assert all(
            torch.equal(torch.cat(parts), total)
            for parts, total in zip(zip(*pieces, strict=True), whole, strict=True)
        )


def test_no_rows_are_one_piece_as_torch_splits_a_table_without_rows() -> None:
    (piece,) = to_csr(random_matrix()).rows(5, 5).pieces(16)

    assert piece.num_rows == piece.num_entries == 0


def test_a_table_may_be_summed_in_several_ways_at_once() -> None:
    matrix, ones = random_matrix(), torch.ones(25, 1)
    dense = torch.from_numpy(matrix.toarray())

    count, total, squares = to_csr(matrix).sums(Tables([ones], ones, ones)).members

    torch.testing.assert_close(count[:, 0], (dense != 0).float().sum(1))
    torch.testing.assert_close(total[:, 0], dense.sum(1))
    torch.testing.assert_close(squares[:, 0], dense.square().sum(1))
