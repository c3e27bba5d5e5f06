"""Strong generalization: users that were held out whole are folded in from some of their ratings.

A split of kind `users` (preparation/settings/split.py) holds out all ratings of some users. A hash of seed, user
and item draws `fold_in_share` of them, from which the model folds each user in; the others judge the model
(Liang et al. 2018, Variational autoencoders for collaborative filtering).

U users, I items, N ratings
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset, Ratings
from recsys_dist.dataset.hashing import pair_hashes, text_hashes
from recsys_dist.inference.seen import SeenPairs


class FoldInDraw:
    """Draws the ratings to fold in, the same whatever the order and the shards of the dataset."""

    def __init__(self, dataset: Dataset, share: float, seed: int) -> None:
        self.share, self._seed = share, seed
        self._user_U, self._item_I = (
            text_hashes(pc.cast(dataset.ids(side), pa.large_string())) for side in ("users", "items")
        )

    @classmethod
    def of(cls, dataset: Dataset) -> FoldInDraw | None:
        """The draw of a dataset; None unless its split holds out whole users."""
        if not dataset.manifest.holds_out_users:
            return None
        share, seed = (dataset.manifest.split.rule.get(key) for key in ("fold_in_share", "seed"))
        assert isinstance(share, float), "preparation writes it"
        assert isinstance(seed, int), "preparation writes it"
        return cls(dataset, share, seed)

    def is_drawn(self, ratings: Ratings) -> NDArray[np.bool_]:
        """Whether each rating of the dataset is folded in: [N]"""
        user_N, item_N = self._user_U[ratings.user_index], self._item_I[ratings.item_index]
        is_drawn_N: NDArray[np.bool_] = pair_hashes(self._seed, user_N, item_N) < np.uint64(
            int(self.share * 2**64)
        )
        return is_drawn_N


@dataclass(frozen=True)
class FoldInRatings:
    """The ratings to fold in, as CSR over all users."""

    block: Block

    @classmethod
    def of(cls, ratings: Ratings, num_users: int) -> FoldInRatings:
        """From ratings in any order, in the indices of a model that knows all of their users and items."""
        order_N = np.lexsort([ratings.item_index, ratings.user_index])
        count_U = np.bincount(ratings.user_index, minlength=num_users)
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(count_U)])
        return cls(Block(0, indptr, ratings.item_index[order_N], ratings.rating[order_N]))

    @property
    def count_U(self) -> NDArray[np.int64]:
        """Number of ratings of each user."""
        return np.diff(self.block.indptr)

    def of_user(self, user: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Items, ascending, and ratings of one user."""
        mine = slice(*self.block.indptr[user : user + 2].tolist())
        return self.block.indices[mine].astype(np.int64), self.block.values[mine]

    def of_users(self, user_B: NDArray[np.int64]) -> SeenPairs:
        """The folded-in items of each of B users."""
        items = [self.of_user(user)[0] for user in user_B.tolist()]
        position = np.repeat(np.arange(len(items)), [len(one) for one in items])
        return position, np.concatenate([np.empty(0, np.int64), *items])
