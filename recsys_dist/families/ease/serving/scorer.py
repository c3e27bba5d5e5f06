"""Scores of EASE: a user is the sparse row of the values of its interactions, whether known or folded in.

B users of a batch, n items, k weights of an item, N pairs or entries
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.manifest import Side
from recsys_dist.families.ease.serving.facts import EaseFacts
from recsys_dist.families.ease.serving.item_weights import dense_rows, load_weights
from recsys_dist.families.ease.serving.train_rows import TrainRows
from recsys_dist.kernels.sparse import Csr
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.protocols.portable import ItemRows, Neighborhood

FLOATS_AT_ONCE = 1 << 24


class EaseScorer:
    """Implements the protocol of protocols/scorer.py. `UsersT` are rows of X: [B, n]."""

    predicts_ratings = False
    uncertainty = None

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        self._target = folder.facts(EaseFacts).target
        self._rows, self._device, self._num_items = TrainRows(folder), device, folder.num_rows("items")
        self._weights, self._weight_nk, self._source_nk = load_weights(folder.table("items"), device)
        num_train_n = folder.num_train("items")
        popularity_n = (num_train_n / max(1, num_train_n.max())).astype(np.float32)
        self._popularity_n = torch.from_numpy(popularity_n).to(device)

    def known(self, user_B: torch.Tensor) -> Csr:
        """The train interactions of users; none of the unknown user."""
        rows = self._rows.of_users(user_B.cpu().numpy())
        return self._users(rows.indptr, rows.indices, rows.values)

    def fold_in(self, item_N: torch.Tensor, rating_N: torch.Tensor, is_new: bool) -> Csr:  # noqa: ARG002
        """One user with these interactions alone."""
        indptr = np.array([0, len(item_N)], np.int64)
        return self._users(indptr, item_N.cpu().numpy(), rating_N.cpu().numpy())

    def ratings(self, users: Csr, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Scores of pairs; 0 for the unknown item: [N]"""
        score_N = torch.zeros(len(row_N), dtype=torch.float32, device=self._device)
        step = max(1, FLOATS_AT_ONCE // self._num_items)
        for start in range(0, users.num_rows, step):
            stop = min(start + step, users.num_rows)
            here_M = ((row_N >= start) & (row_N < stop) & (item_N < self._num_items)).nonzero().squeeze(1)
            if len(here_M):
                score_N[here_M] = self._pairs(users.rows(start, stop), row_N[here_M] - start, item_N[here_M])
        return score_N

    def scores(self, users: Csr) -> torch.Tensor:
        """Scores of all items; their popularity for a user without interactions: [B, n]"""
        score_Bn = self._weights.scores(users)
        score_Bn[_is_blank(users)] = self._popularity_n
        return score_Bn

    def vectors(self, side: Side) -> torch.Tensor | None:  # noqa: ARG002
        """None: items are compared by no factors."""
        return None

    @property
    def neighborhood(self) -> Neighborhood:
        """The weights, and the values of ratings."""
        return Neighborhood(self._item_rows, self._target.values, self._popularity_n)

    def _item_rows(self, start: int, stop: int) -> ItemRows:
        weight_Rk = self._weight_nk[start:stop]
        if self._source_nk is not None:
            return ItemRows(weight_Rk, self._source_nk[start:stop])
        return ItemRows(weight_Rk, torch.arange(self._num_items, device=self._device).expand_as(weight_Rk))

    def _users(
        self, indptr: NDArray[np.int64], indices: NDArray[np.integer], rating_N: NDArray[np.float32]
    ) -> Csr:
        value_N = self._target.values(rating_N)
        kept = np.concatenate([np.zeros(1, np.int64), np.cumsum(value_N > 0)])
        parts = kept[indptr], indices[value_N > 0], value_N[value_N > 0]
        return Csr.from_numpy(*parts, self._num_items, self._device)

    def _pairs(self, users: Csr, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        value_Bn, is_blank_B = dense_rows(users), _is_blank(users)
        parts = []
        for row_P, item_P in zip(*(one.split(self._pairs_at_once) for one in (row_N, item_N)), strict=True):
            value_Pk = value_Bn[row_P]
            if self._source_nk is not None:
                value_Pk = value_Pk.gather(1, self._source_nk[item_P].long())
            score_P = (value_Pk * self._weight_nk[item_P]).sum(1)
            parts.append(torch.where(is_blank_B[row_P], self._popularity_n[item_P], score_P))
        return torch.cat(parts)

    @property
    def _pairs_at_once(self) -> int:
        return max(1, FLOATS_AT_ONCE // self._num_items)


def _is_blank(users: Csr) -> torch.Tensor:
    """Whether each user has no interaction: [B]"""
    return users.indptr.diff() == 0
