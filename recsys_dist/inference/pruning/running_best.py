"""The best items of users so far. An item and its score are one integer, which is larger for a better one.

B users of a block, n places of a list, R users of a tile, T places of a tile, G groups of g places, M groups with
a new item, N new items, P users that have some, w the most of a user
"""

from __future__ import annotations

import torch

GROUP = 32
"""g: items that are first represented by their best score. Taking maxima is many times faster than selecting."""
MOST_WAITING = 1 << 20
LOW = (1 << 32) - 1
NOTHING = torch.iinfo(torch.int64).min
"""The key of an empty place."""


class RunningBest:
    """The n best of each of B users, ties by ascending item.

    New items wait until as many tiles have been added as before the last merge, which halves the merges each time.
    Until then thresholds are those of the last merge.
    """

    def __init__(self, num_users: int, n: int) -> None:
        self._n = n
        self._key_Bn = torch.full((num_users, n), NOTHING)
        self.threshold_B = torch.full((num_users,), -torch.inf)
        """The n-th best score: a lower one is not listed."""
        # Of scores equal to it only those of lower items than this one are listed.
        self._last_item_B = torch.zeros(num_users, dtype=torch.int64)
        self._waiting: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._num_waiting_B = torch.zeros(num_users, dtype=torch.int64)
        self._num_waiting = self._num_tiles = 0
        self._is_full = False
        self._next_merge = 1

    def add(self, row_R: torch.Tensor, score_RT: torch.Tensor, item_T: torch.Tensor) -> None:
        """Enter the scores of the items of a tile for some users, ascending; -inf is no score."""
        score_RGg = score_RT.unflatten(1, (-1, GROUP))
        best_RG, item_G = score_RGg.amax(2), item_T.view(-1, GROUP).amin(1)
        threshold_R, last_item_R = self._raised(row_R, best_RG)
        hit_M, group_M = (best_RG >= threshold_R.unsqueeze(1)).nonzero(as_tuple=True)
        is_better_M = best_RG[hit_M, group_M] > threshold_R[hit_M]
        is_better_M |= item_G[group_M] < last_item_R[hit_M]
        hit_M, group_M = hit_M[is_better_M], group_M[is_better_M]
        score_Mg = score_RGg[hit_M, group_M]
        least_M = threshold_R[hit_M].clamp(min=torch.finfo(torch.float32).min)
        new_N, offset_N = (score_Mg >= least_M.unsqueeze(1)).nonzero(as_tuple=True)
        if len(new_N):
            key_N = _keys(score_Mg[new_N, offset_N], item_T[group_M[new_N] * GROUP + offset_N])
            self._wait(row_R[hit_M[new_N]], key_N)
        self._num_tiles += 1
        if self._num_tiles >= self._next_merge or self._num_waiting > MOST_WAITING:
            self._next_merge = 2 * self._num_tiles
            self._merge()

    def lists(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Items and scores, best first; -inf at empty places: [B, n] each"""
        self._merge()
        is_empty_Bn = self._key_Bn == NOTHING
        score_Bn = _scores(self._key_Bn).masked_fill(is_empty_Bn, -torch.inf)
        return _items(self._key_Bn).masked_fill(is_empty_Bn, 0), score_Bn

    def _raised(self, row_R: torch.Tensor, best_RG: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Thresholds, and items below which an equal score counts.

        At least n items score as much as the n-th best of the groups, which serves where a list is not full.
        """
        threshold_R, last_item_R = self.threshold_B[row_R], self._last_item_B[row_R]
        if best_RG.shape[1] >= self._n and not self._is_full:
            least_R = best_RG.topk(self._n, dim=1).values[:, -1]
            last_item_R = last_item_R.masked_fill(least_R > threshold_R, LOW)
            threshold_R = torch.maximum(threshold_R, least_R)
        return threshold_R, last_item_R

    def _wait(self, row_N: torch.Tensor, key_N: torch.Tensor) -> None:
        """Put new keys, by ascending row, into the next columns of their rows."""
        count_B = torch.bincount(row_N, minlength=len(self._key_Bn))
        first_B = count_B.cumsum(0) - count_B
        column_N = torch.arange(len(row_N)) + (self._num_waiting_B - first_B)[row_N]
        self._waiting.append((row_N, column_N, key_N))
        self._num_waiting_B += count_B
        self._num_waiting += len(row_N)

    def _merge(self) -> None:
        if not self._waiting:
            return
        row_N, column_N, key_N = map(torch.cat, zip(*self._waiting, strict=True))
        row_P = self._num_waiting_B.nonzero().squeeze(1)
        place_B = torch.empty_like(self._num_waiting_B)
        place_B[row_P] = torch.arange(len(row_P))
        key_Pw = torch.full((len(row_P), self._n + int(self._num_waiting_B.max())), NOTHING)
        key_Pw[:, : self._n] = self._key_Bn[row_P]
        key_Pw[place_B[row_N], self._n + column_N] = key_N
        best_Pn = key_Pw.topk(self._n, dim=1).values
        self._key_Bn[row_P] = best_Pn
        last_P, is_full_P = best_Pn[:, -1], best_Pn[:, -1] != NOTHING
        self.threshold_B[row_P[is_full_P]] = _scores(last_P[is_full_P])
        self._last_item_B[row_P[is_full_P]] = _items(last_P[is_full_P])
        self._is_full = not self.threshold_B.isneginf().any()
        self._waiting.clear()
        self._num_waiting_B.zero_()
        self._num_waiting = 0


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
