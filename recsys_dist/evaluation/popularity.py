"""The ranking baseline: of the items that a user has not seen, those with the most train ratings.

B users of a block, I items, n places of a list, P places of the prefix that is looked at
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys_dist.inference.seen import SeenPairs

Items = NDArray[np.int64]


class PopularityLists:
    """All items by decreasing number of train ratings; ties by ascending index."""

    def __init__(self, num_train_I: NDArray[np.int64]) -> None:
        self._order_I = np.argsort(-num_train_I, kind="stable")
        self._place_I = np.empty_like(self._order_I)
        self._place_I[self._order_I] = np.arange(len(self._order_I))

    def best(self, num_users: int, n: int, seen: SeenPairs) -> tuple[Items, NDArray[np.bool_]]:
        """The first n unseen items of each of B users, and whether each place is filled: [B, n] each."""
        num_items = len(self._order_I)
        n = min(n, num_items)
        place_Bn, is_filled_Bn = np.zeros((num_users, n), np.int64), np.zeros((num_users, n), np.bool_)
        position_N, seen_N = seen[0], self._place_I[seen[1]]
        left_B, prefix = np.arange(num_users), n
        # Most users have n unseen items in a short prefix; the others look at a longer one.
        while len(left_B):
            prefix = min(2 * prefix + n, num_items)
            is_unseen_BP = _unseen(left_B, num_users, prefix, position_N, seen_N)
            has_all_B = (is_unseen_BP.sum(1) >= n) | (prefix == num_items)
            done_B = left_B[has_all_B]
            place_Bn[done_B], is_filled_Bn[done_B] = _first(is_unseen_BP[has_all_B], n)
            left_B = left_B[~has_all_B]
        return self._order_I[place_Bn], is_filled_Bn


def _unseen(
    user_B: NDArray[np.int64], num_users: int, prefix: int, position_N: Items, seen_N: Items
) -> NDArray[np.bool_]:
    """Whether each of the first P items is unseen by each of these users: [B, P]"""
    row_U = np.full(num_users, -1)
    row_U[user_B] = np.arange(len(user_B))
    row_N = row_U[position_N]
    mine_N = (seen_N < prefix) & (row_N >= 0)
    is_unseen_BP = np.ones((len(user_B), prefix), np.bool_)
    is_unseen_BP[row_N[mine_N], seen_N[mine_N]] = False
    return is_unseen_BP


def _first(is_unseen_BP: NDArray[np.bool_], n: int) -> tuple[Items, NDArray[np.bool_]]:
    """The places of the first n true entries of each row; unfilled ones are 0."""
    row_N, place_N = np.nonzero(is_unseen_BP)
    count_B = is_unseen_BP.sum(1)
    nth_N = np.arange(len(row_N)) - np.repeat(np.cumsum(count_B) - count_B, count_B)
    kept_N = nth_N < n
    place_Bn = np.zeros((len(is_unseen_BP), n), np.int64)
    place_Bn[row_N[kept_N], nth_N[kept_N]] = place_N[kept_N]
    return place_Bn, np.arange(n) < count_B[:, None]
