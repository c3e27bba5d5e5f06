"""Products of tiles: the same bits for any rows, and those of one product of all."""

from __future__ import annotations

import pytest
import torch

from recsys_dist.kernels import exact_product
from recsys_dist.kernels.exact_product import TileProduct


@pytest.mark.parametrize("width", [1, 2, 7, 16, 64, 65, 130, 200, 512])
def test_the_bits_of_a_score_depend_on_no_other_row(width):
    generator = torch.Generator().manual_seed(width)
    vector_RK = torch.randn((60, width), generator=generator)
    vector_TK, bias_T = torch.randn((96, width), generator=generator), torch.randn(96, generator=generator)
    product = TileProduct(width)

    whole = product(vector_RK, vector_TK, bias_T)

    assert torch.equal(whole, torch.addmm(bias_T, vector_RK, vector_TK.T))
    for rows in ([5], [1, 8], [3, 4, 59], list(range(7)), list(range(0, 60, 3)), list(range(20, 60))):
        assert torch.equal(product(vector_RK[rows], vector_TK, bias_T), whole[rows])


def test_without_onednn_products_are_those_of_torch(monkeypatch):
    def absent(*_):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(exact_product, "_by_onednn", absent)
    vector_RK, vector_TK, bias_T = torch.eye(9, 4), torch.ones(32, 4), torch.arange(32.0)

    assert torch.equal(TileProduct(4)(vector_RK, vector_TK, bias_T), torch.addmm(bias_T, vector_RK, vector_TK.T))


def test_a_library_that_rounds_otherwise_is_not_used(monkeypatch):
    by_onednn = exact_product._by_onednn
    monkeypatch.setattr(exact_product, "_by_onednn", lambda *rows: by_onednn(*rows) * (1 + 2**-22))
    vector_RK, vector_TK, bias_T = torch.rand(9, 4), torch.rand(32, 4), torch.rand(32)

    assert torch.equal(TileProduct(4)(vector_RK, vector_TK, bias_T), torch.addmm(bias_T, vector_RK, vector_TK.T))
