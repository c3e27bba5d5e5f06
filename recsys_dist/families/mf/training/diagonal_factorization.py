"""E steps of a matrix factorization with diagonal posteriors, in a few passes over the ratings per epoch.

Shapes: see families/mf/em/layout.py; U own users, I own items.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from recsys_dist.families.mf.em.layout import PanelLayout
from recsys_dist.families.mf.em.m_step import SideSums
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.ranks.entry_sums import EntrySums, Of
from recsys_dist.families.mf.ranks.exchange import Shards
from recsys_dist.families.mf.training.diagonal_side import BATCH_ROWS, DiagonalSide
from recsys_dist.families.mf.training.factorization import Factorization

SOLVE_STEPS = 2
"""Conjugate gradient steps per E step; the next E step continues from the result."""

SumsOf = Callable[[torch.Tensor, Of], torch.Tensor]


class DiagonalFactorization(Factorization[DiagonalSide]):
    """`posterior: diagonal`"""

    _user_shards: Shards

    @staticmethod
    def rows_at_once(factors: int) -> int:  # noqa: ARG004 - the signature of the base class
        """Rows that are solved together."""
        return BATCH_ROWS

    @staticmethod
    def row_floats(factors: int, with_constraint: bool = True, with_precision: bool = True) -> int:
        """Numbers sent per item: 2 D of the moments, n of the constraint, 1 precision."""
        num_own = factors + 1
        return 2 * (num_own + 1) + num_own * with_constraint + with_precision

    def _make_side(
        self, layout: PanelLayout, start: int, num_rows: int, prior: Prior, *, sums_errors: bool
    ) -> DiagonalSide:
        return DiagonalSide(layout, start, num_rows, prior, sums_errors)

    def solve_users(self, shards: Shards) -> None:
        """Gather the moments of the items once, then solve for the means step by step."""
        self._user_shards, users, items = shards, self.users, self.items
        for shard, gathered in self.exchange.to_users(items.moments(items.all_rows), shards):
            users.gather(shard.rows, gathered)
        entry_sums, entries = EntrySums(self.exchange), items.entries(items.all_rows)
        batches = [batch for rows in self.shards.row_slices() for batch in users.batches(rows)]
        self.user_sums = self._solve(
            users, batches, lambda rows_UD, of: entry_sums.to_users(rows_UD, entries, of, shards)
        )

    def solve_items(self) -> None:
        """Do the same for the items, against the users solved last."""
        shards, users, items = self._user_shards, self.users, self.items
        like = users.moments(slice(0, 0))
        gathered = self.exchange.to_items(lambda shard: users.moments(shard.rows), like, shards)
        items.gather(items.all_rows, gathered)
        entry_sums, entries = EntrySums(self.exchange), users.entries(users.all_rows)
        self.item_sums = self._solve(
            items, self._item_batches, lambda rows_ID, of: entry_sums.to_items(rows_ID, entries, of, shards)
        )

    def _prepare_items(self) -> None:
        """`solve_items` gathers its statistics itself."""
        self._user_shards = self.shards.__iter__

    def _solve(self, side: DiagonalSide, batches: list[slice], sums_of: SumsOf) -> SideSums:
        """E step of one side; `sums_of` sums over each row's ratings, see families/mf/ranks/entry_sums.py."""
        noise = self.noise_variance
        side.start_from_prior()
        residual_RD = sums_of(side.vectors(side.all_rows), Of.RESIDUALS)
        systems = [(batch, side.begin(residual_RD[batch], batch, noise)) for batch in batches]
        for _ in range(SOLVE_STEPS):
            product_RD = sums_of(side.directions(systems), Of.PRODUCTS)
            for batch, system in systems:
                image_Bn = side.image(system.direction_Rn, product_RD[batch], batch, noise)
                side.mean_nR.T[batch] += system.step(image_Bn)
        error_R1 = sums_of(side.vectors(side.all_rows), Of.SQUARES) if side.needs_errors else None
        sums_BS = [side.close(batch, None if error_R1 is None else error_R1[batch], noise) for batch in batches]
        return self._sums(sums_BS, side)
