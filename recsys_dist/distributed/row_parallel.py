"""Tables whose rows lie with their owners: each rank has a range, and asks the others for what a step needs.

M rows that this rank asks for, R rows of its own, X the shape of a row
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from recsys_dist.distributed.collectives import Collectives

RowRanges = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class AskedRows:
    """Which rows each rank wants of each other: made once for all tables with these rows; all ranks enter."""

    collectives: Collectives
    wanted: list[int]
    """How many rows this rank wants of each owner."""
    asked: list[int]
    """How many rows of its own each rank wants."""
    own_row_N: torch.Tensor
    """Those of its own that are wanted, counted from its first, by the rank that wants them."""

    @classmethod
    def of(cls, row_M: torch.Tensor, row_ranges: RowRanges, collectives: Collectives) -> AskedRows:
        """`row_M` are distinct and rise."""
        stops = torch.tensor([stop for _, stop in row_ranges], device=row_M.device)
        owner_M = torch.bucketize(row_M, stops, right=True)
        wanted_R = torch.bincount(owner_M, minlength=len(row_ranges))
        ones = [1] * len(row_ranges)
        asked_R = collectives.exchange_rows(wanted_R, ones, ones)
        wanted, asked = wanted_R.tolist(), asked_R.tolist()
        own_row_N = collectives.exchange_rows(row_M, wanted, asked) - row_ranges[collectives.world.rank][0]
        return cls(collectives, wanted, asked, own_row_N)

    def fetch(self, own_RX: torch.Tensor) -> torch.Tensor:
        """The wanted rows of a table, of which each rank gives its own: [M, X]"""
        return self.collectives.exchange_rows(own_RX[self.own_row_N], self.asked, self.wanted)

    def add(self, change_MX: torch.Tensor, total_RX: torch.Tensor) -> None:
        """Add what each rank has for the rows that it wanted to those of their owners, in the order of ranks."""
        come_NX = self.collectives.exchange_rows(change_MX, self.wanted, self.asked)
        for row_n, part_nX in zip(self.own_row_N.split(self.asked), come_NX.split(self.asked), strict=True):
            total_RX.index_add_(0, row_n, part_nX)
