"""The best items of each user, in a deterministic order.

B users of a block, I items, n items wanted
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch

from recsys_dist.errors import ConfigError
from recsys_dist.inference.seen import SeenPairs
from recsys_dist.protocols.scorer import on_device

SCORE_BLOCK_FLOATS = 1 << 25
"""Scores held at once: 128 MiB."""
GROUP = 64
"""Items of a group, which is first represented by its best score."""


def users_per_block(num_items: int) -> int:
    """B, so that the scores of a block stay within `SCORE_BLOCK_FLOATS`."""
    return max(1, SCORE_BLOCK_FLOATS // num_items)


def require_list_length(n: int) -> None:
    """Raise `ConfigError` if n is not a whole number, 1 or more."""
    if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
        raise ConfigError(f"a list of {n} items is impossible; give a whole number, 1 or more")


def best_items(score_BI: torch.Tensor, n: int, seen: Sequence[SeenPairs]) -> tuple[torch.Tensor, torch.Tensor]:
    """The n best items of each of B users, see `top_items`; `seen` items are set to -inf, in place.

    Raises `ConfigError` if n is not a whole number, 1 or more.
    """
    require_list_length(n)
    for position_N, item_N in seen:
        score_BI[on_device(position_N, score_BI.device), on_device(item_N, score_BI.device)] = -torch.inf
    return top_items(score_BI, n)


def top_items(score_BI: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Items and scores of the n best of each row, best first, ties by ascending item: [B, min(n, I)] each.

    Items scored -inf are not part of a list; they come last if fewer than n others are left.
    """
    num_items = score_BI.shape[1]
    n = min(n, num_items)
    score_Bm, item_Bm = _largest(score_BI, min(n + 1, num_items))
    item_Bn = item_Bm[:, :n].clone()
    if num_items > n:
        # topk takes any of the items that tie for the last place: a full sort takes the lowest.
        cut_B = (score_Bm[:, n - 1] == score_Bm[:, n]) & ~score_Bm[:, n].isneginf()
        item_Bn[cut_B] = score_BI[cut_B].sort(dim=1, descending=True, stable=True).indices[:, :n]
    item_Bn = item_Bn.sort(dim=1).values
    score_Bn, order_Bn = score_BI.gather(1, item_Bn).sort(dim=1, descending=True, stable=True)
    return item_Bn.gather(1, order_Bn), score_Bn


def _largest(score_BI: torch.Tensor, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The m largest scores of each row, descending, and their items: [B, m] each.

    The m groups of items with the largest maxima contain m largest scores: any score in another group is at most
    as large as each of these maxima. Taking maxima is many times faster than selecting.
    """
    num_items = score_BI.shape[1]
    whole = num_items // GROUP * GROUP
    if whole < 8 * GROUP * m:
        return score_BI.topk(m, dim=1)
    grouped_BgG = score_BI[:, :whole].unflatten(1, (-1, GROUP))
    group_Bm = grouped_BgG.amax(2).topk(m, dim=1).indices
    item_BmG = group_Bm.unsqueeze(2) * GROUP + torch.arange(GROUP, device=score_BI.device)
    rest = torch.arange(whole, num_items, device=score_BI.device).expand(len(score_BI), -1)
    item_Bc = torch.cat([item_BmG.flatten(1), rest], 1)
    score_Bm, place_Bm = score_BI.gather(1, item_Bc).topk(m, dim=1)
    return score_Bm, item_Bc.gather(1, place_Bm)
