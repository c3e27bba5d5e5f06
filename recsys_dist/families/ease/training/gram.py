"""X^T X over the users of one rank, a block column at a time.

Sums of products are exact (see families/targets.py), so the number of ranks and the order of users do not matter.
Items come by falling popularity. The first of them have so many interactions that a dense product is faster.

u users of a rank, n items with padding, b width of a block, D items of the dense part
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.families.ease.training.interactions import Csr
from recsys_dist.families.ease.training.layout import BlockLayout
from recsys_dist.families.targets import STEPS

DENSE_SHARE = 0.03
"""Blocks of items that at least this share of the users have are multiplied as dense ones."""
DENSE_BYTES = 1 << 30
"""Bound of the dense part."""
EXACT_USERS = (1 << 24) // STEPS**2
"""Users whose products sum exactly in float32."""


class PartialGram:
    """X^T X of this rank's users."""

    def __init__(self, value_un: Csr, layout: BlockLayout) -> None:
        self._layout = layout
        # By item, which makes columns of X rows; in float64, which adds exactly.
        self._by_item = value_un.T.tocsr().astype(np.float64)
        num_dense = _dense_columns(np.diff(self._by_item.indptr), value_un.shape[0], layout)
        self._num_dense = min(num_dense * layout.width, layout.num_items)
        self._dense_uD = torch.from_numpy(value_un[:, : self._num_dense].toarray())

    def column(self, column: int) -> torch.Tensor:
        """The blocks of a column from the diagonal downwards, on the CPU: float64 [stored rows, b]."""
        layout, first = self._layout, column * self._layout.width
        total_Rb = np.zeros((layout.stored_rows(column), layout.width))
        dense_rows = max(0, self._num_dense - first)
        if dense_rows:
            total_Rb[:dense_rows] = self._dense_product(first)
        self._add_sparse_product(first, first + dense_rows, total_Rb[dense_rows:])
        return torch.from_numpy(total_Rb)

    def _dense_product(self, first: int) -> NDArray[np.float64]:
        stop = min(first + self._layout.width, self._num_dense)
        product = np.zeros((self._num_dense - first, self._layout.width))
        for part_vD in self._dense_uD.split(EXACT_USERS):
            product[:, : stop - first] += (part_vD[:, first:].T @ part_vD[:, first:stop]).numpy()
        return product

    def _add_sparse_product(self, first: int, first_row: int, total_Rb: NDArray[np.float64]) -> None:
        num_items = self._by_item.shape[0]
        own = self._by_item[first : min(first + self._layout.width, num_items)].T.tocsr()
        product = (self._by_item[first_row:] @ own).toarray()
        total_Rb[: product.shape[0], : product.shape[1]] += product


def _dense_columns(num_of_item: NDArray[np.integer], num_users: int, layout: BlockLayout) -> int:
    """Number of the first blocks of items that are dense enough, within bounds of memory."""
    most = DENSE_BYTES // max(1, 4 * num_users * layout.width)
    columns = 0
    while columns < min(most, layout.count):
        block = num_of_item[columns * layout.width : (columns + 1) * layout.width]
        if not block.sum() >= DENSE_SHARE * num_users * len(block):
            break
        columns += 1
    return columns
