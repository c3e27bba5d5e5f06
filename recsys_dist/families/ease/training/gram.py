"""X^T W X over the users of one rank, a block column at a time.

Sums of products are exact (families/targets.py), so the number of ranks and the order of users do not matter.
Items come by falling popularity. The first of them have so many interactions that a dense product is faster.

u users of a rank, n items with padding, b width of a block, D items of the dense part
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.families.ease.training.interactions import Interactions
from recsys_dist.families.ease.training.layout import BlockLayout
from recsys_dist.families.targets import STEPS

DENSE_SHARE = 0.03
"""Blocks of items that at least this share of the users have are multiplied as dense ones."""
DENSE_BYTES = 1 << 30
"""Bound of the dense part."""
EXACT_USERS = (1 << 24) // STEPS**2
"""Users whose products sum exactly in float32."""


class PartialGram:
    """X^T W X of this rank's users."""

    def __init__(self, interactions: Interactions, layout: BlockLayout) -> None:
        self._layout, self._weight_u = layout, interactions.weight_u
        value_un = interactions.value_un
        # By item, which makes columns of X rows; in float64, which adds exactly.
        self._by_item = value_un.T.tocsr().astype(np.float64)
        num_dense = _dense_columns(np.diff(self._by_item.indptr), value_un.shape[0], layout)
        self._num_dense = min(num_dense * layout.width, layout.num_items)
        self._dense_parts = list(_dense_parts(interactions, self._num_dense))

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
        for weight, part_vD in self._dense_parts:
            product[:, : stop - first] += weight * (part_vD[:, first:].T @ part_vD[:, first:stop]).double().numpy()
        return product

    def _add_sparse_product(self, first: int, first_row: int, total_Rb: NDArray[np.float64]) -> None:
        num_items = self._by_item.shape[0]
        own = self._by_item[first : min(first + self._layout.width, num_items)]
        own.data = own.data * self._weight_u[own.indices]
        product = (self._by_item[first_row:] @ own.T.tocsr()).toarray()
        total_Rb[: product.shape[0], : product.shape[1]] += product


def _dense_parts(interactions: Interactions, num_dense: int) -> Iterator[tuple[float, torch.Tensor]]:
    """Dense values [v, D] of users with equal weights, and the weight; few enough to sum exactly."""
    if num_dense == 0:
        return
    for weight in np.unique(interactions.weight_u):
        users = np.flatnonzero(interactions.weight_u == weight)
        for start in range(0, len(users), EXACT_USERS):
            part = interactions.value_un[users[start : start + EXACT_USERS], :num_dense]
            yield float(weight), torch.from_numpy(part.toarray())


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
