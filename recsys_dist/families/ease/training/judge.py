"""Withheld interactions that choose lambda, normalization and discount: an EASE of popular items ranks them.

The interactions are those of the validation split, or train interactions withheld for the search. The most popular
items stand for all: an eighth of them, within bounds, so that the search costs little beside the solution. Their
columns keep the share of weights that the model will keep: weights that are dropped spoil the lists of a small
lambda, and hardly those of a large one. Noise of items with few interactions, which a larger lambda takes away,
shows in the lists only as far as such items are among them.

J items of the judge, u users of a rank, n items
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.loader import held_out_blocks
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.ease.training.gram import PartialGram
from recsys_dist.families.ease.training.interactions import (
    Csr,
    Interactions,
    mean_length,
    relevant_of,
    train_blocks,
    values_of,
)
from recsys_dist.families.ease.training.layout import BlockLayout
from recsys_dist.families.ease.training.penalty import Penalty
from recsys_dist.families.targets import Target
from recsys_dist.families.tuning_holdout import TuningHoldout, tuning_holdout_share
from recsys_dist.kernels.keyed_random import keyed_mask
from recsys_dist.metrics import ndcg_sums

SHARE_OF_ITEMS, LEAST_ITEMS, MOST_ITEMS = 1 / 8, 1024, 4096
PAIR_BYTES, SHARE_OF_MEMORY = 32, 1 / 2
"""Bytes of a pair of the judge's items in all matrices, and the share of a memory limit that they may take."""
MOST_USERS = 2000
TOP = 10
USERS_STREAM = 11
USERS_AT_ONCE = 1024


@dataclass(frozen=True)
class Judge:
    """One rank's users with relevant withheld interactions, and the interactions that all its users keep."""

    interactions: Mapping[float, Interactions]
    """Those that are not withheld, by user normalization."""
    popularity_J: NDArray[np.int64]
    """Train interactions of each item, the withheld ones included."""
    keep_share: float
    """Share of the weights of an item that the model keeps."""
    users: _Users
    collectives: Collectives

    @classmethod
    def read(
        cls,
        dataset: Dataset,
        share: range,
        target: Target,
        normalizations: Sequence[float],
        keep_share: float,
        memory_limit: int | None,
        seed: int,
        collectives: Collectives,
    ) -> Judge:
        """Collective. Reads the user shards of `share`."""
        popularity_n = dataset.num_train("items")
        num_judged = num_judged_items(dataset.num_items, memory_limit)
        item_J = np.sort(np.argsort(-popularity_n, kind="stable")[:num_judged])
        interactions, users = collectives.together(
            "reading the withheld interactions",
            lambda: _read(dataset, share, target, normalizations, seed, item_J),
        )
        first = dataset.shards("users")[share.start].start if share else 0
        judges = users.rows(_drawn(users.relevant_uJ, first, seed, collectives))
        return cls(interactions, popularity_n[item_J], keep_share, judges, collectives)

    def gram(self, normalization: float) -> torch.Tensor:
        """X^T W X over all ranks: float64 [J, J], on the device. Collective."""
        return _gram(self.interactions[normalization], self.collectives)

    def ndcg(self, gram_JJ: torch.Tensor, penalty: Penalty, discounts: Sequence[float]) -> list[float]:
        """nDCG at 10 over the users of all ranks for each popularity discount; 0 without users. Collective."""
        weight_JJ = largest_of_columns(ease_weights(gram_JJ, penalty), self.keep_share)
        device = weight_JJ.device
        scales = [torch.from_numpy(scale_of(self.popularity_J, discount)).to(device) for discount in discounts]
        sums = np.zeros((len(discounts), 2))
        for start in range(0, len(self.users), USERS_AT_ONCE):
            users = self.users.rows(slice(start, start + USERS_AT_ONCE))
            score_BJ = torch.from_numpy(users.value_uJ.toarray()).to(device) @ weight_JJ
            sums += [users.ranked(score_BJ * scale) for scale in scales]
        summed = self.collectives.sum_(torch.from_numpy(sums).to(device)).tolist()
        return [ndcg / users if users else 0.0 for ndcg, users in summed]


@dataclass(frozen=True)
class _Users:
    """Values, train interactions of any value, and relevant withheld interactions: [u, J] each."""

    value_uJ: Csr
    seen_uJ: Csr
    relevant_uJ: Csr

    def __len__(self) -> int:
        return int(self.value_uJ.shape[0])

    def rows(self, chosen: slice | NDArray[np.bool_]) -> _Users:
        return _Users(self.value_uJ[chosen], self.seen_uJ[chosen], self.relevant_uJ[chosen])

    def ranked(self, score_BJ: torch.Tensor) -> NDArray[np.float64]:
        """`ndcg_sums` of the lists by these scores, which are overwritten."""
        is_seen_BJ = torch.from_numpy(self.seen_uJ.toarray() > 0).to(score_BJ.device)
        item_Bn = score_BJ.masked_fill_(is_seen_BJ, -torch.inf).topk(min(TOP, score_BJ.shape[1]), dim=1).indices
        relevant_BJ = self.relevant_uJ.toarray() > 0
        is_hit_Bn = np.take_along_axis(relevant_BJ, item_Bn.cpu().numpy(), axis=1)
        return ndcg_sums(is_hit_Bn, relevant_BJ.sum(1))


