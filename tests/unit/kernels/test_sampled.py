"""The products of an autoencoder and their gradients, against the dense formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.utils._python_dispatch import TorchDispatchMode

from recsys_dist.kernels import sampled
from recsys_dist.kernels.sampled import ColumnProduct, Pattern, sampled_product, weighted_rows

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 4], ids="tiles of {}".format, autouse=True)
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables read whole, as their few columns would be, or in tiles of so many columns."""
    if request.param > 1:
        monkeypatch.setattr(sampled, "TILE_COLUMNS", request.param)
        monkeypatch.setattr(sampled, "TILE_ENTRIES", 1)
        monkeypatch.setattr(sampled, "LEAST_TILES", 2)


def random_pattern(rows: int, columns: int, density: float, seed: int = 0):
    """A pattern with an empty row and an empty column, and the dense mask of it."""
    rng = np.random.default_rng(seed)
    mask = rng.random((rows, columns)) < density
    mask[rows // 2], mask[:, columns // 2] = False, False
    csr = sparse.csr_matrix(mask)
    return Pattern.from_numpy(csr.indptr, csr.indices, columns, CPU), torch.from_numpy(mask)


def leaf(*shape: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def test_products_equal_the_dense_formulas_and_their_gradients() -> None:
    pattern, mask = random_pattern(6, 9, 0.4)
    rows, columns = mask.nonzero(as_tuple=True)
    values, weights = leaf(len(rows), seed=1).detach(), leaf(len(rows), seed=2).detach()
    table, decoder, bias = leaf(9, 4, seed=3), leaf(9, 4, seed=4), leaf(9, seed=5)

    hidden = torch.sigmoid(weighted_rows(pattern, values, table))
    entries = sampled_product(pattern, hidden, decoder, bias)
    gradients = torch.autograd.grad(entries @ weights, [table, decoder, bias])

    dense_x = torch.zeros(6, 9, dtype=torch.float64).index_put((rows, columns), values)
    dense = (torch.sigmoid(dense_x @ table) @ decoder.T + bias)[rows, columns]
    expected = torch.autograd.grad(dense @ weights, [table, decoder, bias])
    torch.testing.assert_close(entries, dense)
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, want)


def test_tiles_add_up_to_the_whole_where_some_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "TILE_COLUMNS", 5)
    monkeypatch.setattr(sampled, "TILE_ENTRIES", 1)
    rng = np.random.default_rng(3)
    mask = rng.random((7, 33)) < 0.8
    mask[:, :6] = mask[:, 12:18] = mask[4] = False
    csr = sparse.csr_matrix(mask)
    pattern = Pattern.from_numpy(csr.indptr, csr.indices, 33, CPU)
    weights, table = leaf(csr.nnz, seed=1).detach(), leaf(33, 3, seed=2).detach()

    assert pattern.tiles is not None
    assert list(pattern.tiles.lengths) == [int(mask[:, start : start + 6].sum()) for start in range(0, 33, 6)]
    dense = torch.zeros(7, 33, dtype=torch.float64).index_put(
        torch.from_numpy(mask).nonzero(as_tuple=True), weights
    )
    torch.testing.assert_close(pattern.rows_sum(weights, table), dense @ table)
    monkeypatch.setattr(sampled, "LEAST_TILES", 7)
    assert Pattern.from_numpy(csr.indptr, csr.indices, 33, CPU).tiles is None


def test_gradients_agree_with_finite_differences() -> None:
    pattern, mask = random_pattern(5, 7, 0.5, seed=1)
    values = leaf(int(mask.sum()), seed=1).detach()
    table, hidden, decoder, bias = leaf(7, 3, seed=2), leaf(5, 3, seed=3), leaf(7, 3, seed=4), leaf(7, seed=5)
    assert torch.autograd.gradcheck(lambda table: weighted_rows(pattern, values, table), [table])
    assert torch.autograd.gradcheck(lambda *inputs: sampled_product(pattern, *inputs), [hidden, decoder, bias])


@pytest.mark.parametrize("num_columns", [1, 4, 9, 20])
def test_gradients_left_for_later_are_the_same_in_blocks(num_columns: int) -> None:
    pattern, mask = random_pattern(6, 9, 0.4)
    values = leaf(int(mask.sum()), seed=1).detach()
    table, hidden, decoder, bias = leaf(9, 4, seed=3), leaf(6, 4, seed=2), leaf(9, 4, seed=4), leaf(9, seed=5)
    of_table: list[ColumnProduct] = []
    of_decoder: list[ColumnProduct] = []
    weighted_rows(pattern, values, table).sin().sum().backward()
    sampled_product(pattern, hidden, decoder, bias).sin().sum().backward()
    expected = table.grad, decoder.grad, hidden.grad, bias.grad
    table.grad = decoder.grad = hidden.grad = bias.grad = None

    weighted_rows(pattern, values, table, of_table).sin().sum().backward()
    sampled_product(pattern, hidden, decoder, bias, of_decoder).sin().sum().backward()

    assert table.grad is None
    assert decoder.grad is None
    (first,), (second,) = of_table, of_decoder
    got = *(torch.cat(list(product.blocks(num_columns))) for product in (first, second)), hidden.grad, bias.grad
    for one, other in zip(got, expected, strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


@pytest.mark.parametrize("rows", [0, 3])
def test_a_batch_without_entries_gives_zero_gradients(rows: int) -> None:
    pattern = Pattern.from_numpy(np.zeros(rows + 1, np.int64), np.empty(0, np.int32), 5, CPU)
    table, decoder, bias = leaf(5, 2, seed=1), leaf(5, 2, seed=2), leaf(5, seed=3)
    nothing = torch.empty(0, dtype=torch.float64)
    entries = sampled_product(pattern, weighted_rows(pattern, nothing, table), decoder, bias)
    assert entries.shape == (0,)
    for gradient in torch.autograd.grad(entries.sum(), [table, decoder, bias]):
        assert gradient.abs().sum() == 0
    (whole,) = ColumnProduct(pattern, nothing, torch.empty(rows, 2)).blocks(5)
    assert torch.equal(whole, torch.zeros(5, 2))


class LargestTensor(TorchDispatchMode):
    """Remembers the most elements that any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided:
                self.elements = max(self.elements, tensor.numel())
        return result


def test_no_tensor_of_rows_by_columns_is_made() -> None:
    pattern, mask = random_pattern(300, 2000, 0.01)
    values = torch.randn(int(mask.sum()))
    table, decoder = torch.randn(2000, 8, requires_grad=True), torch.randn(2000, 8, requires_grad=True)
    bias = torch.zeros(2000, requires_grad=True)
    with LargestTensor() as largest:
        entries = sampled_product(pattern, weighted_rows(pattern, values, table), decoder, bias)
        entries.square().sum().backward()
    assert largest.elements <= max(len(values), 2000 * 8)
