"""The best items of users so far. An item and its score are one integer, so that larger means better, ties included.

B users of a block, n places, R rows of a tile, T places of a tile, G groups of places, M groups that contain a new
best item, N new best items, P rows that have some, w the most of a row
"""

from __future__ import annotations

import torch

GROUP = 32
"""Items that are first represented by their best score: taking maxima is many times faster than selecting."""
LOW = (1 << 32) - 1
NOTHING = torch.iinfo(torch.int64).min
"""The key of an empty place."""


class RunningBest:
    """The n best of each of B users, ties by ascending item."""

    def __init__(self, num_users: int, n: int) -> None:
        self._n = n
        self._key_Bn = torch.full((num_users, n), NOTHING)
        self.threshold_B = torch.full((num_users,), -torch.inf)
        """The n-th best score: a lower one is not listed."""
        self._item_B = torch.zeros(num_users, dtype=torch.int64)
        # The item at the n-th place: of equal scores only lower items are listed

    def add(self, row_R: torch.Tensor, score_RT: torch.Tensor, item_T: torch.Tensor) -> None:
        """Enter the scores of items of ascending index for some users; -inf is no score."""
        score_RGg = score_RT.unflatten(1, (-1, GROUP))
        best_RG = score_RGg.amax(2)
        threshold_R, item_R = self._raised(row_R, best_RG)
        is_hit_RG = best_RG > threshold_R.unsqueeze(1)
        is_hit_RG |= (best_RG == threshold_R.unsqueeze(1)) & (item_T[::GROUP] < item_R.unsqueeze(1))
        hit_M, group_M = is_hit_RG.nonzero(as_tuple=True)
        score_Mg = score_RGg[hit_M, group_M]
        least_M = threshold_R[hit_M].clamp(min=torch.finfo(torch.float32).min)
        new_N, offset_N = (score_Mg >= least_M.unsqueeze(1)).nonzero(as_tuple=True)
        if len(new_N):
            key_N = _keys(score_Mg[new_N, offset_N], item_T[group_M[new_N] * GROUP + offset_N])
            self._enter(row_R[hit_M[new_N]], key_N)

    def lists(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Items and scores, best first; -inf at empty places: [B, n] each"""
        is_empty_Bn = self._key_Bn == NOTHING
        score_Bn = _scores(self._key_Bn).masked_fill(is_empty_Bn, -torch.inf)
        return _items(self._key_Bn).masked_fill(is_empty_Bn, 0), score_Bn

    def _raised(self, row_R: torch.Tensor, best_RG: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Threshold, and items below which a score equal to it counts. The n-th best of n groups is a threshold for
        rows whose lists are not full."""
        threshold_R, item_R = self.threshold_B[row_R], self._item_B[row_R]
        if best_RG.shape[1] >= self._n and threshold_R.isneginf().any():
            least_R = best_RG.topk(self._n, dim=1).values[:, -1]
            item_R = item_R.masked_fill(least_R > threshold_R, LOW)
            threshold_R = torch.maximum(threshold_R, least_R)
        return threshold_R, item_R

    def _enter(self, row_N: torch.Tensor, key_N: torch.Tensor) -> None:
        """Merge new keys into the lists of ascending rows."""
        row_P, place_N, count_P = row_N.unique_consecutive(return_inverse=True, return_counts=True)
        first_P = count_P.cumsum(0) - count_P
        column_N = torch.arange(len(row_N)) - first_P[place_N] + self._n
        key_Pw = torch.full((len(row_P), self._n + int(count_P.max())), NOTHING)
        key_Pw[:, : self._n] = self._key_Bn[row_P]
        key_Pw[place_N, column_N] = key_N
        best_Pn = key_Pw.topk(self._n, dim=1).values
        self._key_Bn[row_P] = best_Pn
        last_P, is_full_P = best_Pn[:, -1], best_Pn[:, -1] != NOTHING
        self.threshold_B[row_P[is_full_P]] = _scores(last_P[is_full_P])
        self._item_B[row_P[is_full_P]] = _items(last_P[is_full_P])


def _keys(score_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
    """Score in the upper half, in an order of integers, and the complement of the item in the lower: int64 [N]"""
    # Adding 0 makes 0 of -0, which is equal to it.
    bits_N = (score_N + 0.0).view(torch.int32)
    # Floats order like integers of sign and magnitude: negative ones are mirrored.
    ordered_N = bits_N ^ ((bits_N >> 31) & 0x7FFFFFFF)
    return (ordered_N.long() << 32) | (LOW - item_N)


def _scores(key_N: torch.Tensor) -> torch.Tensor:
    ordered_N = (key_N >> 32).int()
    return (ordered_N ^ ((ordered_N >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _items(key_N: torch.Tensor) -> torch.Tensor:
    return LOW - (key_N & LOW)
