"""E steps of a matrix factorization with full covariances or point estimates.

Each side gathers the second moments of the other side once per solve; its rows are then independent. Shapes: see
families/mf/em/layout.py.
"""

from __future__ import annotations

import torch

from recsys_dist.families.mf.em.e_step import batch_rows
from recsys_dist.families.mf.em.layout import PanelLayout, panel_widths
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.ranks.exchange import Shards
from recsys_dist.families.mf.ranks.rating_shards import UserShard
from recsys_dist.families.mf.training.factorization import Factorization
from recsys_dist.families.mf.training.full_side import FullSide
from recsys_dist.kernels.sparse import Tables


class FullFactorization(Factorization[FullSide]):
    """`posterior: full` and `point`."""

    @staticmethod
    def rows_at_once(factors: int) -> int:
        """Rows that are solved together."""
        return batch_rows(factors + 1)

    @staticmethod
    def row_floats(factors: int, with_constraint: bool = True, with_precision: bool = True) -> int:
        """Numbers sent per item: W second moments, D of the vector, n of the constraint, 1 precision."""
        num_own = factors + 1
        return sum(panel_widths(factors)) + num_own + 1 + num_own * with_constraint + with_precision

    def _make_side(
        self, layout: PanelLayout, start: int, num_rows: int, prior: Prior, *, sums_errors: bool
    ) -> FullSide:
        return FullSide(layout, start, num_rows, prior, sums_errors, self._settings.posterior == "point")

    def solve_users(self, shards: Shards) -> None:
        """In one pass: gather, solve, and accumulate the statistics for `solve_items`."""
        sums_BS: list[torch.Tensor] = []

        def solve(shard: UserShard, gathered: Tables, with_tables: bool) -> Tables | None:
            tables = self.users.tables_in(gathered, shard.rows) if with_tables else None
            sums_BS.append(self.users.solve(shard.rows, gathered, self.noise_variance, tables))
            return tables

        item_tables = self.items.tables(self.items.all_rows)
        self._item_statistics = self.exchange.sweep(
            item_tables, solve, self._user_tables, self.users.tables(slice(0, 0)), shards
        )
        self.user_sums = self._sums(sums_BS, self.users)

    def _prepare_items(self) -> None:
        """Gather the item statistics."""
        like = self.users.tables(slice(0, 0))
        self._item_statistics = self.exchange.to_items(self._user_tables, like, self.shards.__iter__)

    def _user_tables(self, shard: UserShard) -> Tables:
        return self.users.tables(shard.rows)

    def solve_items(self) -> None:
        """Solve the items from the statistics of `solve_users`."""
        sums_BS = [
            self.items.solve(batch, self._item_statistics.rows(batch.start, batch.stop), self.noise_variance)
            for batch in self._item_batches
        ]
        # Free the statistics before the next pass over the users makes new ones.
        del self._item_statistics
        self.item_sums = self._sums(sums_BS, self.items)
