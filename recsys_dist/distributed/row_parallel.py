"""Tables sharded by rows: each rank owns a range and fetches the rows that a step needs.

M rows that this rank requests, R rows of its own, X the shape of a row
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from recsys_dist.distributed.collectives import Collectives

RowRanges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class AskedRows:
    """The rows that ranks request from each other, for all tables with these rows. All methods are collective."""

    collectives: Collectives
    wanted: list[int]
    """Number of rows that this rank requests from each owner."""
    asked: list[int]
    """Number of own rows that each rank requests."""
    own_row_N: torch.Tensor
    """Requested own rows, relative to the first own row, sorted by the requesting rank."""

    @classmethod
    def of(cls, row_M: torch.Tensor, row_ranges: RowRanges, collectives: Collectives) -> AskedRows:
        """Exchange requests; `row_M` must be distinct and ascending."""
        stops = torch.tensor([stop for _, stop in row_ranges], device=row_M.device)
        owner_M = torch.bucketize(row_M, stops, right=True)
        wanted_R = torch.bincount(owner_M, minlength=len(row_ranges))
        ones = [1] * len(row_ranges)
        asked_R = collectives.exchange_rows(wanted_R, ones, ones)
        wanted, asked = wanted_R.tolist(), asked_R.tolist()
        own_row_N = collectives.exchange_rows(row_M, wanted, asked) - row_ranges[collectives.world.rank][0]
        return cls(collectives, wanted, asked, own_row_N)

    def fetch(self, own_RX: torch.Tensor) -> torch.Tensor:
        """Fetch the requested rows of a table; each rank passes its own rows: [R, X] -> [M, X]"""
        return self.collectives.exchange_rows(own_RX[self.own_row_N], self.asked, self.wanted)

    def add(self, change_MX: torch.Tensor, total_RX: torch.Tensor) -> None:
        """Send changes of the requested rows to their owners, which add them to `total_RX` in rank order."""
        come_NX = self.collectives.exchange_rows(change_MX, self.wanted, self.asked)
        for row_n, part_nX in zip(self.own_row_N.split(self.asked), come_NX.split(self.asked), strict=True):
            total_RX.index_add_(0, row_n, part_nX)
