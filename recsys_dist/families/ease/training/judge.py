"""Withheld interactions by which lambda is chosen: a small EASE of the most popular items ranks them.

The interactions are those of the validation split, or train interactions withheld for the search. Popular items
suffice: the best lambda hardly depends on how many there are.

J items of the judge, u users of a rank, n items
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.loader import held_out_blocks
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.ease.training.gram import PartialGram
from recsys_dist.families.ease.training.interactions import Csr, relevant_of, train_blocks, values_of
from recsys_dist.families.ease.training.layout import BlockLayout
from recsys_dist.families.targets import Target
from recsys_dist.families.tuning_holdout import TuningHoldout, tuning_holdout_share
from recsys_dist.kernels.keyed_random import keyed_mask
from recsys_dist.metrics import RankingSums

MOST_ITEMS, MOST_USERS = 2048, 5000
TOP = 10
USERS_STREAM = 11
USERS_AT_ONCE = 1024


@dataclass(frozen=True)
class Judge:
    """One rank's users with relevant withheld interactions, and the Gram matrix of all users."""

    gram_JJ: torch.Tensor
    """X^T X without the withheld interactions, over all ranks: float64, on the device."""
    value_uJ: Csr
    seen_uJ: Csr
    relevant_uJ: Csr
    collectives: Collectives

    @classmethod
    def read(cls, dataset: Dataset, share: range, target: Target, seed: int, collectives: Collectives) -> Judge:
        """Collective. Reads the user shards of `share`."""
        value_uJ, seen_uJ, relevant_uJ = collectives.together(
            "reading the withheld interactions", lambda: _matrices(dataset, share, target, seed)
        )
        gram_JJ = _gram(value_uJ, collectives)
        first = dataset.shards("users")[share.start].start if share else 0
        is_judge_u = _drawn(relevant_uJ, first, seed, collectives)
        return cls(gram_JJ, value_uJ[is_judge_u], seen_uJ[is_judge_u], relevant_uJ[is_judge_u], collectives)

    def ndcg(self, regularization: float) -> float:
        """nDCG at 10 over the users of all ranks; NaN without users. Collective."""
        weight_JJ = ridge_weights(self.gram_JJ, regularization)
        sums = RankingSums()
        for start in range(0, self.value_uJ.shape[0], USERS_AT_ONCE):
            sums += self._ranked(weight_JJ, slice(start, start + USERS_AT_ONCE))
        total = torch.tensor([sums.ndcg, sums.users], dtype=torch.float64, device=self.gram_JJ.device)
        ndcg, users = self.collectives.sum_(total).tolist()
        return ndcg / users if users else float("nan")

    def _ranked(self, weight_JJ: torch.Tensor, users: slice) -> RankingSums:
        device = weight_JJ.device
        score_BJ = torch.from_numpy(self.value_uJ[users].toarray()).to(device) @ weight_JJ
        is_seen_BJ = torch.from_numpy(self.seen_uJ[users].toarray() > 0).to(device)
        item_Bn = score_BJ.masked_fill_(is_seen_BJ, -torch.inf).topk(min(TOP, len(weight_JJ)), dim=1).indices
        relevant_BJ = self.relevant_uJ[users].toarray() > 0
        is_hit_Bn = np.take_along_axis(relevant_BJ, item_Bn.cpu().numpy(), axis=1)
        return RankingSums.of(is_hit_Bn, relevant_BJ.sum(1))


def ridge_weights(gram_nn: torch.Tensor, regularization: float) -> torch.Tensor:
    """B of EASE: I - P diag(1 / diag P) with P = (X^T X + lambda I)^-1: float32 [n, n]"""
    ridge_nn = gram_nn.clone()
    ridge_nn.diagonal().add_(regularization)
    inverse_nn = torch.cholesky_inverse(torch.linalg.cholesky(ridge_nn.float()))
    weight_nn = inverse_nn / -inverse_nn.diagonal()
    return weight_nn.fill_diagonal_(0)


def _matrices(dataset: Dataset, share: range, target: Target, seed: int) -> tuple[Csr, Csr, Csr]:
    """Values, train interactions of any value, and relevant withheld ones: [u, J] each."""
    item_J = np.sort(np.argsort(-dataset.num_train("items"), kind="stable")[:MOST_ITEMS])
    train, withheld = _parts(dataset, share, seed)
    any_value = target.model_copy(update={"kind": "all"})
    value_un = values_of(train, dataset.num_items, target)
    seen_un = values_of(train, dataset.num_items, any_value)
    relevant_un = relevant_of(withheld, dataset.num_items, target)
    return value_un[:, item_J], seen_un[:, item_J], relevant_un[:, item_J]


def _parts(dataset: Dataset, share: range, seed: int) -> tuple[list[Block], list[Block]]:
    """Train and withheld interactions of each shard."""
    train = train_blocks(dataset, share)
    portion = tuning_holdout_share(dataset.manifest)
    if portion == 0:
        return train, held_out_blocks(dataset, "valid", "users", share)
    holdout = TuningHoldout(portion, seed, dataset.num_items)
    parts = [holdout.part(block) for block in train]
    return [part[0] for part in parts], [part[1] for part in parts]


def _gram(value_uJ: Csr, collectives: Collectives) -> torch.Tensor:
    num_items, device = value_uJ.shape[1], collectives.world.device
    layout = BlockLayout(num_items, num_ranks=1)
    partial, gram_JJ = (
        PartialGram(value_uJ, layout),
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
