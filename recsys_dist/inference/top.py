"""The best items of each user, in an order that never depends on chance.

B users of a block, I items, n items wanted
"""

from __future__ import annotations

import torch

SCORE_BLOCK_FLOATS = 1 << 25
"""Scores held at once: 128 MiB."""


def users_per_block(num_items: int) -> int:
    """B, so that the scores of a block stay within `SCORE_BLOCK_FLOATS`."""
    return max(1, SCORE_BLOCK_FLOATS // num_items)


def top_items(score_BI: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Items and scores of the n best of each row, best first, equal scores by ascending item: [B, min(n, I)] each.

    Items scored -inf are not wanted; they come last where fewer than n others are left.
    """
    num_items = score_BI.shape[1]
    n = min(n, num_items)
    score_Bm, item_Bm = score_BI.topk(min(n + 1, num_items), dim=1)
    item_Bn = item_Bm[:, :n].clone()
    if num_items > n:
        # topk takes any of the items that share the last score: there the lowest items are chosen by a full sort.
        cut_B = (score_Bm[:, n - 1] == score_Bm[:, n]) & ~score_Bm[:, n].isneginf()
        item_Bn[cut_B] = score_BI[cut_B].sort(dim=1, descending=True, stable=True).indices[:, :n]
    item_Bn = item_Bn.sort(dim=1).values
    score_Bn, order_Bn = score_BI.gather(1, item_Bn).sort(dim=1, descending=True, stable=True)
    return item_Bn.gather(1, order_Bn), score_Bn
