"""Products of vectors with those of a tile, plus biases. The bits do not depend on how many rows are asked for.

R rows, T vectors of a tile, K width
"""

from __future__ import annotations

import torch

LEAST_ROWS = 8
"""Libraries sum in another order for a single row, MKL also for 2 to 7; fewer rows are padded."""
PROBED_ROWS, PROBED_VECTORS = 32, 256


class TileProduct:
    """Products in float32 on a CPU, by the faster of two libraries that return the same bits.

    On processors of AMD oneDNN takes a third of the time of MKL, which `torch.addmm` calls. Both add the K terms
    of a score one after the other, but MKL cuts a large K into panels. So a probe of this K decides.
    """

    def __init__(self, width: int) -> None:
        self._is_packed = width > 0 and _returns_the_same_bits(width)

    def __call__(self, vector_RK: torch.Tensor, vector_TK: torch.Tensor, bias_T: torch.Tensor) -> torch.Tensor:
        """bias + products: [R, T]"""
        num_rows = len(vector_RK)
        if num_rows < LEAST_ROWS:
            vector_RK = vector_RK[torch.arange(LEAST_ROWS) % num_rows]
        product = _by_onednn if self._is_packed else _by_addmm
        return product(vector_RK, vector_TK, bias_T)[:num_rows]


def _by_addmm(vector_RK: torch.Tensor, vector_TK: torch.Tensor, bias_T: torch.Tensor) -> torch.Tensor:
    return torch.addmm(bias_T, vector_RK, vector_TK.T)


def _by_onednn(vector_RK: torch.Tensor, vector_TK: torch.Tensor, bias_T: torch.Tensor) -> torch.Tensor:
    product_RT: torch.Tensor = torch.ops.mkldnn._linear_pointwise(vector_RK, vector_TK, bias_T, "none", [], "")
    return product_RT


def _returns_the_same_bits(width: int) -> bool:
    """Whether oneDNN is there and agrees with `torch.addmm` in all bits of random products of this width."""
    generator = torch.Generator().manual_seed(width)
    vector_RK = torch.randn((PROBED_ROWS, width), generator=generator)
    vector_TK = torch.randn((PROBED_VECTORS, width), generator=generator)
    bias_T = torch.randn(PROBED_VECTORS, generator=generator)
    expected_RT = _by_addmm(vector_RK, vector_TK, bias_T)
    try:
        some = [_by_onednn(vector_RK[:rows], vector_TK, bias_T) for rows in (LEAST_ROWS, PROBED_ROWS)]
    except (AttributeError, RuntimeError):  # this build of torch has no oneDNN, or another operator
        return False
    return all(torch.equal(some_RT, expected_RT[: len(some_RT)]) for some_RT in some)