def num_judged_items(num_items: int, memory_limit: int | None) -> int:
    """J; may exceed the number of items."""
    most = MOST_ITEMS if memory_limit is None else math.isqrt(int(SHARE_OF_MEMORY * memory_limit / PAIR_BYTES))
    return max(LEAST_ITEMS, min(MOST_ITEMS, most, int(SHARE_OF_ITEMS * num_items)))


def scale_of(popularity_n: NDArray[np.int64], discount: float) -> NDArray[np.float32]:
    """Factors of the scores of items: their number of interactions ^ -discount: [n]"""
    scale_n: NDArray[np.float32] = (np.maximum(popularity_n, 1.0) ** -discount).astype(np.float32)
    return scale_n


def ease_weights(gram_nn: torch.Tensor, penalty: Penalty) -> torch.Tensor:
    """B = I - P diag(1 / diag P) with P = (X^T W X + Lambda)^-1: float32 [n, n]"""
    ridge_nn = gram_nn.clone()
    ridge_nn.diagonal().add_(penalty.of_squares(gram_nn.diagonal()))
    inverse_nn = torch.cholesky_inverse(torch.linalg.cholesky(ridge_nn.float()))
    weight_nn = inverse_nn / -inverse_nn.diagonal()
    return weight_nn.fill_diagonal_(0)


def largest_of_columns(weight_nn: torch.Tensor, share: float) -> torch.Tensor:
    """The weights without all but the largest of each column, of which `share` remain."""
    keep = max(1, round(share * len(weight_nn)))
    if keep >= len(weight_nn):
        return weight_nn
    row_kn = weight_nn.abs().topk(keep, dim=0, sorted=False).indices
    return torch.zeros_like(weight_nn).scatter_(0, row_kn, weight_nn.gather(0, row_kn))


def _read(
    dataset: Dataset,
    share: range,
    target: Target,
    normalizations: Sequence[float],
    seed: int,
    item_J: NDArray[np.intp],
) -> tuple[dict[float, Interactions], _Users]:
    """Interactions with the items of the judge for each user normalization, and its users."""
    train, withheld = _parts(dataset, share, seed)
    num_items = dataset.num_items
    value_un = values_of(train, num_items, target)
    value_uJ = value_un[:, item_J]
    weights = {one: Interactions.of(value_un, mean_length(dataset), one).weight_u for one in normalizations}
    seen_uJ = values_of(train, num_items, target.model_copy(update={"kind": "all"}))[:, item_J]
    relevant_uJ = relevant_of(withheld, num_items, target)[:, item_J]
    interactions = {one: Interactions(value_uJ, weight_u) for one, weight_u in weights.items()}
    return interactions, _Users(value_uJ, seen_uJ, relevant_uJ)


def _parts(dataset: Dataset, share: range, seed: int) -> tuple[list[Block], list[Block]]:
    """Train and withheld interactions of each shard."""
    train = train_blocks(dataset, share)
    portion = tuning_holdout_share(dataset.manifest)
    if portion == 0:
        return train, held_out_blocks(dataset, "valid", "users", share)
    holdout = TuningHoldout(portion, seed, dataset.num_items)
    parts = [holdout.part(block) for block in train]
    return [part[0] for part in parts], [part[1] for part in parts]


def _gram(interactions: Interactions, collectives: Collectives) -> torch.Tensor:
    num_items, device = interactions.value_un.shape[1], collectives.world.device
    layout = BlockLayout(num_items, num_ranks=1)
    partial, gram_JJ = (
        PartialGram(interactions, layout),
        torch.zeros(2 * (num_items,), dtype=torch.float64, device="cpu"),
    )
    for column in range(layout.count):
        first, stop = column * layout.width, min((column + 1) * layout.width, num_items)
        lower_Rb = partial.column(column)[: num_items - first, : stop - first]
        gram_JJ[first:, first:stop] = lower_Rb
        gram_JJ[first:stop, first:] = lower_Rb.T
    return collectives.sum_table(gram_JJ.to(device))


def _drawn(relevant_uJ: Csr, first_user: int, seed: int, collectives: Collectives) -> NDArray[np.bool_]:
    """Draw about `MOST_USERS` users with relevant withheld interactions, the same on any number of ranks."""
    is_judge_u = np.diff(relevant_uJ.indptr) > 0
    device = collectives.world.device
    count = int(collectives.sum_(torch.tensor([int(is_judge_u.sum())], device=device)).item())
    share = min(1.0, MOST_USERS / max(1, count))
    user_u = first_user + np.arange(len(is_judge_u))
    judges: NDArray[np.bool_] = is_judge_u & keyed_mask((seed, USERS_STREAM), user_u, share)
    return judges
